"""The purchase: reserve, send, note. The one place where money leaves, never torn by a cancellation.

Between createTask going out and its task id being acknowledged in the journal lies the only window in which
a crash may cost a solve (the promise names it). So that nothing but a crash opens it, the three steps run in
a task of their own: a handler that is cancelled meanwhile leaves it behind, the journal still gets the task
id, and the redo resumes instead of buying again.

The ledger's reservation stands before the journal's, so that there is none of the journal without money
behind it; and a refused one leaves nothing behind here. What was reserved and not sent is given back at once,
or by the handler with its answer.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

import msgspec
from tidegate.captcha_records import CaptchaRequest
from tidegate.clock import BrokerClock
from tidegate.consume.service import Sink
from tidegate.errors import FatalProduceError
from tidegate.events import Emit

from tidegate_solver import wire
from tidegate_solver.admission import Turn
from tidegate_solver.budget import Budget, Denied, Granted
from tidegate_solver.events import PurchaseOrphaned, StallNoticed
from tidegate_solver.heartbeat import Pulse
from tidegate_solver.journal import Journal
from tidegate_solver.journal_log import entry_record
from tidegate_solver.profiles import KindProfile
from tidegate_solver.provider import Provider, Task
from tidegate_solver.strength import ending_of_create, is_away


class TooLate(msgspec.Struct, frozen=True):
    """Nothing was bought: the request's life, or its handler, ended before createTask."""


class Bought(msgspec.Struct, frozen=True):
    """A task exists and is in the journal."""

    task: Task


