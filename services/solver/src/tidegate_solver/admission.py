"""When a request's turn at a solving service has come: places, the breaker and the token bucket, awaited.

One of these stands before each provider. A request waits for a place among those in flight, first come
first served; then until the breaker lets it through; then for the bucket's next token. All of it takes
no longer than the request has patience, and nothing is reserved or sent meanwhile. Where the breaker will
not even try within that time, the answer is at once: whoever cannot be served does not occupy the window.

``turn_at`` waits before several: at the best of them alone for a while, then at all at once, and takes the
first place that comes free anywhere.

The pass through the breaker belongs to createTask and ends with it, even where the handler has gone; the
place belongs to the handler and ends with the task.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
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

# A hold-up that is no reason to go to another provider.
_SOON_S = 1.0


class AdmissionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The three walls' own policies."""

    limit: LimitPolicy = LimitPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    bucket: BucketPolicy = BucketPolicy(rate_per_s=100.0, burst=100.0)


class Turn:
    """Leave to send createTask once, and a place for the task that it makes, at ``admission``."""

    def __init__(self, admission: "Admission", leave: Pass) -> None:
        self.ending = Ending.IGNORED
        self.took_s = 0.0
        self.admission = admission
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
            self.admission.answered(leave, away=away)

    def not_sent(self) -> None:
        """Take note that nothing was sent, if nothing was: the pass goes to somebody else."""
        leave, self._leave = self._leave, None
        if leave is not None:
            self.admission.unused(leave)

    def left(self) -> None:
        """Take note that the handler has gone."""
        if not self._handed_over:
            self.not_sent()


class _Waiter:
    """A request that waits for a place, at one provider or at several."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.found: asyncio.Future[tuple[Admission, Place]] = asyncio.get_running_loop().create_future()

    def result(self) -> "tuple[Admission, Place] | None":
        """Return what was found, None where nothing was."""
        return self.found.result() if self.found.done() and not self.found.cancelled() else None


class Admission:
    """The walls before one provider."""

    def __init__(self, provider: str, policy: AdmissionPolicy, *, clock: Clock, emit: Emit) -> None:
        self._provider = provider
        self._clock = clock
        self._emit = emit
        self._limit = AdaptiveLimit(policy.limit)
        self._breaker = Breaker(policy.breaker)
        self._bucket = TokenBucket(policy.bucket, clock.monotonic())
        self._waiting: deque[_Waiter] = deque()
        self._turned = asyncio.Event()

    @property
    def limit(self) -> int:
        """How many tasks may be at the service at once, now."""
        return self._limit.limit

    @property
    def opens_in_s(self) -> float | None:
        """How long the breaker lets nothing through; 0 where it does, None: until its probe has ended."""
        refused = self._breaker.refusal(self._clock.monotonic())
        return 0.0 if refused is None else refused.retry_in_s

    @asynccontextmanager
    async def turn(self, kind: str, patience_s: float) -> AsyncIterator[Turn | None]:
        """Wait for a turn; None where it did not come within the patience (seconds)."""
        async with turn_at((self,), kind, patience_s, clock=self._clock) as turn:
            yield turn

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

    def join(self, waiter: _Waiter) -> None:
        """Let a request wait for a place here."""
        self._waiting.append(waiter)
        self._wake()

    def leave(self, waiter: _Waiter) -> None:
        """Let it wait here no longer."""
        with suppress(ValueError):
            self._waiting.remove(waiter)

    async def leave_to_send(self, until_s: float) -> Pass | None:
        """Wait for the breaker and for the bucket; None where they take longer than until then."""
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

    def give_back(self, place: Place, ending: Ending, took_s: float) -> None:
        """Give a place back and say how its task ended."""
        self._note(self._limit.release(place, ending, self._clock.monotonic(), took_s))
        self._wake()

    def _wake(self) -> None:
        """Give what places there are to those who have waited longest."""
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.found.done():
                place = self._limit.acquire(self._clock.monotonic(), waiter.kind)
                if place is None:
                    return
                waiter.found.set_result((self, place))
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


@asynccontextmanager
async def turn_at(
    admissions: Sequence[Admission], kind: str, patience_s: float, *, clock: Clock, alone_s: float = 0.0
) -> AsyncIterator[Turn | None]:
    """Wait for a turn at any of these, the best first; None where none came within the patience.

    For ``alone_s`` only the best is waited for. A provider whose breaker or bucket holds a request up for
    longer than that is left to others, while there are any.
    """
    until_s = clock.monotonic() + patience_s
    left = list(admissions)
    while left:
        found = None
        if len(left) > 1:
            found = await _place(left[:1], kind, min(alone_s, until_s - clock.monotonic()))
        found = found or await _place(left, kind, until_s - clock.monotonic())
        if found is None:
            break
        admission, place = found
        turn = None
        try:
            soon_s = until_s if len(left) == 1 else min(until_s, clock.monotonic() + max(alone_s, _SOON_S))
            leave = await admission.leave_to_send(soon_s)
            if leave is not None:
                turn = Turn(admission, leave)
                yield turn
                return
        finally:
            if turn is None:
                admission.give_back(place, Ending.IGNORED, 0.0)
            else:
                turn.left()
                admission.give_back(place, turn.ending, turn.took_s)
        left.remove(admission)
    yield None


async def _place(
    admissions: Sequence[Admission], kind: str, patience_s: float
) -> tuple[Admission, Place] | None:
    if patience_s <= 0:
        return None
    waiter = _Waiter(kind)
    try:
        for admission in admissions:
            if not waiter.found.done():
                admission.join(waiter)
        async with asyncio.timeout(patience_s):
            return await waiter.found
    except TimeoutError:
        # It may have been given at the very last moment.
        return waiter.result()
    except asyncio.CancelledError:
        found = waiter.result()
        if found is not None:
            found[0].give_back(found[1], Ending.IGNORED, 0.0)
        raise
    finally:
        for admission in admissions:
            admission.leave(waiter)
