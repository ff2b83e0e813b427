"""What is wrong although nothing fails, and when it is over: decided from a look every few seconds. Pure.

- A partition is **stuck** where work waits in it and its committed offset has not moved for longer than any
  handler may take (delay topics and topics of what is held never are: nobody waits for those).
- Records near their **retention** where the oldest one that is not done is older than half of what its topic
  keeps (delivery.md C6). Beyond it they are deleted unread.
- **Clocks** differ where this host's is two seconds off the broker's, twice in a row (T1). Deadlines are not
  judged by it, but logs and traces are.

Each is told once when it begins and once when it ends, with room between the two marks.
"""

from collections.abc import Iterable, Mapping

import msgspec

from tidegate.consume import runtime_events as events
from tidegate.consume.offsets import TopicPartition
from tidegate.events import Event
from tidegate.flow.bound import Bound
from tidegate.topics import DELAYS, HELD

_PATIENT: frozenset[str] = frozenset({*DELAYS, *HELD.values()})
_CLOCK_OFF_MS = 2_000
_CLOCK_RIGHT_MS = 1_500


class Look(msgspec.Struct, frozen=True):
    """One partition at one moment: its committable offset, and the append time of what waits longest.

    ``oldest_ms`` is None where nothing of it is in hand or waits in this process.
    """

    offset: int
    oldest_ms: int | None


class Alarms:
    """Remembers what has been told."""

    def __init__(self, *, stuck_after_s: float, retention_ms: Mapping[str, int]) -> None:
        """Take the marks; a topic without a retention above nought keeps its records for ever."""
        self._stuck_after_s = stuck_after_s
        self._retention_ms = {topic: ms for topic, ms in retention_ms.items() if ms > 1}
        self._ages = {topic: Bound(ms // 2, ms * 2 // 5) for topic, ms in self._retention_ms.items()}
        self._since: dict[TopicPartition, tuple[int, float]] = {}
        self._clock = Bound(_CLOCK_OFF_MS, _CLOCK_RIGHT_MS)
        self._last_off_ms = 0
        self.stuck: set[TopicPartition] = set()

    def look(
        self, looks: Mapping[TopicPartition, Look], *, now_s: float, broker_ms: int, clock_off_ms: int
    ) -> list[Event]:
        """Return what has begun and what is over; ``now_s`` is monotonic, ``broker_ms`` the broker's."""
        return [
            *self._stuck(looks, now_s),
            *self._old(looks, broker_ms),
            *self._clocks(clock_off_ms),
        ]

    def _stuck(self, looks: Mapping[TopicPartition, Look], now_s: float) -> Iterable[Event]:
        for partition in self._since.keys() - looks.keys():
            # It is somebody else's now, and his to tell of.
            del self._since[partition]
            self.stuck.discard(partition)
        for partition, look in looks.items():
            topic, number = partition
            offset, since_s = self._since.get(partition, (-1, now_s))
            if look.offset != offset or look.oldest_ms is None or topic in _PATIENT:
                self._since[partition] = (look.offset, now_s)
                if partition in self.stuck:
                    self.stuck.discard(partition)
                    yield events.PartitionMoves(topic=topic, partition=number, offset=look.offset)
            elif now_s - since_s >= self._stuck_after_s and partition not in self.stuck:
                self.stuck.add(partition)
                yield events.PartitionStuck(
                    topic=topic, partition=number, offset=offset, stuck_s=round(now_s - since_s, 1)
                )

    def _old(self, looks: Mapping[TopicPartition, Look], broker_ms: int) -> Iterable[Event]:
        oldest: dict[str, int] = dict.fromkeys(self._ages, broker_ms)
        for (topic, _), look in looks.items():
            if look.oldest_ms is not None and topic in oldest:
                oldest[topic] = min(oldest[topic], look.oldest_ms)
        for topic, oldest_ms in oldest.items():
            age_ms = max(0, broker_ms - oldest_ms)
            if self._ages[topic].note(age_ms):
                kind = events.RetentionNears if self._ages[topic].full else events.RetentionFar
                yield kind(topic=topic, age_s=age_ms // 1000, retention_s=self._retention_ms[topic] // 1000)

    def _clocks(self, off_ms: int) -> Iterable[Event]:
        # One slow acknowledgement looks like a clock that is off; two looks in a row do not share it.
        lesser = min(abs(off_ms), abs(self._last_off_ms)) if off_ms * self._last_off_ms > 0 else 0
        self._last_off_ms = off_ms
        if self._clock.note(lesser):
            kind = events.ClockSkewed if self._clock.full else events.ClockAgrees
            yield kind(offset_s=round(off_ms / 1000, 3))


class LoopLag:
    """How late the event loop comes; told when it is bad, and when it has been well for a while."""

    def __init__(self, mark_s: float, well_after_s: float = 10.0) -> None:
        self._mark_s = mark_s
        self._well_after_s = well_after_s
        self._worst_s = 0.0
        self._bad_at_s: float | None = None
        self.last_s = 0.0

    def note(self, late_s: float, now_s: float) -> Event | None:
        """Take note of by how much a timer was late."""
        self.last_s = max(0.0, late_s)
        if late_s >= self._mark_s:
            began = self._bad_at_s is None
            self._bad_at_s = now_s
            self._worst_s = max(self._worst_s, late_s)
            return events.LoopLagged(delay_s=round(late_s, 3)) if began else None
        if self._bad_at_s is not None and now_s - self._bad_at_s >= self._well_after_s:
            worst_s, self._worst_s, self._bad_at_s = self._worst_s, 0.0, None
            return events.LoopRecovered(worst_s=round(worst_s, 3))
        return None
