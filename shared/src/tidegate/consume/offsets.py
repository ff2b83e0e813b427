"""Which offsets may be committed. Pure; the state behind the promise that nothing is lost.

What: per partition, the offsets received and not yet done, and those done above the lowest of them.
Why so: offsets are tracked as received, never as ranges, because compaction and transaction markers
leave gaps; the committable position is the lowest incomplete offset, or the highest *done* one + 1 when
none is incomplete, because "highest seen" loses what is in hand. Every assignment has an epoch; a result
of an earlier one changes nothing.
Rejected: a heap (the head of a partition is always the oldest, a deque is enough) and a dictionary that
is read at its front (deleting there leaves holes that each look-up walks over again).

What is done above the committed offset must fit into the commit's metadata; ``has_room`` says beforehand
whether it will, so that a partition is held back rather than its done set cut.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tidegate.consume.done_set import MAX_METADATA_BYTES, count_runs, pack, worst_length
from tidegate.consume.isolation import INNOCENT, NARROW, Suspicion
from tidegate.errors import IllegalTransitionError

_MOST_OFFSETS = 20_000
# What a note takes at most is left to it.
_MOST_CHARACTERS = MAX_METADATA_BYTES - 32


class TopicPartition(NamedTuple):
    """A partition of a topic, by its logical name."""

    topic: str
    partition: int


class Commit(NamedTuple):
    """What to commit: the next offset to read, and the packed done set above it."""

    offset: int
    metadata: str


class Tracker:
    """One partition during one assignment."""

    def __init__(self, base: int, done_before: Iterable[int] = ()) -> None:
        """Start at ``base``, the committed position; ``done_before`` is what its metadata remembered."""
        self._position = base
        self._order: deque[int] = deque()
        self._done: set[int] = set()
        self._skip = {offset for offset in done_before if offset >= base}
        self._skip_runs = count_runs(sorted(self._skip))
        self._gaps = 0
        self._last = base - 1

    def receive(self, offset: int) -> bool:
        """Take note of a record. Return False where it was done before and must not be handled again.

        Raises IllegalTransitionError for an offset that does not follow those received.
        """
        if offset <= self._last:
            raise IllegalTransitionError(f"offset {offset} after {self._last}")
        if offset != self._last + 1 and self._order:
            self._gaps += 1
        self._last = offset
        self._order.append(offset)
        if offset not in self._skip:
            return True
        self._skip.discard(offset)
        self._finish(offset)
        return False

    def finish(self, offset: int) -> None:
        """Take note that a record is done. Raises IllegalTransitionError if it is not in hand."""
        if not self._order or offset < self._order[0] or offset > self._last or offset in self._done:
            raise IllegalTransitionError(f"offset {offset} is not in hand")
        self._finish(offset)

    def _finish(self, offset: int) -> None:
        order, done = self._order, self._done
        if offset != order[0]:
            done.add(offset)
            return
        while True:
            self._position = order.popleft() + 1
            if not order:
                return
            head = order[0]
            if head != self._position:
                self._gaps -= 1
            if head not in done:
                return
            done.remove(head)

    @property
    def committable(self) -> int:
        """The lowest incomplete offset, else the highest done one + 1, else where it began."""
        return self._order[0] if self._order else self._position

    @property
    def last(self) -> int:
        """The last offset received, else the one before where it began."""
        return self._last

    @property
    def span(self) -> int:
        """How many offsets are remembered: those in hand, and those done above the lowest in hand."""
        return len(self._order)

    @property
    def incomplete(self) -> int:
        """How many offsets are in hand."""
        return len(self._order) - len(self._done)

    def takes(self, more: int) -> bool:
        """Say whether so many more records can be remembered, in memory and in a commit."""
        return len(self._order) < _MOST_OFFSETS and self.has_room(more)

    def has_room(self, more: int) -> bool:
        """Say whether the done set fits into a commit's metadata whatever finishes first.

        ``more`` records are yet to come. Between two runs of it lies a record that is not done, or a gap of
        the log. Where nothing is in hand there is room: waiting would change nothing.
        """
        incomplete = len(self._order) - len(self._done)
        if not incomplete:
            return True
        between = incomplete + more + self._gaps + 1
        runs = min(between, (between + min(between, len(self._done)) + 1) // 2)
        if self._skip:
            runs += self._skip_runs
        return worst_length(runs, self._last + more - self._order[0]) <= _MOST_CHARACTERS

    def done_above(self) -> list[int]:
        """The offsets done above the committable one, ascending, those not read again yet included.

        One that was deleted meanwhile is never read again, and the committable one goes past it.
        """
        base = self.committable
        return sorted(self._done.union(offset for offset in self._skip if offset >= base))


class _Assigned:
    """One assignment of a partition."""

    __slots__ = ("base", "clean", "epoch", "suspicion", "tracker")

    def __init__(self, epoch: int, tracker: Tracker, suspicion: Suspicion) -> None:
        self.epoch = epoch
        self.tracker = tracker
        self.suspicion = suspicion
        self.base = tracker.committable
        self.clean = self.commit()

    def commit(self) -> Commit:
        base = self.tracker.committable
        if base != self.base:
            self.base = base
            self.suspicion = self.suspicion.progressed()
        note = self.suspicion.note()
        return Commit(base, pack(base, self.tracker.done_above(), MAX_METADATA_BYTES, note))


class OffsetBook:
    """All partitions of one member: assignments with epochs, results, suspicions, and what to commit."""

    def __init__(self) -> None:
        self._epoch = 0
        self._assigned: dict[TopicPartition, _Assigned] = {}

    def assign(
        self,
        partition: TopicPartition,
        base: int,
        done_before: Iterable[int] = (),
        suspicion: Suspicion = INNOCENT,
    ) -> int:
        """Begin a partition at its committed position and return the epoch of this assignment."""
        self._epoch += 1
        self._assigned[partition] = _Assigned(self._epoch, Tracker(base, done_before), suspicion)
        return self._epoch

    def revoke(self, partition: TopicPartition) -> None:
        """Forget a partition; results that still come for it are stale."""
        self._assigned.pop(partition, None)

    def receive(self, partition: TopicPartition, offset: int) -> int | None:
        """Take note of a record; return its epoch, or None where it was done before."""
        assigned = self._assigned[partition]
        return assigned.epoch if assigned.tracker.receive(offset) else None

    def finish(self, partition: TopicPartition, epoch: int, offset: int) -> bool:
        """Take note of a result. Return False for one of an earlier assignment: it changes nothing."""
        assigned = self._assigned.get(partition)
        if assigned is None or assigned.epoch != epoch:
            return False
        assigned.tracker.finish(offset)
        return True

    def holds(self, partition: TopicPartition, epoch: int | None = None) -> bool:
        """Say whether the partition is assigned, and still by that assignment."""
        assigned = self._assigned.get(partition)
        return assigned is not None and epoch in (None, assigned.epoch)

    def tracker(self, partition: TopicPartition) -> Tracker:
        """Return the state of an assigned partition."""
        return self._assigned[partition].tracker

    def takes(self, partition: TopicPartition, more: int) -> bool:
        """Say whether so many more records may be received; after a crash only few beyond the base."""
        assigned = self._assigned[partition]
        if assigned.suspicion.is_narrow and assigned.tracker.last + 1 >= assigned.base + NARROW:
            return False
        return assigned.tracker.takes(more)

    def suspicion(self, partition: TopicPartition) -> Suspicion:
        """Return what is held against the records of an assigned partition."""
        return self._assigned[partition].suspicion

    def suspect(self, partition: TopicPartition, suspicion: Suspicion) -> None:
        """Replace what is held against an assigned partition's records; the next commit says it."""
        self._assigned[partition].suspicion = suspicion

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """The assigned partitions."""
        return tuple(self._assigned)

    def commits(self) -> dict[TopicPartition, Commit]:
        """Return what differs from what was last committed."""
        due = {}
        for partition, assigned in self._assigned.items():
            commit = assigned.commit()
            if commit != assigned.clean:
                due[partition] = commit
        return due

    def committed(self, commits: dict[TopicPartition, Commit]) -> None:
        """Take note of what the broker took: exactly these values, whatever has finished since."""
        for partition, commit in commits.items():
            if partition in self._assigned:
                self._assigned[partition].clean = commit
