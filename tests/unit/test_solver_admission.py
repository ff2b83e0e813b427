"""The walls before a solving service, in virtual time: places, the breaker and the bucket."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

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
    solves,
)
from support.virtual_time import LoopClock, virtually
from tidegate.captcha_records import CaptchaRequest, SolutionStatus, SolveRecord
from tidegate.consume.offsets import TopicPartition
from tidegate.events import Event
from tidegate.flow.adaptive_limit import Ending, LimitPolicy
from tidegate.flow.breaker import BreakerPolicy
from tidegate.outcome import Done
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_solver import events, wire
from tidegate_solver.admission import Admission, AdmissionPolicy
from tidegate_solver.app import assemble
from tidegate_solver.handler import Solver
from tidegate_solver.profiles import ErrorKind
from tidegate_solver.provider import Harvest
from tidegate_solver.strength import ending_of_create, ending_of_harvest, is_away
from tidegate_solver.transport import NoAnswerError, NotSentError


class Vendor(FakeVendor):
    """A vendor that is away between two moments, and remembers when it was asked for a task."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.away = (0.0, 0.0)
        self.hangs = False
        self.asked_at: list[float] = []

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Answer, or be away: not reachable, or silent for 30 s."""
        now_s = self._clock.monotonic()
        if path == "/createTask":
            self.asked_at.append(now_s)
        if self.away[0] <= now_s < self.away[1]:
            if not self.hangs:
                raise NotSentError("not_sent", "no connection: ConnectionRefusedError")
            await self._clock.sleep(30.0)
            raise NoAnswerError("no_answer", "no whole answer: TimeoutError")
        return await super().post(path, body)


class Bench:
    """A solver, its vendor, and what happened."""

    def __init__(
        self, solver: Solver, vendor: Vendor, broker: FakeBroker, sink: FakeSink, happened: list[Event]
    ) -> None:
        self.solver = solver
        self.sink = sink
        self.vendor = vendor
        self.broker = broker
        self.happened = happened

    async def answer(self, request: CaptchaRequest) -> tuple[SolutionStatus, SolveRecord]:
        """Put a request through."""
        ack = self.broker.append(request_record(request))
        log = self.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)]
        outcome = await self.solver.handle(self.solver.decode(log[ack.offset]))
        assert isinstance(outcome, Done)
        (solution,), (solve,) = solutions(outcome.outgoing), solves(outcome.outgoing)
        return solution.status, solve

    def of(self, kind: type[Event]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.happened if isinstance(event, kind)]


@asynccontextmanager
async def bench(*, latency_s: float = 12.0, **settings: Any) -> AsyncIterator[Bench]:
    """Run a solver on a fresh broker and vendor."""
    clock = LoopClock()
    broker = FakeBroker(clock)
    vendor = Vendor(profile(), clock, latency_s=latency_s)
    happened: list[Event] = []
    sink = FakeSink(broker)
    parts = context(sink, FakeReader(broker), clock, happened.append, **settings)
    async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
        await solver.prepare(PARTITION)
        yield Bench(solver, vendor, broker, sink, happened)


def now_s() -> float:
    """Return the loop's seconds."""
    return asyncio.get_running_loop().time()


def test_an_outage_of_a_minute_opens_the_breaker_and_one_request_finds_its_end() -> None:
    """Five failures, a probe each 30 s, and all that was worth it is solved within reset + 15 s."""

    async def main() -> None:
        async with bench(latency_s=3.0, create_retries=10) as b:
            began = now_s()
            b.vendor.away = (began, began + 60.0)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(b.answer(a_request(f"job-{n}"))) for n in range(40)]
            assert {task.result()[0] for task in tasks} == {SolutionStatus.SOLVED}
            assert now_s() - began <= 60 + 30 + 15
            assert len(b.vendor.charges) == 40
            opened, closed = b.of(events.BreakerOpened), b.of(events.BreakerClosed)
            assert (len(opened), len(b.of(events.BreakerProbed)), len(closed)) == (2, 2, 1)
            # All forty were sent at once before the fifth failed; between that and the end, one probe.
            assert len([at for at in b.vendor.asked_at if began < at < began + 60]) == 1

    virtually(main())


