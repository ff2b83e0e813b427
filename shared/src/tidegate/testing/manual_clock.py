"""A clock that only moves when a test moves it."""

import asyncio
import heapq


class ManualClock:
    """Monotonic and wall time advance together, by ``advance`` alone."""

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self._now = 0.0
        self._wall_ms = wall_ms
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._now

    def wall_ms(self) -> int:
        """Return the wall time of the start plus what was advanced."""
        return self._wall_ms + int(self._now * 1000)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced this far."""
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + seconds, self._count, future))
        await future

    def advance(self, seconds: float) -> None:
        """Move on, waking every sleeper whose time comes."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
