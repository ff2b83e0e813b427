"""Nothing is bought while the answers of before lie unread: the solver in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from support.solver import (
    PARTITION,
    FakeVendor,
    a_request,
    context,
    profile,
    request_record,
    seller,
    solutions,
)
from support.virtual_time import LoopClock, virtually
from tidegate.backlog import Standing
from tidegate.captcha_records import CaptchaRequest, SolutionStatus
from tidegate.clock import BrokerClock
from tidegate.consume.offsets import TopicPartition
from tidegate.errors import BrokerError
from tidegate.events import Event
from tidegate.flow.unread import UnreadPolicy
from tidegate.outcome import Done
from tidegate.sites import partition_of
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_solver import events
from tidegate_solver.app import assemble
from tidegate_solver.handler import Solver
from tidegate_solver.unread_watch import UnreadWatch

SITE_PARTITION = partition_of(a_request().state.site.encode(), 4)


class Readings:
    """What the fetchers have not read: append times by partition, or no answer at all."""

    def __init__(self) -> None:
        self.unread_ms: dict[int, int] = {}
        self.away = False

    async def read(self, topic: str, group: str, *, unread: bool = False) -> Standing:
        """Answer as set."""
        assert (topic, group, unread) == ("captcha-solutions", "fetcher", True)
        if self.away:
            raise BrokerError("nobody there")
        return Standing(end=7, done=7 - len(self.unread_ms), unread_ms=self.unread_ms)


class Bench(msgspec.Struct, frozen=True):
    """A solver whose readings a test sets."""

    broker: FakeBroker
    vendor: FakeVendor
    solver: Solver
    readings: Readings
    clock: LoopClock
    events: list[Event]

    async def answer(self, request: CaptchaRequest) -> SolutionStatus:
        """Put a request through; return how it was answered."""
        ack = self.broker.append(request_record(request))
        log = self.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)]
        outcome = await self.solver.handle(self.solver.decode(log[ack.offset]))
        assert isinstance(outcome, Done)
        return solutions(outcome.outgoing)[0].status

    def unread_since(self, age_s: float, partition: int = SITE_PARTITION) -> None:
        """Say since when an answer lies unread."""
        self.readings.unread_ms = {partition: self.clock.wall_ms() - round(age_s * 1000)}

    def told(self) -> list[str]:
        """Name what the wall said, readings aside."""
        walls = (events.UnreadWallShut, events.UnreadWallOpened, events.UnreadUnknown, events.PurchaseHeld)
        return [type(event).__name__ for event in self.events if isinstance(event, walls)]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Run a solver."""
    clock = LoopClock()
    broker, readings, told = FakeBroker(clock), Readings(), list[Event]()
    vendor = FakeVendor(profile(), clock)
    parts = context(FakeSink(broker), FakeReader(broker), clock, told.append)
    parts = msgspec.structs.replace(parts, backlog=readings)
    async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
        await solver.prepare(PARTITION)
        yield Bench(broker, vendor, solver, readings, clock, told)


def test_nothing_is_bought_until_the_answers_of_its_partition_are_read() -> None:
    """The request waits, once for all told, and is bought when somebody reads again."""

    async def main() -> None:
        async with bench() as b:
            b.unread_since(61)
            await b.clock.sleep(3)
            handling = asyncio.ensure_future(b.answer(a_request()))
            await b.clock.sleep(60)
            assert b.vendor.charges == []
            b.readings.unread_ms = {}
            assert await handling is SolutionStatus.SOLVED
            assert len(b.vendor.charges) == 1
            assert b.told() == ["UnreadWallShut", "PurchaseHeld", "UnreadWallOpened"]

    virtually(main())


def test_another_partitions_unread_answers_hold_nothing_here() -> None:
    """Each partition has a reader of its own."""

    async def main() -> None:
        async with bench() as b:
            b.unread_since(1000, partition=(SITE_PARTITION + 1) % 4)
            await b.clock.sleep(3)
            assert await b.answer(a_request()) is SolutionStatus.SOLVED

    virtually(main())


def test_a_request_that_cannot_wait_so_long_costs_nothing() -> None:
    """It is answered as expired, which is a deferral (C4), before its life is over."""

    async def main() -> None:
        async with bench() as b:
            b.unread_since(61)
            await b.clock.sleep(3)
            began = b.clock.monotonic()
            assert await b.answer(a_request(lifetime_s=200.0)) is SolutionStatus.EXPIRED_UNBOUGHT
            assert 100 < b.clock.monotonic() - began < 200
            assert b.vendor.charges == []

    virtually(main())


def test_nothing_is_bought_while_nobody_knows_whether_answers_are_read() -> None:
    """A short silence of the broker is forgiven, a longer one is not; it is told once."""

    async def main() -> None:
        async with bench() as b:
            await b.clock.sleep(3)
            b.readings.away = True
            await b.clock.sleep(10)
            assert await b.answer(a_request("one")) is SolutionStatus.SOLVED
            await b.clock.sleep(30)
            handling = asyncio.ensure_future(b.answer(a_request("two")))
            await b.clock.sleep(30)
            assert len(b.vendor.charges) == 1
            b.readings.away = False
            assert await handling is SolutionStatus.SOLVED
            assert b.told() == ["UnreadUnknown", "PurchaseHeld"]

    virtually(main())


@pytest.mark.parametrize("age_s", [0.0, 40.0])
def test_answers_on_their_way_hold_nothing(age_s: float) -> None:
    """A fetcher takes a moment, and a slow page takes longer."""

    async def main() -> None:
        async with bench() as b:
            b.unread_since(age_s - 3)
            await b.clock.sleep(3)
            assert await b.answer(a_request()) is SolutionStatus.SOLVED
            assert b.told() == []

    virtually(main())


def test_who_waits_is_woken_by_what_changed_and_not_by_every_reading() -> None:
    """Thousands may wait; woken each time they would leave a busy process no time to read."""

    async def main() -> None:
        clock, readings = LoopClock(), Readings()
        watch = UnreadWatch(
            UnreadPolicy(),
            readings,
            partitions=4,
            read_every_s=0.5,
            clock=clock,
            broker_clock=BrokerClock(clock),
            emit=lambda _: None,
        )
        readings.unread_ms = {SITE_PARTITION: clock.wall_ms() - 300_000}
        reading = asyncio.create_task(watch.run())  # noqa: TID251 -- ended below
        await clock.sleep(1.1)
        waiting = asyncio.create_task(watch.turned())  # noqa: TID251 -- awaited below
        await clock.sleep(3.0)
        assert not waiting.done()
        readings.unread_ms = {}
        await clock.sleep(0.6)
        assert waiting.done()
        assert not watch.is_shut(a_request().state.site)
        reading.cancel()

    virtually(main())
