"""How much room in a commit is reckoned with, against every way in which the work in hand can finish (C7)."""

from collections.abc import Iterable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.consume import offsets
from tidegate.consume.done_set import MAX_METADATA_BYTES, count_runs
from tidegate.consume.isolation import Suspicion
from tidegate.consume.offsets import OffsetBook, TopicPartition, Tracker
from tidegate.errors import IllegalTransitionError

URLS = TopicPartition("urls", 0)


def tracker_of(received: Iterable[int], done: Iterable[int]) -> Tracker:
    """Return a tracker that begins at 0."""
    tracker = Tracker(0)
    for offset in received:
        tracker.receive(offset)
    for offset in done:
        tracker.finish(offset)
    return tracker


def reckoned(tracker: Tracker, more: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return how many runs, within how many offsets, a tracker makes room for."""
    seen = []

    def worst_length(runs: int, distance: int) -> int:
        seen.append((runs, distance))
        return 0

    monkeypatch.setattr(offsets, "worst_length", worst_length)
    assert tracker.has_room(more)
    return seen[0]


def most_runs(received: list[int], done: set[int], more: int) -> int:
    """Return the most runs that a done set can have, whichever of the others finish first."""
    there = [*received, *range(received[-1] + 1, received[-1] + 1 + more)]
    free = [offset for offset in there if offset not in done]
    most = 0
    for count in range(len(free) + 1):
        for finished in combinations(free, count):
            now = done | set(finished)
            lowest = next((offset for offset in there if offset not in now), None)
            if lowest is not None:
                most = max(most, count_runs(sorted(offset for offset in now if offset > lowest)))
    return most


@given(
    steps=st.lists(st.integers(1, 3), min_size=1, max_size=7),
    picked=st.sets(st.integers(1, 6)),
    more=st.integers(0, 3),
)
def test_no_way_to_finish_needs_more_runs_than_are_reckoned_with(
    steps: list[int], picked: set[int], more: int
) -> None:
    """Every subset of what is in hand and of what is to come; and not many too many are reckoned with."""
    received = [sum(steps[: place + 1]) - 1 for place in range(len(steps))]
    done = {received[place] for place in picked if 0 < place < len(received)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        runs, distance = reckoned(tracker_of(received, sorted(done)), more, monkeypatch)
    worst = most_runs(received, done, more)
    gaps = sum(step > 1 for step in steps[1:])
    assert worst <= runs <= worst + gaps + 2
    assert distance == received[-1] + more - received[0]


@pytest.mark.parametrize(
    ("received", "done", "more", "runs"),
    [
        # Between two runs lies a record that is not done; nothing is done yet, so each needs one that ends.
        ([0, 1, 2, 3], [], 0, 3),
        ([0, 1, 2, 3], [], 4, 5),
        # Two that are done are two runs already.
        ([0, 1, 2, 3, 4], [1, 3], 0, 3),
        ([0, 1, 2, 3, 4], [1, 3], 3, 5),
        # Gaps of the log part runs, too.
        ([0, 2, 4, 6], [2, 4, 6], 0, 4),
        ([0, 2, 4, 6], [2, 4, 6], 2, 5),
    ],
)
def test_what_is_reckoned_with(
    received: list[int], done: list[int], more: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few by hand: half of what may lie between runs, and half of what is done."""
    assert reckoned(tracker_of(received, done), more, monkeypatch)[0] == runs


def test_a_gap_counts_until_the_position_is_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held for ever, each would take room from all that come later."""
    tracker = tracker_of([300, 305, 306, 307], [])
    before = reckoned(tracker, 6, monkeypatch)
    tracker.finish(300)
    assert before == (*reckoned(tracker_of([0, 1, 2, 3, 4], []), 6, monkeypatch)[:1], 13)
    assert reckoned(tracker, 6, monkeypatch) == reckoned(tracker_of([0, 1, 2], []), 6, monkeypatch)


@pytest.mark.parametrize(("length", "fits"), [(0, True), (1, False)])
def test_the_last_character_may_be_used(length: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none beyond it."""
    most = offsets._MOST_CHARACTERS
    monkeypatch.setattr(offsets, "worst_length", lambda *_: most + length)
    assert tracker_of([0, 1], []).has_room(1) is fits


def test_the_longest_note_fits_beside_the_fullest_set() -> None:
    """Its room is not given to offsets."""
    note = Suspicion(begun=True, crashes=999, left=999, alone=True, accused=999).note()
    assert offsets._MOST_CHARACTERS + len(note) <= MAX_METADATA_BYTES


def test_what_is_in_hand_is_what_is_not_done() -> None:
    """Those done above the lowest in hand are remembered, and not in hand."""
    tracker = tracker_of([0, 1, 2, 3, 4], [2, 4])
    assert (tracker.incomplete, tracker.span) == (3, 5)


def test_a_tracker_that_received_nothing_ends_before_its_base() -> None:
    """What lies below the committed position is not read again."""
    tracker = Tracker(7)
    assert tracker.last == 6
    with pytest.raises(IllegalTransitionError):
        tracker.receive(6)


def test_only_a_position_that_moved_acquits() -> None:
    """Equal positions are one, whatever object they are: offsets come from the wire."""
    book = OffsetBook()
    epoch = book.assign(URLS, int("1000"), suspicion=Suspicion(crashes=1))
    for text in ("1000", "1001"):
        book.receive(URLS, int(text))
    book.finish(URLS, epoch, 1001)
    book.commits()
    assert book.suspicion(URLS).crashes == 1
    book.finish(URLS, epoch, 1000)
    book.commits()
    assert book.suspicion(URLS).crashes == 0
