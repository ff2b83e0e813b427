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

    The offset of a host's clock to the broker's is the smallest (append time - send time) seen lately:
    an acknowledgement can only be late, never early. Deadlines and lifetimes are judged by this clock.
    """

    _WINDOW = 64

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offsets_ms: list[int] = []

    def observe(self, sent_wall_ms: int, append_ms: int) -> None:
        """Take the append time that the broker acknowledged for a record sent at ``sent_wall_ms``."""
        self._offsets_ms.append(append_ms - sent_wall_ms)
        if len(self._offsets_ms) > self._WINDOW:
            del self._offsets_ms[0]

    @property
    def offset_ms(self) -> int:
        """Broker's clock minus this host's, in milliseconds; 0 until something was produced."""
        return min(self._offsets_ms) if self._offsets_ms else 0

    def now_ms(self) -> int:
        """Return the broker's epoch milliseconds, as well as this process knows them."""
        return self._clock.wall_ms() + self.offset_ms


def seeded_random(seed: int | None = None) -> random.Random:
    """Return a generator of one's own; None seeds it from the system."""
    return random.Random(seed)  # noqa: S311 -- jitter, not secrets
