"""The offset tracker against a model that is too simple to be wrong."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tidegate.consume.done_set import unpack
from tidegate.consume.offsets import OffsetBook, TopicPartition

PARTITION = TopicPartition("urls", 0)


class OffsetModel(RuleBasedStateMachine):
    """Receives with gaps, finishes in any order, commits, crashes and is assigned again."""

    def __init__(self) -> None:
        super().__init__()
        self.book = OffsetBook()
        # The model: every offset of the log, those handled, and what the broker keeps.
        self.log: list[int] = []
        self.handled: set[int] = set()
        # Done as far as this assignment can know: finished in it, or restored at its start.
        self.known: set[int] = set()
        self.committed = 0
        self.metadata = ""
        self.position = 0
        self.in_hand: list[tuple[int, int]] = []
        self.stale: list[tuple[int, int]] = []
        self.epoch = self.book.assign(PARTITION, 0)
        self.next_offset = 0

    @rule(gap=st.integers(0, 3))
    def append(self, gap: int) -> None:
        """The log grows, with gaps where markers and compaction took offsets."""
        self.log.append(self.next_offset + gap)
        self.next_offset += gap + 1

    @precondition(lambda self: any(offset >= self.position for offset in self.log))
    @rule()
    def receive(self) -> None:
        """The next record is read; what the metadata remembered is not handed out again."""
        offset = min(offset for offset in self.log if offset >= self.position)
        self.position = offset + 1
        epoch = self.book.receive(PARTITION, offset)
        if epoch is None:
            assert offset in self.known
        else:
            assert epoch == self.epoch
            self.in_hand.append((epoch, offset))

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Work ends in any order."""
        epoch, offset = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove((epoch, offset))
        assert self.book.finish(PARTITION, epoch, offset)
        self.handled.add(offset)
        self.known.add(offset)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def finish_stale(self, data: st.DataObject) -> None:
        """A result of an earlier assignment changes nothing."""
        epoch, offset = data.draw(st.sampled_from(self.stale))
        before = self.book.commits()
        assert not self.book.finish(PARTITION, epoch, offset)
        assert self.book.commits() == before

    @rule(late=st.booleans())
    def commit(self, *, late: bool) -> None:
        """A commit is taken by the broker; with ``late`` something finishes while it is on its way."""
        commits = self.book.commits()
        if late and self.in_hand:
            epoch, offset = self.in_hand.pop()
            self.book.finish(PARTITION, epoch, offset)
            self.handled.add(offset)
            self.known.add(offset)
        if PARTITION in commits:
            self.committed, self.metadata = commits[PARTITION]
        self.book.committed(commits)
        after = self.book.commits().get(PARTITION)
        current = self.book.tracker(PARTITION).committable
        assert (after is not None and after.offset == current) or current == self.committed

    @rule()
    def crash(self) -> None:
        """The process dies and the partition is assigned anew from what the broker keeps."""
        self.stale = self.stale[-5:] + self.in_hand
        self.in_hand = []
        self.position = self.committed
        self.book.revoke(PARTITION)
        self.known = set(unpack(self.metadata, self.committed))
        assert self.known <= self.handled
        self.epoch = self.book.assign(PARTITION, self.committed, self.known)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Nothing below the committable offset is unhandled, and it is never behind what it could be."""
        committable = self.book.tracker(PARTITION).committable
        assert all(offset in self.handled for offset in self.log if offset < committable)
        read = [offset for offset in self.log if self.committed <= offset < self.position]
        open_ = [offset for offset in read if offset not in self.known]
        if open_:
            assert committable == min(open_)
        elif read:
            assert committable == max(read) + 1


TestOffsetModel = OffsetModel.TestCase
