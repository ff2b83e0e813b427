"""What a partition may take, so that its done set fits into a commit whatever finishes first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.consume.done_set import MAX_METADATA_BYTES, pack, unpack
from tidegate.consume.offsets import Tracker

_MORE = 256


def fits(tracker: Tracker) -> bool:
    """Say whether a commit now would remember everything that is done."""
    base, done = tracker.committable, tracker.done_above()
    return unpack(pack(base, done, MAX_METADATA_BYTES - 32), base) == done


@pytest.mark.parametrize("gap", [0, 1, 200])
@pytest.mark.parametrize("every", [2, 3, 7])
def test_where_there_is_room_nothing_is_cut_whatever_finishes(gap: int, every: int) -> None:
    """C7: records that come one poll after the other, the head stuck, every other one done."""
    tracker, offset, taken = Tracker(0), 0, 0
    while tracker.takes(_MORE) and taken < 30_000:
        batch = []
        for _ in range(_MORE):
            tracker.receive(offset)
            batch.append(offset)
            offset += 1 + gap
        taken += _MORE
        for number in batch:
            if number and (number // (1 + gap)) % every:
                tracker.finish(number)
        assert fits(tracker)
    # Held back before it is cut, and not long before it could be.
    assert taken < 30_000
    assert taken >= 500


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0, 0, 0, 1, 90, 20_000]), min_size=1, max_size=1_500),
    step=st.integers(2, 5),
    later=st.integers(1, 4),
)
def test_room_that_was_promised_is_there_when_the_records_have_come(
    gaps: list[int], step: int, later: int
) -> None:
    """C7: every pattern of what finishes before and after so many records more."""
    tracker, offset = Tracker(7), 6
    for number, gap in enumerate(gaps):
        offset += 1 + gap
        tracker.receive(offset)
        if number and number % step == 0:
            tracker.finish(offset)
    if not tracker.has_room(_MORE):
        return
    for number in range(offset + 1, offset + 1 + _MORE):
        tracker.receive(number)
        if number % later:
            tracker.finish(number)
    assert fits(tracker)


def test_what_is_remembered_is_bounded_however_little_room_it_takes() -> None:
    """C8: one record is stuck and all behind it are done: one run, and yet no more than 20,000."""
    tracker = Tracker(0)
    offset = 0
    while tracker.takes(1) and offset < 25_000:
        tracker.receive(offset)
        if offset:
            tracker.finish(offset)
        offset += 1
    assert offset == 20_000
    tracker.receive(offset)
    assert not tracker.takes(1)


def test_where_nothing_is_in_hand_there_is_always_room() -> None:
    """Waiting would change nothing."""
    tracker = Tracker(0, range(2, 9_000, 2))
    assert tracker.takes(_MORE)


def test_neighbours_are_one_run() -> None:
    """Ten thousand of them take a few characters (C7)."""
    done = range(1, 10_000)
    packed = pack(0, done, MAX_METADATA_BYTES)
    assert len(packed) < 20
    assert unpack(packed, 0) == list(done)


@given(
    runs=st.lists(
        st.tuples(st.sampled_from([1, 3, 100, 20_000, 3_000_000]), st.sampled_from([1, 2, 200])),
        min_size=1,
        max_size=40,
    ),
    limit=st.integers(12, 120),
)
def test_what_does_not_fit_is_cut_at_the_far_end_only(runs: list[tuple[int, int]], limit: int) -> None:
    """C7: what is kept is the beginning, however unlike the sizes of what is cut are."""
    done: list[int] = []
    position = 0
    for gap, length in runs:
        done += range(position + gap, position + gap + length)
        position = done[-1] + 1
    packed = pack(0, done, limit)
    assert len(packed) <= limit
    restored = unpack(packed, 0)
    assert restored == done[: len(restored)]
