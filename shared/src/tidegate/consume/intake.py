"""Which of the records that wait is taken in hand now, or none: the bounds on what is in hand.

Records and bytes in hand are bounded for every service; reserved topics (solutions) keep slots of their
own. Once a record's handler has returned, what it asked for is on its way to the broker; meanwhile its slot
is the next one's, so that a flood of jobs that are only passed on takes no slots from those that are worked
on. As many may be on their way as there are slots; large ones keep theirs. Those that are answered at once
are counted by themselves (``passing``): they must not take the others' room.

A service may hold its intake back further by a valve: how much of what comes by the lanes and the
delay topics, and how much of what was put aside on the held topics, may be in hand at once. Solutions
never ask a valve (delivery.md C3).
"""

from typing import Protocol, runtime_checkable

from tidegate.consume import runtime_events as events
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.plan import Plan
from tidegate.events import Emit
from tidegate.flow.bound import Bound


class Valve(Protocol):
    """A service's say over its own intake; ``held`` asks for the held topics, else for all the others."""

    def admits(self, *, held: bool, in_hand: int, window: int) -> bool:
        """Say whether one more may start beside ``in_hand`` of them; ``window`` is what the bounds allow."""
        ...

    def passed(self, *, held: bool) -> None:
        """Take note that one was started."""
        ...


@runtime_checkable
class Valved(Protocol):
    """A service that has a valve."""

    @property
    def valve(self) -> Valve:
        """The valve."""
        ...


class Intake:
    """Counts what is in hand and hands out the next record."""

    def __init__(
        self, plan: Plan, *, window: int, window_bytes: int, valve: Valve | None, emit: Emit
    ) -> None:
        """Take the bounds: records, and their bytes; one record may always be in hand."""
        self._reserved_topics = frozenset(plan.reserved)
        self._held_topics = frozenset(plan.held)
        self._window = window
        # Of a small window half: what is kept free must not leave the lanes next to nothing.
        self._lanes_window = window - (min(plan.reserved_slots, window // 2) if plan.reserved else 0)
        self._valve = valve
        self._emit = emit
        self._lanes = 0
        self._held = 0
        self._at_work = 0
        self.passed = 0
        # Those whose slots are free again, by the identity of their entries.
        self._on_the_way: dict[int, Entry] = {}
        self.bytes = 0
        # The window hands a slot on at once: a worker that goes on by itself is cheaper than a new one. Its
        # hysteresis is in what is told of it. Bytes are few records and many, and do wait.
        self._slots = Bound(self._lanes_window, self._lanes_window * 3 // 4)
        self._memory = Bound(window_bytes, window_bytes * 3 // 4)

    @property
    def in_hand(self) -> int:
        """How many records are in hand: at work, or with an outcome on its way."""
        return self._at_work + len(self._on_the_way) + self.passed

    def next(self, buffers: Buffers) -> Entry | None:
        """Take a slot and the record that is to have it; None where either is missing."""
        if self._at_work >= self._window or (self._memory.full and self.in_hand):
            return None
        entry = buffers.next_urgent()
        # Solutions in slots of their own take none away from the lanes.
        if entry is None and self._lanes + self._held < self._lanes_window:
            entry = self._next_of_lanes(buffers)
        if entry is not None:
            self._at_work += 1
            self._count(entry.partition.topic, 1)
            self._hold(entry)
        return entry

    def handled(self, entry: Entry) -> bool:
        """Give a slot back while the outcome is on its way; False where too many are, and it stays."""
        if len(self._on_the_way) >= self._window:
            return False
        self._on_the_way[id(entry)] = entry
        self._leave(entry)
        return True

    def done(self, entry: Entry) -> None:
        """A record is not in hand any more: give back what it still has."""
        if self._on_the_way.pop(id(entry), None) is None:
            self._leave(entry)
        self._release(entry)

    @property
    def has_room(self) -> bool:
        """Whether the bytes in hand let another record in, whatever the slots do."""
        return not (self._memory.full and self.in_hand)

    def passed_on(self, entry: Entry) -> None:
        """A record was answered at once: its slot is the next one's."""
        self.passed += 1
        self._leave(entry)

    def passed_by(self, entry: Entry) -> None:
        """A record that never had a slot was answered at once."""
        self.passed += 1
        self._hold(entry)

    def passed_done(self, entry: Entry) -> None:
        """The answer to such a record is acknowledged, or given up: it is not in hand any more."""
        self.passed -= 1
        self._release(entry)

    def _hold(self, entry: Entry) -> None:
        self.bytes += entry.size
        if self.bytes >= self._memory.most:
            self._note(self._memory, "window_bytes", self.bytes)

    def _release(self, entry: Entry) -> None:
        self.bytes -= entry.size
        if self._memory.full:
            self._note(self._memory, "window_bytes", self.bytes)

    def _leave(self, entry: Entry) -> None:
        self._at_work -= 1
        self._count(entry.partition.topic, -1)

    def _next_of_lanes(self, buffers: Buffers) -> Entry | None:
        valve, window = self._valve, self._lanes_window
        if valve is None:
            return buffers.next_of_lanes()
        fresh = buffers.waits(held=False) and valve.admits(held=False, in_hand=self._lanes, window=window)
        held = buffers.waits(held=True) and valve.admits(held=True, in_hand=self._held, window=window)
        entry = buffers.next_of_lanes(fresh=fresh, held=held) if fresh or held else None
        if entry is not None:
            valve.passed(held=entry.partition.topic in self._held_topics)
        return entry

    def _count(self, topic: str, step: int) -> None:
        if topic in self._held_topics:
            self._held += step
        elif topic not in self._reserved_topics:
            self._lanes += step
        used = self._lanes + self._held
        # Between its marks, where it mostly is, a bound has nothing to say.
        if self._slots.full or used >= self._lanes_window:
            self._note(self._slots, "window", used)

    def _note(self, bound: Bound, name: str, used: int) -> None:
        if bound.note(used):
            event = events.BoundReached if bound.full else events.BoundFreed
            self._emit(event(bound=name, used=used, most=bound.most))
