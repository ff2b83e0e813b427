"""A limit on dead-lettering for faults of our own, and who waits when it is met. Pure (delivery.md C11).

A handler that fails on everything would send a whole backlog to the dead letters, one attempt after the
other. What is ours to mend is therefore counted; past the limit the record stays where it is, its partition
is held, and after a pause one record is tried again: if it goes well, the partition goes on. Bad input never
counts: however much of it there is, it becomes dead letters.
"""

from collections import deque
from collections.abc import Container

import msgspec

from tidegate.consume.offsets import TopicPartition

_LONGEST_PAUSE = 8  # times the first one


class FaultLimit:
    """At most ``most`` dead letters for our own faults in ``window_s`` seconds, sliding."""

    def __init__(self, most: int, window_s: float) -> None:
        self._window_s = window_s
        self._most = most
        self._at: deque[float] = deque()

    def admits(self, now_s: float) -> bool:
        """Count one more and return True, or return False where it would be one too many."""
        while self._at and self._at[0] <= now_s - self._window_s:
            self._at.popleft()
        if len(self._at) >= self._most:
            return False
        self._at.append(now_s)
        return True


class _Hold(msgspec.Struct):
    until_s: float
    pause_s: float
    is_probing: bool = False
    probe: int | None = None


class Holds:
    """The partitions that are held, and the one record of each that is tried after a pause."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self.held: dict[TopicPartition, _Hold] = {}

    def refused(self, partition: TopicPartition, offset: int, now_s: float) -> float | None:
        """A record was refused its dead letter. Return the pause in seconds if one begins with it."""
        hold = self.held.get(partition)
        if hold is None:
            self.held[partition] = _Hold(now_s + self._pause_s, self._pause_s)
            return self._pause_s
        if hold.probe != offset:
            # One of those that were in hand when the pause began; its partition is barred again. Where the
            # pause has ended and none was picked yet, one is to be named due once more.
            if hold.probe is None:
                hold.is_probing = False
            return None
        pause_s = min(hold.pause_s * 2, self._pause_s * _LONGEST_PAUSE)
        self.held[partition] = _Hold(now_s + pause_s, pause_s)
        return pause_s

    def due(self, now_s: float, but: Container[TopicPartition] = ()) -> list[TopicPartition]:
        """Return those of which one record is to be tried now, ``but`` for some; each is named once."""
        due = [
            each
            for each, hold in self.held.items()
            if not hold.is_probing and hold.until_s <= now_s and each not in but
        ]
        for partition in due:
            self.held[partition].is_probing = True
        return due

    def picked(self, partition: TopicPartition, offset: int) -> None:
        """This record is the one that is tried."""
        self.held[partition].probe = offset

    def passed(self, partition: TopicPartition, offset: int) -> bool:
        """A record is done. Return whether it was the one that was tried: the partition is held no more."""
        hold = self.held.get(partition)
        if hold is None or hold.probe != offset:
            return False
        del self.held[partition]
        return True

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition that was revoked."""
        self.held.pop(partition, None)
