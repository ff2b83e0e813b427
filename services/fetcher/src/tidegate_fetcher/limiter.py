"""Waits for a site's turn: the asynchronous shell of ``site_limits``."""

import asyncio
from collections import deque

from tidegate.clock import Clock

from tidegate_fetcher.site_limits import Go, Later, SiteLimits


class SiteLimiter:
    """Hands out a site's slots in the order in which jobs came."""

    def __init__(self, limits: SiteLimits, clock: Clock, wait_s: float) -> None:
        self._limits = limits
        self._clock = clock
        self._wait_s = wait_s
        self._queues: dict[str, deque[asyncio.Future[float | Later]]] = {}

    async def enter(self, site: str, *, returning: bool) -> float | Later:
        """Return the monotonic start of a slot, to be given to ``leave``, or when to come back."""
        now = self._clock.monotonic()
        answer = self._limits.ask(site, now, returning=returning)
        if isinstance(answer, Go):
            return now
        if isinstance(answer, Later):
            return answer
        return await self._wait(site)

    def leave(self, site: str, started: float) -> None:
        """Give a slot back; the next in the queue gets it."""
        self._limits.leave(site, started, self._clock.monotonic())
        self._wake(site)

    async def _wait(self, site: str) -> float | Later:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[float | Later] = loop.create_future()
        self._queues.setdefault(site, deque()).append(turn)
        timer = loop.call_later(self._wait_s, self._expire, site, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._drop(site, turn)
                self._limits.abandon(site)
            elif isinstance(started := turn.result(), float):  # the turn came just as we were cancelled
                self.leave(site, started)
            raise
        finally:
            timer.cancel()

    def _expire(self, site: str, turn: "asyncio.Future[float | Later]") -> None:
        if not turn.done():
            self._drop(site, turn)
            turn.set_result(self._limits.give_up(site, self._clock.monotonic()))

    def _drop(self, site: str, turn: "asyncio.Future[float | Later]") -> None:
        queue = self._queues[site]
        queue.remove(turn)
        if not queue:
            del self._queues[site]

    def _wake(self, site: str) -> None:
        queue = self._queues.get(site, ())
        # A cancelled one takes itself out of the queue when its task runs again.
        turn = next((waiting for waiting in queue if not waiting.done()), None)
        if turn is None:
            return
        now = self._clock.monotonic()
        if self._limits.promote(site, now):
            self._drop(site, turn)
            turn.set_result(now)