def test_who_cannot_wait_for_the_breaker_is_answered_at_once_and_costs_nothing() -> None:
    """C4: a request that the next probe comes too late for is a deferral; nothing is reserved or sent."""

    async def main() -> None:
        async with bench(create_retries=0) as b:
            b.vendor.away = (0.0, 1e9)
            for n in range(5):
                status, _ = await b.answer(a_request(f"fails-{n}"))
                assert status is SolutionStatus.EXPIRED_UNBOUGHT
            asked, began = len(b.vendor.asked_at), now_s()
            journal = len(b.broker.records(Topic.CAPTCHA_TASKS))
            status, solve = await b.answer(a_request("short", lifetime_s=80.0))
            assert (status, solve.cost, solve.error_code) == (SolutionStatus.EXPIRED_UNBOUGHT, 0.0, "expired")
            assert now_s() == began
            assert len(b.vendor.asked_at) == asked
            assert len(b.broker.records(Topic.CAPTCHA_TASKS)) == journal

    virtually(main())


def test_a_service_that_hangs_leaves_little_in_doubt() -> None:
    """M3: what was sent into the silence counts as spent; once the breaker is open nothing more is sent."""

    async def main() -> None:
        async with bench(concurrency=8, create_retries=0) as b:
            b.vendor.away, b.vendor.hangs = (now_s(), now_s() + 100.0), True
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(b.answer(a_request(f"job-{n}", lifetime_s=600.0))) for n in range(60)
                ]
            codes = [task.result()[1].error_code for task in tasks]
            # Eight were out at once; then a probe each half minute and the half minute that it hangs.
            assert codes.count("in_doubt") <= 8 + 2
            assert codes.count(None) == 60 - codes.count("in_doubt")

    virtually(main())


def test_an_account_without_money_stops_the_buying_and_not_the_jobs() -> None:
    """One refusal takes the account out; all jobs are deferred (C4), and money brings it back."""

    async def main() -> None:
        async with bench(balance_check_s=60.0) as b:
            b.vendor.on_create, b.vendor.balance = ["ERROR_ZERO_BALANCE"] * 100, 0.001
            assert (await b.answer(a_request("first")))[0] is SolutionStatus.EXPIRED_UNBOUGHT
            rest = [(await b.answer(a_request(f"then-{n}")))[0] for n in range(30)]
            assert set(rest) == {SolutionStatus.EXPIRED_UNBOUGHT}
            assert len(b.vendor.asked_at) == 1
            await LoopClock().sleep(200.0)
            assert (await b.answer(a_request("still")))[0] is SolutionStatus.EXPIRED_UNBOUGHT
            b.vendor.on_create, b.vendor.balance = [], 20.0
            await LoopClock().sleep(61.0)
            assert (await b.answer(a_request("again")))[0] is SolutionStatus.SOLVED
            assert len(b.vendor.asked_at) == 2
            (out,), (back,) = b.of(events.ProviderOut), b.of(events.ProviderBack)
            assert (out.code, back.balance) == ("ERROR_ZERO_BALANCE", 20.0)
            assert [each.out for each in b.of(events.ProviderStanding)] == [True, False]

    virtually(main())


def test_the_bucket_spaces_what_is_sent() -> None:
    """Two a second and no more, however many wait; those who waited are told of."""

    async def main() -> None:
        async with bench(create_rate=2.0, create_burst=1.0) as b:
            async with asyncio.TaskGroup() as group:
                for n in range(20):
                    group.create_task(b.answer(a_request(f"job-{n}")))
            gaps = [later - earlier for earlier, later in pairwise(b.vendor.asked_at)]
            assert min(gaps) == pytest.approx(0.5)
            assert max(gaps) == pytest.approx(0.5)
            assert len(b.of(events.CreateThrottled)) == 19

    virtually(main())


def test_a_service_without_capacity_gets_fewer_at_once() -> None:
    """The limit comes down with an event that says why, and places are free during the pauses."""

    async def main() -> None:
        async with bench(concurrency=40, create_retries=10) as b:
            b.vendor.on_create = ["ERROR_NO_SLOT_AVAILABLE"] * 120
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(b.answer(a_request(f"job-{n}"))) for n in range(40)]
            assert {task.result()[0] for task in tasks} == {SolutionStatus.SOLVED}
            changes = b.of(events.ConcurrencyChanged)
            assert changes
            assert (changes[0].before, changes[0].why) == (40, "dropped")
            assert changes[0].after < 40
            assert not b.of(events.BreakerOpened)

    virtually(main())


