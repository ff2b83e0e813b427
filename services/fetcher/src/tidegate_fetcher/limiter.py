"""Waits for a site's turn: the asynchronous shell of ``site_limits``."""

import asyncio
import math
from bisect import insort
from operator import attrgetter

from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.records import Lane

from tidegate_fetcher.events import SitePaceChanged
from tidegate_fetcher.site_limits import Go, SiteLimits
from tidegate_fetcher.site_pace import Answered
from tidegate_fetcher.site_slots import Claim, Later, Never

# A site that has sent nobody away for so long has no flood of jobs.
_CROWDED_S = 5.0


class _Turn:
    """One job that waits in hand."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.rank = claim.rank
        self.future: asyncio.Future[float | Later | Never] = asyncio.get_running_loop().create_future()


class SiteLimiter:
    """Hands out a site's turns: by rank, and within a rank in the order in which jobs came."""

    def __init__(
        self, limits: SiteLimits, clock: Clock, wait_s: float, emit: Emit = lambda _event: None
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._wait_s = wait_s
        self._emit = emit
        self._queues: dict[str, list[_Turn]] = {}
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._turned_away_at = -math.inf
        # Who was told in this turn of the loop that he need not go away, and has not come in yet, by site.
        self._let_in: dict[str, int] = {}

    async def enter(self, site: str, claim: Claim) -> float | Later | Never:
        """Return the monotonic start of a turn, to be given to ``leave``, or when to come back."""
        now = self._clock.monotonic()
        answer = self._limits.ask(site, claim, now)
        if isinstance(answer, Go):
            return now
        if isinstance(answer, Later | Never):
            self._turned_away_at = now
            return answer
        return await self._wait(site, _Turn(claim))

    @property
    def is_crowded(self) -> bool:
        """Whether somebody was sent away of late, so that it is worth asking for the next one's sake."""
        return self._clock.monotonic() - self._turned_away_at < _CROWDED_S

    def turn_away(self, site: str, claim: Claim) -> Later | Never | None:
        """Return when to come back where ``enter`` does so at once; None where the job goes or waits.

        Many may be asked about before the first of them comes in: a free turn is one job's, not all theirs.
        """
        now = self._clock.monotonic()
        let_in = self._let_in.get(site, 0)
        answer = self._limits.turn_away(site, claim, now, let_in)
        if answer is not None:
            self._turned_away_at = now
            return answer
        if not self._let_in:
            asyncio.get_running_loop().call_soon(self._let_in.clear)
        self._let_in[site] = let_in + 1
        return None

    def leave(self, site: str, started: float) -> None:
        """Give a place back; the next in the queue gets it."""
        self._limits.leave(site, started, self._clock.monotonic())
        self._wake(site)

    def answered(self, site: str, answer: Answered) -> None:
        """Take note of a site's answer; who waits in hand is looked at again at his turn."""
        change = self._limits.answered(site, answer, self._clock.monotonic())
        if change is not None:
            self._emit(
                SitePaceChanged(
                    site=site,
                    why=change.why,
                    interval_s=round(change.interval_s, 3),
                    hold_s=round(change.hold_s, 3),
                )
            )

    def learn(self, site: str, lane: Lane, in_s: float) -> None:
        """Take note of a turn that somebody booked before us."""
        now = self._clock.monotonic()
        self._limits.learn(site, lane, now + in_s, now)

    async def _wait(self, site: str, turn: _Turn) -> float | Later | Never:
        insort(self._queues.setdefault(site, []), turn, key=attrgetter("rank"))
        timer = asyncio.get_running_loop().call_later(self._wait_s, self._expire, site, turn)
        self._wake(site)
        try:
            return await turn.future
        except asyncio.CancelledError:
            if turn.future.cancelled():
                self._drop(site, turn)
                self._limits.abandon(site, turn.claim, self._clock.monotonic())
            elif isinstance(
                started := turn.future.result(), float
            ):  # the turn came just as we were cancelled
                self.leave(site, started)
            raise
        finally:
            timer.cancel()

    def _expire(self, site: str, turn: _Turn) -> None:
        if not turn.future.done():
            self._drop(site, turn)
            turn.future.set_result(self._limits.give_up(site, turn.claim, self._clock.monotonic()))

    def _drop(self, site: str, turn: _Turn) -> None:
        queue = self._queues[site]
        queue.remove(turn)
        if not queue:
            del self._queues[site]
            if alarm := self._alarms.pop(site, None):
                alarm.cancel()

    def _wake(self, site: str) -> None:
        """Let those go whose turn it is; come again at the moment of the next one's turn."""
        if alarm := self._alarms.pop(site, None):
            alarm.cancel()
        # A cancelled one takes itself out of the queue when its task runs again.
        for turn in [waiting for waiting in self._queues.get(site, ()) if not waiting.future.done()]:
            now = self._clock.monotonic()
            wait_s = self._limits.promote(site, turn.claim, now)
            if wait_s is None:
                return
            if wait_s > 0:
                loop = asyncio.get_running_loop()
                self._alarms[site] = loop.call_later(wait_s, self._wake, site)
                return
            self._drop(site, turn)
            turn.future.set_result(now)
