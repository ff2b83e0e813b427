"""When a request's turn at a solving service has come: places, the breaker and the token bucket, awaited.

One of these stands before each provider. A request waits for a place among those in flight, first come
first served; then until the breaker lets it through; then for the bucket's next token. All of it takes
no longer than the request has patience, and nothing is reserved or sent meanwhile. Where the breaker will
not even try within that time, the answer is at once: whoever cannot be served does not occupy the window.

The pass through the breaker belongs to createTask and ends with it, even where the handler has gone; the
place belongs to the handler and ends with the task.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.flow.adaptive_limit import AdaptiveLimit, Ending, LimitChange, LimitPolicy, Place
from tidegate.flow.breaker import Breaker, BreakerPolicy, Pass
from tidegate.flow.token_bucket import BucketPolicy, TokenBucket

from tidegate_solver.events import (
    BreakerClosed,
    BreakerOpened,
    BreakerProbed,
    ConcurrencyChanged,
    CreateThrottled,
)


class AdmissionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The three walls' own policies."""

    limit: LimitPolicy = LimitPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    bucket: BucketPolicy = BucketPolicy(rate_per_s=100.0, burst=100.0)


class Turn:
    """Leave to send createTask once, and a place for the task that it makes."""

    def __init__(self, admission: "Admission", leave: Pass) -> None:
        self.ending = Ending.IGNORED
        self.took_s = 0.0
        self._admission = admission
        self._leave: Pass | None = leave
        self._handed_over = False

    def hand_over(self) -> None:
        """Leave it to the purchase to end the pass, whatever becomes of the handler."""
        self._handed_over = True

    def answered(self, *, away: bool, ending: Ending) -> None:
        """Take note of the answer to createTask: whether the service is away, and how the call ended."""
        self.ending = ending
        leave, self._leave = self._leave, None
        if leave is not None:
            self._admission.answered(leave, away=away)

    def not_sent(self) -> None:
        """Take note that nothing was sent, if nothing was: the pass goes to somebody else."""
        leave, self._leave = self._leave, None
        if leave is not None:
            self._admission.unused(leave)

    def left(self) -> None:
        """Take note that the handler has gone."""
        if not self._handed_over:
            self.not_sent()


class Admission:
    """The walls before one provider."""

    def __init__(self, provider: str, policy: AdmissionPolicy, *, clock: Clock, emit: Emit) -> None:
        self._provider = provider
        self._clock = clock
        self._emit = emit
        self._limit = AdaptiveLimit(policy.limit)
        self._breaker = Breaker(policy.breaker)
        self._bucket = TokenBucket(policy.bucket, clock.monotonic())
        self._waiting: deque[tuple[asyncio.Future[Place], str]] = deque()
        self._turned = asyncio.Event()

    @property
    def limit(self) -> int:
        """How many tasks may be at the service at once, now."""
        return self._limit.limit

    @asynccontextmanager
    async def turn(self, kind: str, patience_s: float) -> AsyncIterator[Turn | None]:
        """Wait for a turn; None where it did not come within the patience (seconds)."""
        until_s = self._clock.monotonic() + patience_s
        place = await self._place(kind, patience_s)
        if place is None:
            yield None
            return
        turn = None
        try:
            leave = await self._pass(until_s)
            turn = None if leave is None else Turn(self, leave)
            yield turn
        finally:
            if turn is None:
                self._give_back(place, Ending.IGNORED, 0.0)
            else:
                turn.left()
                self._give_back(place, turn.ending, turn.took_s)

    def answered(self, leave: Pass, *, away: bool) -> None:
        """End a pass by what createTask was answered."""
        if away:
            if self._breaker.fail(leave, self._clock.monotonic()):
                self._emit(BreakerOpened(provider=self._provider))
                self._turn_over()
        elif self._breaker.succeed(leave):
            self._emit(BreakerClosed(provider=self._provider))
            self._note(self._limit.recovered())
            self._wake()
            self._turn_over()

    def unused(self, leave: Pass) -> None:
        """End a pass that nothing was sent with."""
        self._breaker.drop(leave)
        self._turn_over()

    async def _place(self, kind: str, patience_s: float) -> Place | None:
        if patience_s <= 0:
            return None
        waiter: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append((waiter, kind))
        self._wake()
        try:
            async with asyncio.timeout(patience_s):
                return await waiter
        except TimeoutError:
            # It may have been given at the very last moment.
            return waiter.result() if waiter.done() and not waiter.cancelled() else None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back(waiter.result(), Ending.IGNORED, 0.0)
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove((waiter, kind))

    async def _pass(self, until_s: float) -> Pass | None:
        while (left_s := until_s - self._clock.monotonic()) > 0:
            refused = self._breaker.refusal(self._clock.monotonic())
            if refused is not None:
                if refused.retry_in_s is not None and refused.retry_in_s >= left_s:
                    return None
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s if refused.retry_in_s is None else refused.retry_in_s):
                        await self._turned.wait()
                continue
            wait_s = self._bucket.take(self._clock.monotonic(), left_s)
            if wait_s is None:
                return None
            if wait_s > 0:
                self._emit(CreateThrottled(provider=self._provider, wait_s=wait_s))
                await self._clock.sleep(wait_s)
            leave = self._breaker.ask(self._clock.monotonic())
            if isinstance(leave, Pass):
                if leave.probe:
                    self._emit(BreakerProbed(provider=self._provider))
                return leave
        return None

    def _give_back(self, place: Place, ending: Ending, took_s: float) -> None:
        self._note(self._limit.release(place, ending, self._clock.monotonic(), took_s))
        self._wake()

    def _wake(self) -> None:
        """Give what places there are to those who have waited longest."""
        while self._waiting:
            waiter, kind = self._waiting[0]
            if not waiter.done():
                place = self._limit.acquire(self._clock.monotonic(), kind)
                if place is None:
                    return
                waiter.set_result(place)
            self._waiting.popleft()

    def _turn_over(self) -> None:
        """Wake all who wait for the breaker."""
        self._turned.set()
        self._turned = asyncio.Event()

    def _note(self, change: LimitChange | None) -> None:
        if change is not None:
            self._emit(
                ConcurrencyChanged(
                    provider=self._provider,
                    before=change.before,
                    after=change.after,
                    why=change.why,
                    slowness=round(change.slowness, 3),
                    dropped=round(change.dropped, 3),
                )
            )