def test_the_limit_holds_for_all_who_wait() -> None:
    """Never more at the service than the setting, and everybody's turn comes."""

    async def main() -> None:
        async with bench(concurrency=3, latency_s=5.0) as b:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(b.answer(a_request(f"job-{n}"))) for n in range(30)]
            assert {task.result()[0] for task in tasks} == {SolutionStatus.SOLVED}
            # Tasks live for 5 s or a little more: in no 5 s are more than three made.
            times = b.vendor.asked_at
            assert all(times[n + 3] - times[n] >= 5.0 for n in range(len(times) - 3))

    virtually(main())


def direct(happened: list[Event], **limit: Any) -> Admission:
    """Return the walls alone, with a breaker that opens at the first failure and probes after 30 s."""
    policy = AdmissionPolicy(limit=LimitPolicy(**limit), breaker=BreakerPolicy(failures=1))
    return Admission("vendor", policy, clock=LoopClock(), emit=happened.append)


async def fail(admission: Admission) -> None:
    """Open the breaker."""
    async with admission.turn("kind", 1.0) as turn:
        assert turn is not None
        turn.answered(away=True, ending=Ending.IGNORED)


def test_a_place_given_to_somebody_who_is_just_cancelled_goes_to_the_next() -> None:
    """Given and cancelled in one turn of the loop: the place is not lost."""

    async def main() -> None:
        admission = direct([], maximum=1)

        async def wait() -> bool:
            async with admission.turn("kind", 100.0) as turn:
                return turn is not None

        async with asyncio.TaskGroup() as group:
            async with admission.turn("kind", 1.0):
                second, third = group.create_task(wait()), group.create_task(wait())
                await LoopClock().sleep(1.0)
            second.cancel()
        assert second.cancelled()
        assert third.result()

    virtually(main())


def test_a_turn_that_came_to_nothing_is_the_next_ones() -> None:
    """A probe that was never handed over makes room for another at once."""

    async def main() -> None:
        happened: list[Event] = []
        admission = direct(happened)
        await fail(admission)
        await LoopClock().sleep(30.0)
        async with admission.turn("kind", 1.0) as turn:
            assert turn is not None
        async with admission.turn("kind", 1.0) as turn:
            assert turn is not None
            turn.answered(away=False, ending=Ending.IGNORED)
        assert [type(event) for event in happened] == [
            events.BreakerOpened,
            events.BreakerProbed,
            events.BreakerProbed,
            events.BreakerClosed,
        ]

    virtually(main())


def test_a_probe_that_is_given_up_before_it_is_sent_lets_the_next_one_probe() -> None:
    """A reservation that could not be written in the handler's life holds nobody up."""

    async def main() -> None:
        async with bench(create_retries=0) as b:
            b.vendor.away = (now_s(), now_s() + 10.0)
            for n in range(5):
                await b.answer(a_request(f"fails-{n}"))
            await LoopClock().sleep(30.0)
            b.sink.gate.clear()
            async with asyncio.TaskGroup() as group:
                probe = group.create_task(b.answer(a_request("probe")))
                await LoopClock().sleep(1.0)
                waits = group.create_task(b.answer(a_request("waits")))
                await LoopClock().sleep(1.0)
                probe.cancel()
                await LoopClock().sleep(1.0)
                b.sink.gate.set()
            assert waits.result()[0] is SolutionStatus.SOLVED
            assert len(b.vendor.charges) == 1

    virtually(main())


def test_a_probe_counts_although_its_handler_has_gone() -> None:
    """Exactly one createTask is out while half-open, and its answer decides."""

    async def main() -> None:
        async with bench(create_retries=0) as b:
            b.vendor.away = (now_s(), now_s() + 35.0)
            for n in range(5):
                await b.answer(a_request(f"fails-{n}"))
            await LoopClock().sleep(30.0)
            b.vendor.hangs = True
            async with asyncio.TaskGroup() as group:
                probe = group.create_task(b.answer(a_request("probe")))
                await LoopClock().sleep(1.0)
                waits = group.create_task(b.answer(a_request("waits")))
                probe.cancel()
                began = now_s()
            # The probe hangs for 30 s and fails, the breaker stays open for 30 s, and then it works.
            assert waits.result()[0] is SolutionStatus.SOLVED
            assert b.vendor.asked_at[-1] - began == pytest.approx(29.0 + 30.0)
            assert len(b.of(events.BreakerOpened)) == 2

    virtually(main())


