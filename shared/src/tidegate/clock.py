"""Time and chance, handed in: the one module where the ambient ones may be named."""

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """What asynchronous code knows of time. Pure code takes ``now`` as a parameter instead."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""
        ...

    def wall_ms(self) -> int:
        """Return this host's epoch milliseconds: for records, never for a decision (T1)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        ...


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        """Return the system's monotonic seconds."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Return the system's epoch milliseconds."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


class BrokerClock:
    """An estimate of the broker's clock, from produce acknowledgements (T1).

    A record's append time minus its send time is the offset of the two clocks plus the time on the way,
    which is never negative: so the smallest difference seen lately is the best estimate. Lately is the last
    2,048 records and five minutes, or else this host's clock, set back, would be believed for as long as a
    quiet service takes to produce that many. Deadlines and lifetimes are judged by this clock.
    """

    _WINDOW = 2048
    _WINDOW_S = 300.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen = 0
        self._since_s = clock.monotonic()
        self._least: int | None = None
        self._least_before: int | None = None
        self.offset_ms = 0
        """Broker's clock minus this host's, in milliseconds; 0 until something was produced."""

    def observe(self, sent_wall_ms: int, append_ms: int) -> None:
        """Take the append time that the broker acknowledged for a record sent at ``sent_wall_ms``."""
        difference = append_ms - sent_wall_ms
        now_s = self._clock.monotonic()
        if self._least is not None and (
            self._seen >= self._WINDOW or now_s - self._since_s >= self._WINDOW_S
        ):
            # Two windows overlap, so that a step of either clock is followed without a gap.
            self._seen, self._since_s = 0, now_s
            self._least_before, self._least = self._least, None
        if self._least is None or difference < self._least:
            self._least = difference
        self._seen += 1
        before = self._least_before
        self.offset_ms = self._least if before is None else min(self._least, before)

    def now_ms(self) -> int:
        """Return the broker's epoch milliseconds, as well as this process knows them."""
        return self._clock.wall_ms() + self.offset_ms


def seeded_random(seed: int | None = None) -> random.Random:
    """Return a generator of one's own; None seeds it from the system."""
    return random.Random(seed)  # noqa: S311 -- jitter, not secrets
