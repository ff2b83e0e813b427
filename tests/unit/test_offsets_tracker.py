"""Offsets: what may be committed, and what is refused."""

import pytest
from tidegate.consume.done_set import MAX_METADATA_BYTES, pack, unpack
from tidegate.consume.offsets import OffsetBook, TopicPartition, Tracker
from tidegate.errors import IllegalTransitionError

PARTITION = TopicPartition("urls", 0)


def test_the_lowest_incomplete_offset_is_committable() -> None:
    """What finished above it waits in the done set."""
    tracker = Tracker(5)
    for offset in (5, 6, 9, 10):
        assert tracker.receive(offset)
    tracker.finish(9)
    tracker.finish(6)
    assert (tracker.committable, tracker.done_above()) == (5, [6, 9])
    tracker.finish(5)
    assert (tracker.committable, tracker.done_above()) == (10, [])
    tracker.finish(10)
    assert tracker.committable == 11


def test_what_is_only_in_hand_is_never_committed() -> None:
    """Highest seen is not highest done."""
    tracker = Tracker(0)
    tracker.receive(0)
    assert tracker.committable == 0


@pytest.mark.parametrize("offset", [3, 4, 7])
def test_a_finish_of_what_is_not_in_hand_raises_and_changes_nothing(offset: int) -> None:
    """Below, above, or done already: an illegal transition."""
    tracker = Tracker(3)
    tracker.receive(4)
    tracker.receive(5)
    tracker.finish(4)
    before = (tracker.committable, tracker.done_above(), tracker.span)
    with pytest.raises(IllegalTransitionError):
        tracker.finish(offset)
    assert (tracker.committable, tracker.done_above(), tracker.span) == before


def test_offsets_that_run_backwards_raise_and_change_nothing() -> None:
    """A partition is read forwards."""
    tracker = Tracker(0)
    tracker.receive(4)
    with pytest.raises(IllegalTransitionError):
        tracker.receive(4)
    assert tracker.span == 1


def test_a_completion_during_a_commit_is_not_marked_clean() -> None:
    """Only what the broker took is clean."""
    book = OffsetBook()
    epoch = book.assign(PARTITION, 0)
    for offset in (0, 1):
        book.receive(PARTITION, offset)
    book.finish(PARTITION, epoch, 0)
    on_its_way = book.commits()
    book.finish(PARTITION, epoch, 1)
    book.committed(on_its_way)
    assert book.commits()[PARTITION].offset == 2


def test_a_result_of_an_earlier_assignment_changes_nothing() -> None:
    """The same offset may be in hand again under a new epoch."""
    book = OffsetBook()
    old = book.assign(PARTITION, 0)
    book.receive(PARTITION, 0)
    book.revoke(PARTITION)
    new = book.assign(PARTITION, 0)
    book.receive(PARTITION, 0)
    assert not book.finish(PARTITION, old, 0)
    assert book.commits() == {}
    assert book.finish(PARTITION, new, 0)


def test_a_done_offset_that_was_deleted_meanwhile_is_forgotten() -> None:
    """It is never read again; kept below the commit it could not be packed, and no commit was possible."""
    tracker = Tracker(0, done_before=[5, 20])
    for offset in (0, 10):
        tracker.receive(offset)
        tracker.finish(offset)
    assert (tracker.committable, tracker.done_above()) == (11, [20])


@pytest.mark.parametrize("step", [1, 2, 3], ids=["no gaps", "markers between", "wide gaps"])
def test_a_partition_is_held_back_before_its_done_set_would_be_cut(step: int) -> None:
    """Every second record is stuck: reading stops in time, and the commit remembers all that is done (C7)."""
    tracker, polls, offset = Tracker(0), 0, 0
    while tracker.has_room(256):
        polls += 1
        assert polls < 100
        for _ in range(128):  # half a poll, so that the gaps of the log are within what was reckoned with
            tracker.receive(offset)
            if offset // step % 2:
                tracker.finish(offset)
            offset += step
    done = tracker.done_above()
    assert len(done) > 400
    assert unpack(pack(0, done, MAX_METADATA_BYTES - 32), 0) == done
    tracker.finish(0)
    for each in range(0, offset, step):
        if each // step % 2 == 0 and each:
            tracker.finish(each)
    assert tracker.has_room(256)


def test_restored_offsets_are_reckoned_with_until_they_are_read_again() -> None:
    """A full set that a predecessor left holds nothing up for ever."""
    before = list(range(1, 3000, 2))
    tracker = Tracker(0, before)
    assert tracker.has_room(256)
    tracker.receive(0)
    assert not tracker.has_room(256)
    tracker.finish(0)
    assert tracker.has_room(256)