def test_the_limit_is_what_it_was_as_soon_as_the_breaker_closes() -> None:
    """Not climbed to again: drops before the outage was noticed have taken it down."""

    async def main() -> None:
        happened: list[Event] = []
        admission = direct(happened, maximum=40)

        async def refused() -> None:
            async with admission.turn("kind", 100.0) as turn:
                assert turn is not None
                turn.ending = Ending.DROPPED
                await LoopClock().sleep(11.0)

        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(refused())
        assert admission.limit < 40
        await fail(admission)
        async with admission.turn("kind", 100.0) as turn:
            assert turn is not None
            turn.answered(away=False, ending=Ending.IGNORED)
        assert admission.limit == 40
        assert isinstance(happened[-1], events.ConcurrencyChanged)
        assert happened[-1].why == "outage_over"

    virtually(main())


def test_solves_that_become_slow_lower_the_limit() -> None:
    """What a task took is measured from its creation, by kind."""

    async def main() -> None:
        async with bench(concurrency=20, latency_s=10.0) as b:
            for latency_s in (10.0, 10.0, 40.0):
                b.vendor.latency_s = latency_s
                async with asyncio.TaskGroup() as group:
                    for n in range(40):
                        group.create_task(b.answer(a_request(f"{now_s()}-{n}")))
            (change,) = b.of(events.ConcurrencyChanged)
            assert (change.before, change.why) == (20, "slow")
            assert change.slowness > 2

    virtually(main())


@pytest.mark.parametrize("after_s", [0.0, 1.0, 29.9, 30.0, 30.001, 35.0, 59.0, 60.0, 61.0])
def test_a_cancelled_request_leaves_nothing_taken(after_s: float) -> None:
    """Whatever it waited for, or was the probe of: the next request is served."""

    async def main() -> None:
        async with bench(concurrency=2, create_retries=0) as b:
            b.vendor.away, b.vendor.hangs = (now_s(), now_s() + 45.0), True
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(b.answer(a_request(f"job-{n}", lifetime_s=400.0))) for n in range(12)
                ]
                await LoopClock().sleep(after_s)
                for task in tasks:
                    task.cancel()
            await LoopClock().sleep(100.0)
            assert (await b.answer(a_request("next")))[0] is SolutionStatus.SOLVED
            (member,) = b.solver._buyer._market.members.values()
            admission = member.admission
            assert admission._limit.in_flight == 0
            assert not admission._waiting
            assert not admission._breaker._out

    virtually(main())


@pytest.mark.parametrize(
    ("reply", "away", "ending"),
    [
        (wire.Created(task_id="1"), False, Ending.IGNORED),
        (wire.InDoubt(message=""), True, Ending.DROPPED),
        (wire.Rejected(code="not_sent", kind=ErrorKind.BUSY, message=""), True, Ending.DROPPED),
        (wire.Rejected(code="http_429", kind=ErrorKind.BUSY, message=""), False, Ending.DROPPED),
        (wire.Rejected(code="ERROR_ZERO_BALANCE", kind=ErrorKind.FATAL, message=""), True, Ending.IGNORED),
        (wire.Rejected(code="http_403", kind=ErrorKind.FATAL, message=""), True, Ending.IGNORED),
        (wire.Rejected(code="http_400", kind=ErrorKind.FATAL, message=""), False, Ending.IGNORED),
        (wire.Rejected(code="ERROR_BAD_REQUEST", kind=ErrorKind.INPUT, message=""), False, Ending.IGNORED),
    ],
)
def test_what_a_reply_says_of_the_service(reply: wire.CreateReply, away: bool, ending: Ending) -> None:
    """Away is a service that nobody here can use; a drop is one that could not take this many."""
    assert (is_away(reply), ending_of_create(reply)) == (away, ending)


@pytest.mark.parametrize(
    ("code", "polls", "troubled", "ending"),
    [
        (None, 3, False, Ending.SUCCESS),
        (None, 3, True, Ending.IGNORED),
        (None, 0, False, Ending.IGNORED),
        ("time_limit", 24, False, Ending.SUCCESS),
        ("time_limit", 24, True, Ending.IGNORED),
        ("ERROR_CAPTCHA_UNSOLVABLE", 4, False, Ending.IGNORED),
    ],
)
def test_what_a_task_says_of_the_service(
    code: str | None, polls: int, troubled: bool, ending: Ending
) -> None:
    """A task that took its time is measured, one that nobody could ask after is not."""
    failed = wire.Failed(code=code or "", kind=ErrorKind.RETRY, message="")
    result = wire.Ready(token="t") if code is None else failed
    assert ending_of_harvest(Harvest(result=result, polls=polls, troubled=troubled)) is ending
