"""A solver that is cut off from its group for a while, and comes back to what another did meanwhile (M3, M4).

``first`` loses its partition without hearing of it; ``second`` gets it. All in virtual time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from support.solver import (
    PARTITION,
    FakeVendor,
    a_request,
    context,
    ledger_of,
    profile,
    request_record,
    seller,
    solutions,
)
from support.virtual_time import LoopClock, virtually
from tidegate.captcha_records import CaptchaSolution, SolutionStatus
from tidegate.clock import Clock
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.service import Ack
from tidegate.events import Event
from tidegate.outcome import Done, Outgoing
from tidegate.records import Inbound
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_solver import events
from tidegate_solver.app import assemble
from tidegate_solver.handler import Solver

PRICE = 3000


class CutOff(FakeSink):
    """Nothing gets through while the way is shut; what was sent gets through later."""

    def __init__(self, broker: FakeBroker) -> None:
        super().__init__(broker)
        self.way = asyncio.Event()
        self.way.set()

    async def send(self, record: Outgoing) -> Ack:
        """Wait for the way, then send."""
        await self.way.wait()
        return await super().send(record)


class Vendor(FakeVendor):
    """Holds createTask back while the way to it is shut."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(profile(), clock)
        self.way = asyncio.Event()
        self.way.set()

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Answer, once the way is open."""
        if path == "/createTask":
            await self.way.wait()
        return await super().post(path, body)


class Pair:
    """Two solvers at one broker. ``unheard_s`` is for how long the group has not heard of the first."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.broker = FakeBroker(self.clock)
        self.sink = CutOff(self.broker)
        self.vendor = Vendor(self.clock)
        self.unheard_s = 0.0
        self.told: list[Event] = []

    @asynccontextmanager
    async def first(self) -> AsyncIterator[Solver]:
        """Run the solver that is cut off."""
        parts = context(self.sink, FakeReader(self.broker), self.clock, self.told.append)
        parts = msgspec.structs.replace(parts, membership_age_s=lambda: self.unheard_s)
        async with assemble(parts, [seller(parts, self.vendor.profile, self.vendor)]) as solver:
            await solver.prepare(PARTITION)
            yield solver

    @asynccontextmanager
    async def second(self) -> AsyncIterator[Solver]:
        """Run the solver that gets the partition; it has a way of its own to the vendor."""
        parts = context(FakeSink(self.broker), FakeReader(self.broker), self.clock, lambda _: None)
        vendor = FakeVendor(self.vendor.profile, self.clock)
        vendor.charges = self.vendor.charges
        async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
            await solver.prepare(PARTITION)
            yield solver

    def put(self) -> Inbound:
        """Append a request and return its record."""
        offset = self.broker.append(request_record(a_request("one"))).offset
        return self.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)][offset]

    async def answer(self, solver: Solver, record: Inbound) -> CaptchaSolution:
        """Let a solver answer a request, and publish what it says."""
        outcome = await solver.handle(solver.decode(record))
        assert isinstance(outcome, Done)
        for outgoing in outcome.outgoing:
            self.broker.append(outgoing)
        (solution,) = solutions(outcome.outgoing)
        return solution


def play(scenario: Callable[[Pair], Coroutine[None, None, None]]) -> None:
    """Run a scenario in virtual time."""

    async def main() -> None:
        await scenario(Pair())

    virtually(main())


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait([task])


def test_a_reservation_that_comes_after_the_next_owners_answer_is_given_back() -> None:
    """M3: the request is done with, so nobody would ever end a reservation that is left open for it."""

    async def scenario(pair: Pair) -> None:
        record = pair.put()
        async with pair.first() as first:
            pair.sink.way.clear()
            handling = asyncio.ensure_future(first.handle(first.decode(record)))
            await pair.clock.sleep(15)
            pair.unheard_s = 15
            async with pair.second() as second:
                assert (await pair.answer(second, record)).status is SolutionStatus.SOLVED
            pair.sink.way.set()
            await pair.clock.sleep(1)
            assert dict(ledger_of(pair.broker).open) == {}
            await _cancelled(handling)
            first.release(PARTITION)
            pair.unheard_s = 0
            await pair.clock.sleep(60)
        ledger = ledger_of(pair.broker)
        assert (ledger.spent, ledger.in_doubt, dict(ledger.open)) == (PRICE, 0, {})
        assert len(pair.vendor.charges) == 1
        assert any(isinstance(event, events.StallNoticed) for event in pair.told)
        # Nor does the journal's last word on it say that it is only reserved.
        assert b"answered" in pair.broker.records(Topic.CAPTCHA_TASKS)[-1].value

    play(scenario)


def test_it_reserves_anew_and_buys_once_the_group_has_heard_of_it_again() -> None:
    """A cut of the network that cost it nothing costs the request nothing either."""

    async def scenario(pair: Pair) -> None:
        record = pair.put()
        async with pair.first() as first:
            pair.unheard_s = 15
            handling = asyncio.ensure_future(pair.answer(first, record))
            await pair.clock.sleep(5)
            assert pair.vendor.charges == []
            assert dict(ledger_of(pair.broker).open) == {}
            pair.unheard_s = 0
            assert (await handling).status is SolutionStatus.SOLVED
        ledger = ledger_of(pair.broker)
        assert (ledger.spent, ledger.in_doubt, dict(ledger.open)) == (PRICE, 0, {})

    play(scenario)


def test_a_late_refusal_takes_no_answer_of_another_owner_back() -> None:
    """M4: a tombstone removes all that stands before it in the journal; the request would be bought anew."""

    async def scenario(pair: Pair) -> None:
        record = pair.put()
        pair.vendor.on_create.append("ERROR_NO_SLOT_AVAILABLE")
        async with pair.first() as first:
            pair.vendor.way.clear()
            handling = asyncio.ensure_future(first.handle(first.decode(record)))
            await pair.clock.sleep(15)
            pair.unheard_s = 15
            async with pair.second() as second:
                assert (await pair.answer(second, record)).status is SolutionStatus.FAILED  # in doubt
            pair.vendor.way.set()
            await pair.clock.sleep(1)
            await _cancelled(handling)
            first.release(PARTITION)
            pair.unheard_s = 0
            await pair.clock.sleep(60)
        async with pair.second() as third:
            again = await pair.answer(third, record)
        assert (again.status, again.answered_before) == (SolutionStatus.FAILED, True)
        assert pair.vendor.charges == []
        assert dict(ledger_of(pair.broker).open) == {}

    play(scenario)