Result: TypeAlias = Bought | wire.Rejected | wire.InDoubt | TooLate | Denied


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is bought for whom. ``partition`` is the request's, ``until_ms`` the last moment to buy.

    ``turn`` is the leave to send createTask; the purchase ends it. ``goes_on`` says whether the request would
    be bought elsewhere or again after a refusal.
    """

    request: CaptchaRequest
    partition: int
    journal: Journal
    provider: Provider
    offer: KindProfile
    until_ms: int
    goes_on: Callable[[wire.Rejected], bool]
    turn: Turn


class TaskOwner(Protocol):
    """What owns the purchases: a TaskGroup."""

    def create_task(self, coro: Coroutine[Any, Any, None], *, name: str | None = None) -> asyncio.Task[None]:
        """Start a task that the owner waits for."""
        ...


class _Running:
    """A purchase under way, and whether its handler still waits for it."""

    def __init__(self, partition: int, result: asyncio.Future[Result]) -> None:
        self.partition = partition
        self.result = result
        self.task: asyncio.Task[None] | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """Say that the handler has gone."""
        self._abandoned = True

    def is_abandoned(self) -> bool:
        """Say whether the handler has gone: a method, because it changes across any await."""
        return self._abandoned


class Purchases:
    """Runs purchases, at most one for a request."""

    def __init__(
        self,
        owner: TaskOwner,
        sink: Sink,
        budget: Budget,
        pulse: Pulse,
        *,
        broker_clock: BrokerClock,
        emit: Emit,
    ) -> None:
        self._owner = owner
        self._budget = budget
        self._sink = sink
        self._pulse = pulse
        self._broker_clock = broker_clock
        self._emit = emit
        self._running: dict[str, _Running] = {}

    async def buy(self, order: Order) -> Result:
        """Buy once. A cancellation leaves the purchase to end by itself.

        Raises FatalProduceError: whether the journal has the step is unknown, the process must end.
        """
        running = _Running(order.partition, asyncio.get_running_loop().create_future())
        self._running[order.request.request_id] = running
        order.turn.hand_over()
        running.task = self._owner.create_task(self._run(order, running), name="purchase")
        try:
            return await asyncio.shield(running.result)
        except asyncio.CancelledError:
            running.abandon()
            raise

    async def settled(self, request_id: str) -> None:
        """Wait for the purchase that an earlier handler of this request left behind, if any."""
        running = self._running.get(request_id)
        if running is not None:
            await asyncio.wait([running.result])

    async def settled_partition(self, partition: int) -> None:
        """Wait for every purchase of a partition, so that its journal can be read whole."""
        left = [r.result for r in self._running.values() if r.partition == partition]
        if left:
            await asyncio.wait(left)

    async def close(self, timeout_s: float) -> None:
        """Wait for all purchases, then cut off what is left: called once no handler runs any more.

        What is cut off is waiting for a broker or a service that does not answer; the next owner finds the
        reservation and settles it in doubt.
        """
        left = [r.task for r in self._running.values() if r.task is not None]
        if left:
            _, late = await asyncio.wait(left, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def _run(self, order: Order, running: _Running) -> None:
        request_id = order.request.request_id
        try:
            result = await self._steps(order, running)
        except FatalProduceError as error:
            if running.is_abandoned():
                raise  # nobody waits for it, and the process must end
            running.result.set_exception(error)
        except Exception as error:  # noqa: BLE001 -- handed to whoever waits, whatever it is
            running.result.set_exception(error)
            if running.is_abandoned():
                running.result.exception()
                self._emit(PurchaseOrphaned(request_id=request_id, result=type(error).__name__))
        else:
            running.result.set_result(result)
            if running.is_abandoned():
                self._emit(PurchaseOrphaned(request_id=request_id, result=type(result).__name__))
        finally:
            order.turn.not_sent()  # only where nothing was answered
            running.result.cancel()  # only where nothing was set: the whole process is being torn down
            del self._running[request_id]

    async def _steps(self, order: Order, running: _Running) -> Result:
        while not running.is_abandoned():
            granted = await self._budget.reserve(order.request, order.provider.name, order.offer.price)
            if isinstance(granted, Denied):
                return granted
            if self._is_over(order, running):
                await self._budget.void(granted)
                break
            if self._pulse.is_trusted():
                return await self._spend(order, running, granted)
            # Another may have answered the request meanwhile: then nobody else would end this reservation,
            # and the journal is not ours to write to.
            await self._budget.void(granted)
            await self._wait_until_trusted(order)
        return TooLate()

    def _is_over(self, order: Order, running: _Running) -> bool:
        return running.is_abandoned() or self._broker_clock.now_ms() >= order.until_ms

    async def _wait_until_trusted(self, order: Order) -> None:
        if not self._pulse.is_trusted():
            self._emit(StallNoticed(request_id=order.request.request_id))
            await self._pulse.wait_until_trusted()

    async def _spend(self, order: Order, running: _Running, granted: Granted) -> Result:
        request_id = order.request.request_id
        order.journal.reserve(
            request_id,
            provider=order.provider.name,
            max_cost=order.offer.price,
            now_ms=self._broker_clock.now_ms(),
            accepted_at_ms=order.request.state.accepted_at_ms,
        )
        await self._write(order, request_id)
        await self._wait_until_trusted(order)
        if running.is_abandoned():
            # The journal keeps it: another process may own that by now, and what it wrote after us must not
            # be overwritten. The money goes back: who owns the journal may be done with the request.
            await self._budget.void(granted)
            return TooLate()
        if self._broker_clock.now_ms() >= order.until_ms:
            return TooLate()
        reply = await order.provider.create(order.request, order.offer)
        created_at_ms = self._broker_clock.now_ms()
        order.turn.answered(away=is_away(reply), ending=ending_of_create(reply))
        match reply:
            case wire.Created():
                order.journal.task(request_id, task_id=reply.task_id, now_ms=created_at_ms)
                await self._write(order, request_id)
                return Bought(
                    Task(
                        request_id=request_id,
                        kind=order.request.challenge.kind,
                        task_id=reply.task_id,
                        created_at_ms=created_at_ms,
                        ready=reply.ready,
                    )
                )
            case wire.Rejected() if order.goes_on(reply):
                # A tombstone takes back whatever stands before it, the answer of another owner, too.
                await self._wait_until_trusted(order)
                if not running.is_abandoned():
                    # Nothing was spent and there will be another try: a crash before it must not count as
                    # spent.
                    order.journal.void(request_id)
                    await self._write(order, request_id)
                    await self._budget.void(granted)
        return reply

    async def _write(self, order: Order, request_id: str) -> None:
        entry = order.journal.get(request_id)
        await self._sink.send(entry_record(order.request.state.site, order.partition, request_id, entry))
