"""Looks at the runtime every few seconds, for what is wrong although nothing fails (``alarms``)."""

from collections.abc import Callable, Iterable, Mapping

from tidegate.clock import BrokerClock, Clock
from tidegate.consume.alarms import Alarms, Look, LoopLag
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.events import Emit

_TICK_S = 0.25
_TICKS_A_LOOK = 20


class Watching:
    """Measures the loop's lag at every tick, and looks at the partitions at every twentieth."""

    def __init__(
        self,
        *,
        book: OffsetBook,
        buffers: Buffers,
        in_hand: Callable[[], Iterable[Entry]],
        alarms: Alarms,
        lag: LoopLag,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
    ) -> None:
        self._book = book
        self._buffers = buffers
        self._in_hand = in_hand
        self._alarms = alarms
        self._lag = lag
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit

    async def run(self) -> None:
        """Watch, for ever."""
        ticks = 0
        while True:
            before_s = self._clock.monotonic()
            await self._clock.sleep(_TICK_S)
            now_s = self._clock.monotonic()
            if event := self._lag.note(now_s - before_s - _TICK_S, now_s):
                self._emit(event)
            ticks += 1
            if ticks % _TICKS_A_LOOK == 0:
                self._look(now_s)

    def _look(self, now_s: float) -> None:
        found = self._alarms.look(
            self._looks(),
            now_s=now_s,
            broker_ms=self._broker_clock.now_ms(),
            clock_off_ms=self._broker_clock.offset_ms,
        )
        for event in found:
            self._emit(event)

    def _looks(self) -> Mapping[TopicPartition, Look]:
        oldest: dict[TopicPartition, int] = {}
        for entry in self._in_hand():
            appended_ms = entry.record.timestamp_ms
            oldest[entry.partition] = min(appended_ms, oldest.get(entry.partition, appended_ms))
        looks = {}
        for partition in self._book.partitions:
            head = self._buffers.head(partition)
            at_ms: int | None = oldest.get(partition)
            if head is not None:
                at_ms = head.record.timestamp_ms if at_ms is None else min(at_ms, head.record.timestamp_ms)
            looks[partition] = Look(self._book.tracker(partition).committable, at_ms)
        return looks
