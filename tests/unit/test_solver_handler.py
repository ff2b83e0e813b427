"""The solver's handler in virtual time, against a solving service in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from support.solver import (
    KEY,
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
from tidegate.captcha_records import CaptchaRequest, SolutionStatus, SolveRecord, TaskRecord, TaskState
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.service import Ack, Work
from tidegate.errors import FatalProduceError, RecordError
from tidegate.events import Event
from tidegate.outcome import Done, Outgoing
from tidegate.records import ChallengeKind, decoder
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_solver import events
from tidegate_solver.app import assemble
from tidegate_solver.handler import Payload, Solver

_TASK = decoder(TaskRecord)
TOKEN_KINDS = [kind for kind, row in profile().kinds.items() if row.token and not row.needs_proxy]


class Bench:
    """A solver at work: the broker, the vendor, and what happened."""

    def __init__(self, broker: FakeBroker, vendor: FakeVendor, solver: Solver, sink: FakeSink) -> None:
        self.broker = broker
        self.vendor = vendor
        self.solver = solver
        self.sink = sink
        self.events: list[Event] = []

    def put(self, request: CaptchaRequest) -> Work[Payload]:
        """Produce a request and decode it as the runtime would."""
        ack = self.broker.append(request_record(request))
        log = self.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)]
        return self.solver.decode(log[ack.offset])

    async def handle(self, work: Work[Payload]) -> tuple[Outgoing, ...]:
        """Handle and produce, as the runtime would; return what was produced."""
        outcome = await self.solver.handle(work)
        assert isinstance(outcome, Done)
        for outgoing in outcome.outgoing:
            await self.sink.send(outgoing)
        return outcome.outgoing

    async def answer(self, request: CaptchaRequest) -> tuple[SolutionStatus, SolveRecord]:
        """Put a request through; return its solution's status and what the ``solves`` table is told."""
        outgoing = await self.handle(self.put(request))
        (solution,), (solve,) = solutions(outgoing), solves(outgoing)
        assert solution.request == request
        assert (solution.status, solution.cost) == (solve.status, solve.cost)
        assert KEY.encode() not in b"".join(o.value or b"" for o in self.sink.sent)
        assert KEY not in repr(self.events)
        return solution.status, solve

    def journal(self) -> list[TaskState | None]:
        """Return the states in the journal's log, None for a tombstone."""
        return [
            _TASK.decode(record.value).state if record.value else None
            for record in self.broker.records(Topic.CAPTCHA_TASKS)
        ]

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def bench(
    name: str = "capmonster", *, latency_s: float = 12.0, sink: FakeSink | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """Run a solver on a fresh broker and vendor."""
    clock = LoopClock()
    broker = FakeBroker(clock)
    vendor = FakeVendor(profile(name), clock, latency_s=latency_s)
    happened: list[Event] = []
    used = sink or FakeSink(broker)
    parts = context(used, FakeReader(broker), clock, happened.append, **settings)
    async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
        made = Bench(broker, vendor, solver, used)
        made.events = happened
        await solver.prepare(PARTITION)
        yield made


Scenario = Callable[[Bench], Coroutine[Any, Any, None]]


def play(scenario: Scenario, name: str = "capmonster", **settings: Any) -> None:
    """Run a scenario on a bench in virtual time."""

    async def main() -> None:
        async with bench(name, **settings) as made:
            await scenario(made)

    virtually(main())


class TestSolved:
    @pytest.mark.parametrize("kind", TOKEN_KINDS)
    def test_a_request_is_bought_and_answered(self, kind: ChallengeKind) -> None:
        """The token comes back with its cost, and the journal went reserved, task, answered (M4)."""

        async def scenario(b: Bench) -> None:
            outgoing = await b.handle(b.put(a_request(kind=kind)))
            (solution,) = solutions(outgoing)
            assert solution.status is SolutionStatus.SOLVED
            assert (solution.token, solution.user_agent) == ("token-of-1", "Solver/1.0")
            assert (solution.provider, solution.task_id, solution.cost) == ("capmonster", "1", 0.003)
            assert 100 < solution.lifetime_s <= 300
            assert [o.topic for o in outgoing] == [
                Topic.SOLVES,
                Topic.CAPTCHA_SOLUTIONS,
                Topic.BUDGET,
                Topic.CAPTCHA_TASKS,
            ]
            assert b.journal() == [TaskState.RESERVED, TaskState.TASK, TaskState.ANSWERED]
            assert len(b.vendor.charges) == 1

        play(scenario)

    def test_the_reservation_is_acknowledged_before_the_task_is_created(self) -> None:
        """M4: while the broker has not acknowledged ``reserved`` nothing is sent."""

        async def scenario(b: Bench) -> None:
            b.sink.gate.clear()
            async with asyncio.TaskGroup() as group:
                group.create_task(b.handle(b.put(a_request())))
                await LoopClock().sleep(50)
                assert b.vendor.bodies == []
                b.sink.gate.set()
            assert len(b.vendor.charges) == 1

        play(scenario)

    def test_polls_keep_the_vendors_etiquette(self) -> None:
        """Never sooner than the first delay, never closer than the interval."""

        async def scenario(b: Bench) -> None:
            started = LoopClock().monotonic()
            await b.answer(a_request())
            (times,) = b.vendor.polls.values()
            assert times[0] - started >= 10.0
            assert all(later - earlier >= 3.0 for earlier, later in pairwise(times))

        play(scenario, latency_s=60.0)

    def test_bad_replies_to_polls_do_not_lose_a_paid_task(self) -> None:
        """HTML, half a document, a 500, a time-out, a busy service: polling goes on."""

        async def scenario(b: Bench) -> None:
            b.vendor.on_result = ["html", "truncated", "server_error", "lost", "refused", "ERROR_RATE_LIMIT"]
            status, solve = await b.answer(a_request())
            assert status is SolutionStatus.SOLVED
            assert solve.polls == 7
            assert len(b.of(events.PollTroubled)) == 5  # this vendor's 500 means "processing"

        play(scenario)

    def test_a_dearer_cost_is_booked_and_reported(self) -> None:
        """M2: the actual cost is what counts, and one above the reservation is an event."""

        async def scenario(b: Bench) -> None:
            original = b.vendor._result
            b.vendor._result = lambda body: original(body) | {"cost": "0.5"}  # type: ignore[method-assign]
            _, solve = await b.answer(a_request())
            assert solve.cost == 0.5
            assert len(b.of(events.CostAboveReservation)) == 1

        play(scenario)


class TestNotBought:
    def test_an_expired_request_costs_nothing(self) -> None:
        """C4, T1: the age since the broker took it plus a usual solve no longer fit into its life."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request(lifetime_s=100.0))
            await LoopClock().sleep(50)
            outgoing = await b.handle(work)
            (solve,) = solves(outgoing)
            assert (solve.status, solve.cost) == (SolutionStatus.EXPIRED_UNBOUGHT, 0.0)
            assert b.vendor.bodies == []
            assert b.journal() == []

        play(scenario)

    def test_a_price_above_the_jobs_limit_is_refused(self) -> None:
        """``max_cost`` is a promise: the price is compared before anything is asked (M8)."""

        async def scenario(b: Bench) -> None:
            status, solve = await b.answer(a_request(max_cost=0.002))
            assert (status, solve.cost) == (SolutionStatus.REFUSED, 0.0)
            assert b.vendor.bodies == []

        play(scenario)

    def test_a_kind_that_is_not_sold_is_unsolvable(self) -> None:
        """Nothing is asked of a service that does not offer the kind."""

        async def scenario(b: Bench) -> None:
            status, solve = await b.answer(a_request(kind=ChallengeKind.HCAPTCHA))
            assert (status, solve.cost) == (SolutionStatus.UNSOLVABLE, 0.0)
            assert b.vendor.bodies == []

        play(scenario, "capsolver")

    def test_waiting_for_a_slot_ends_while_the_answer_is_still_worth_something(self) -> None:
        """C4: our own queue is not the job's fault: it is deferred, at no cost."""

        async def scenario(b: Bench) -> None:
            async with asyncio.TaskGroup() as group:
                first = group.create_task(b.answer(a_request("one")))
                second = group.create_task(b.answer(a_request("two", lifetime_s=80.0)))
            assert first.result()[0] is SolutionStatus.SOLVED
            assert second.result()[0] is SolutionStatus.EXPIRED_UNBOUGHT
            assert second.result()[1].answered_at_ms - second.result()[1].requested_at_ms < 80_000
            assert len(b.vendor.charges) == 1

        play(scenario, concurrency=1, latency_s=60.0)

    @pytest.mark.parametrize("fault", ["ERROR_NO_SLOT_AVAILABLE", "refused", "ERROR_CAPTCHA_UNSOLVABLE"])
    def test_a_busy_service_is_tried_again_within_the_request(self, fault: str) -> None:
        """A definite refusal voids the reservation (M3); the next try reserves anew, after a pause."""

        async def scenario(b: Bench) -> None:
            b.vendor.on_create = [fault, fault]
            status, solve = await b.answer(a_request())
            assert status is SolutionStatus.SOLVED
            assert b.journal() == [
                TaskState.RESERVED,
                None,
                TaskState.RESERVED,
                None,
                TaskState.RESERVED,
                TaskState.TASK,
                TaskState.ANSWERED,
            ]
            assert len(b.vendor.charges) == 1
            assert (solve.answered_at_ms - solve.requested_at_ms) / 1000 >= 15 + 10

        play(scenario)

    def test_tries_are_bounded(self) -> None:
        """After the last try the answer says so; it is a deferral, because the service was busy (C4)."""

        async def scenario(b: Bench) -> None:
            b.vendor.on_create = ["ERROR_NO_SLOT_AVAILABLE"] * 9
            status, solve = await b.answer(a_request())
            assert (status, solve.error_code) == (SolutionStatus.EXPIRED_UNBOUGHT, "ERROR_NO_SLOT_AVAILABLE")
            assert len(b.vendor.on_create) == 6
            assert solve.cost == 0.0

        play(scenario)

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            ("ERROR_ZERO_BALANCE", SolutionStatus.EXPIRED_UNBOUGHT),
            ("ERROR_TASK_NOT_SUPPORTED", SolutionStatus.UNSOLVABLE),
            ("ERROR_OF_TOMORROW", SolutionStatus.FAILED),
        ],
    )
    def test_a_refusal_for_good_is_not_repeated(self, fault: str, status: SolutionStatus) -> None:
        """Vendors ban who repeats nonsense; an unknown code is an event, and a failure."""

        async def scenario(b: Bench) -> None:
            b.vendor.on_create = [fault]
            got, solve = await b.answer(a_request())
            assert (got, solve.cost, solve.error_code) == (status, 0.0, fault)
            assert len(b.vendor.bodies) == 1
            assert len(b.of(events.ErrorCodeUnknown)) == (fault == "ERROR_OF_TOMORROW")

        play(scenario)


class TestPaidFor:
    @pytest.mark.parametrize("fault", ["lost", "html", "truncated", "server_error"])
    def test_no_answer_to_createtask_counts_as_spent(self, fault: str) -> None:
        """M3: sent and not understood is in doubt: booked at the price, never bought again."""

        async def scenario(b: Bench) -> None:
            b.vendor.on_create = [fault]
            request = a_request()
            status, solve = await b.answer(request)
            assert (status, solve.cost, solve.error_code) == (SolutionStatus.FAILED, 0.003, "in_doubt")
            again = await b.handle(b.put(request))
            assert solutions(again)[0].status is SolutionStatus.FAILED
            assert solves(again) == []
            assert len([path for path, _ in b.vendor.bodies if path == "/createTask"]) <= 1

        play(scenario)

    def test_a_task_that_never_ends_is_given_up_and_booked(self) -> None:
        """The time limit ends it; whether it is charged later is not known, so it counts."""

        async def scenario(b: Bench) -> None:
            status, solve = await b.answer(a_request())
            assert (status, solve.cost, solve.error_code) == (SolutionStatus.FAILED, 0.003, "time_limit")
            assert solve.polls <= 120

        play(scenario, latency_s=1e6)

    @pytest.mark.parametrize(("name", "cost"), [("2captcha", 0.0), ("anticaptcha", 0.003)])
    def test_who_pays_for_an_unsolvable_task_is_the_vendors_rule(self, name: str, cost: float) -> None:
        """2Captcha returns the price, Anti-Captcha keeps it; without a word from the vendor it counts."""

        async def scenario(b: Bench) -> None:
            b.vendor.on_task = ["ERROR_CAPTCHA_UNSOLVABLE"]
            status, solve = await b.answer(a_request())
            assert (status, solve.cost) == (SolutionStatus.FAILED, cost)

        play(scenario, name)

    def test_a_late_answer_is_harvested_and_booked(self) -> None:
        """The request died while its task was solved: the cost is booked, the token not handed out."""

        async def scenario(b: Bench) -> None:
            outgoing = await b.handle(b.put(a_request(lifetime_s=60.0)))
            (solution,), (solve,) = solutions(outgoing), solves(outgoing)
            assert (solution.status, solution.token, solution.lifetime_s) == (
                SolutionStatus.FAILED,
                None,
                0.0,
            )
            assert (solve.cost, solve.error_code, solve.task_id) == (0.003, "late", "1")

        play(scenario, latency_s=90.0)


class TestRedo:
    def test_an_answered_request_is_answered_again_for_nothing(self) -> None:
        """M4: the stored answer is published again, from the log, after a restart."""

        async def scenario(b: Bench) -> None:
            request = a_request()
            first = solutions(await b.handle(b.put(request)))[0]
            b.solver.release(PARTITION)
            await b.solver.prepare(PARTITION)
            await LoopClock().sleep(10)
            again = await b.handle(b.put(request))
            assert [o.topic for o in again] == [Topic.CAPTCHA_SOLUTIONS]
            second = solutions(again)[0]
            told = {"repeated": True, "answered_before": True}
            assert second == msgspec.structs.replace(first, lifetime_s=second.lifetime_s, **told)
            assert not first.repeated
            assert not first.answered_before
            assert second.lifetime_s == pytest.approx(first.lifetime_s - 10)
            assert len(b.vendor.charges) == 1

        play(scenario)

    def test_a_job_submitted_again_under_its_id_is_no_copy(self) -> None:
        """M4: it gets the stored answer too, but nobody else goes on for it (C5)."""

        async def scenario(b: Bench) -> None:
            request = a_request()
            await b.handle(b.put(request))
            state = msgspec.structs.replace(request.state, accepted_at_ms=request.state.accepted_at_ms + 1)
            (second,) = solutions(await b.handle(b.put(msgspec.structs.replace(request, state=state))))
            assert second.repeated
            assert not second.answered_before
            assert len(b.vendor.charges) == 1

        play(scenario)

    def test_a_task_is_polled_on_from_its_creation(self) -> None:
        """M5: the redo resumes the task id, and its polls and time count from the creation."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request())
            handling = asyncio.ensure_future(b.solver.handle(work))
            await LoopClock().sleep(21)
            handling.cancel()
            await asyncio.wait([handling])
            b.solver.release(PARTITION)
            await b.solver.prepare(PARTITION)
            outgoing = await b.handle(work)
            (solve,) = solves(outgoing)
            assert solve.status is SolutionStatus.SOLVED
            assert solutions(outgoing)[0].repeated  # whoever began it may have published it
            assert solve.polls >= len(b.vendor.polls["1"])
            times = b.vendor.polls["1"]
            assert all(later - earlier >= 3.0 for earlier, later in pairwise(times))
            assert len(b.vendor.charges) == 1
            assert len(b.of(events.TaskResumed)) == 1

        play(scenario, latency_s=40.0)

    def test_a_task_that_ended_while_we_were_down_is_asked_after_once_more(self) -> None:
        """M5: beyond the time limit one poll is left to harvest what was paid for."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request(lifetime_s=3000.0))
            handling = asyncio.ensure_future(b.solver.handle(work))
            await LoopClock().sleep(11)
            handling.cancel()
            await asyncio.wait([handling])
            await LoopClock().sleep(250)
            (solve,) = solves(await b.handle(work))
            assert (solve.status, solve.cost) == (SolutionStatus.SOLVED, 0.003)

        play(scenario)

    def test_a_task_that_the_vendor_has_certainly_forgotten_is_not_asked_after(self) -> None:
        """M5: beyond the time for which results are kept the loss is booked without a nonsense call."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request(lifetime_s=3000.0))
            handling = asyncio.ensure_future(b.solver.handle(work))
            await LoopClock().sleep(11)
            handling.cancel()
            await asyncio.wait([handling])
            await LoopClock().sleep(600)
            asked = len(b.vendor.bodies)
            (solve,) = solves(await b.handle(work))
            assert (solve.status, solve.cost) == (SolutionStatus.FAILED, 0.003)
            assert len(b.vendor.bodies) == asked

        play(scenario, balance_every_s=86_400)

    def test_a_task_that_the_service_forgot_is_lost_stated_and_booked(self) -> None:
        """M5: down for longer than results are kept."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request())
            handling = asyncio.ensure_future(b.solver.handle(work))
            await LoopClock().sleep(11)
            handling.cancel()
            await asyncio.wait([handling])
            b.vendor._tasks.clear()
            (solve,) = solves(await b.handle(work))
            assert (solve.status, solve.cost) == (SolutionStatus.FAILED, 0.003)
            assert solve.error_code == "ERROR_NO_SUCH_CAPCHA_ID"

        play(scenario)

    def test_a_reservation_without_a_task_is_settled_in_doubt(self) -> None:
        """M3: whoever reserved is gone; it counts as spent at its maximum and is not bought again."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request())
            journal = b.solver._journals[PARTITION]
            journal.reserve(
                work.payload.request_id, provider="capmonster", max_cost=0.004, now_ms=LoopClock().wall_ms()
            )
            (solve,) = solves(await b.handle(work))
            assert (solve.status, solve.cost, solve.error_code) == (SolutionStatus.FAILED, 0.004, "in_doubt")
            assert b.vendor.bodies == []

        play(scenario)

    def test_an_unreadable_journal_entry_is_not_bought_over(self) -> None:
        """What cannot be read was begun all the same: in doubt, never a second purchase (M3)."""

        async def scenario(b: Bench) -> None:
            work = b.put(a_request())
            b.broker.append(
                Outgoing(
                    topic=Topic.CAPTCHA_TASKS,
                    site="a.test",
                    key=work.payload.request_id.encode(),
                    value=b"{",
                    partition=PARTITION,
                )
            )
            await b.solver.prepare(PARTITION)
            (solve,) = solves(await b.handle(work))
            assert solve.error_code == "in_doubt"
            assert b.vendor.bodies == []

        play(scenario)

    def test_a_duplicate_in_flight_attaches(self) -> None:
        """M4: both records are answered, one task is bought, the second brings no second solve record.

        And the second is told that the job was answered before, so that one token is handed in once (C5).
        """

        async def scenario(b: Bench) -> None:
            request = a_request()
            async with asyncio.TaskGroup() as group:
                one = group.create_task(b.handle(b.put(request)))
                two = group.create_task(b.handle(b.put(request)))
            first, second = solutions(one.result())[0], solutions(two.result())[0]
            assert first.token == second.token == "token-of-1"
            assert (first.answered_before, second.answered_before) == (False, True)
            assert solves(two.result()) == []
            assert len(b.vendor.charges) == 1

        play(scenario)

    def test_one_that_attaches_and_is_no_copy_goes_on(self) -> None:
        """A job that was submitted again has an outcome of its own; so has a record that comes again."""

        async def scenario(b: Bench) -> None:
            request = a_request()
            other = msgspec.structs.replace(
                request, state=msgspec.structs.replace(request.state, accepted_at_ms=1)
            )
            mine = b.put(request)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(b.handle(work)) for work in (mine, mine, b.put(other))]
            answers = [solutions(task.result())[0] for task in tasks]
            assert [answer.token for answer in answers] == ["token-of-1"] * 3
            assert not any(answer.answered_before for answer in answers)

        play(scenario)

    def test_a_follower_takes_over_when_its_leader_is_cancelled(self) -> None:
        """The second record does not hang on a first one that is gone: it polls the same task on."""

        async def scenario(b: Bench) -> None:
            request = a_request()
            async with asyncio.TaskGroup() as group:
                one = group.create_task(b.handle(b.put(request)))
                two = group.create_task(b.handle(b.put(request)))
                await LoopClock().sleep(11)
                one.cancel()
            assert solutions(two.result())[0].status is SolutionStatus.SOLVED
            assert len(b.vendor.charges) == 1

        play(scenario)


class SlowSink(FakeSink):
    """Acknowledges after a while, or fails for good."""

    def __init__(self, broker: FakeBroker) -> None:
        super().__init__(broker)
        self.fail_after = -1

    async def send(self, record: Outgoing) -> Ack:
        """Append, wait two seconds."""
        if self.fail_after == 0:
            raise FatalProduceError("the fate of a record is not known")
        self.fail_after -= 1
        ack = await super().send(record)
        await LoopClock().sleep(2)
        return ack


class TestCancelled:
    def test_a_cancellation_never_tears_sending_from_noting(self) -> None:
        """The handler is cancelled while createTask is out: its task id reaches the journal all the same."""

        async def main() -> None:
            clock = LoopClock()
            broker = FakeBroker(clock)
            sink = SlowSink(broker)
            vendor = FakeVendor(profile(), clock)
            happened: list[Event] = []
            parts = context(sink, FakeReader(broker), clock, happened.append)
            async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
                made = Bench(broker, vendor, solver, sink)
                await solver.prepare(PARTITION)
                handling = asyncio.ensure_future(solver.handle(made.put(a_request())))
                # The ledger's and the journal's reservations take 2 s each, then createTask is out.
                await clock.sleep(5)
                assert len(vendor.charges) == 1
                handling.cancel()
                await asyncio.wait([handling])
            assert made.journal() == [TaskState.RESERVED, TaskState.TASK]
            assert events.PurchaseOrphaned in {type(event) for event in happened}

        virtually(main())

    @pytest.mark.parametrize("cancel_s", [1, 3])
    def test_a_cancelled_handler_does_not_begin_to_buy(self, cancel_s: int) -> None:
        """Cancelled before createTask went out: nothing is sent any more, and the money is given back (M3).

        Also where the journal knows of it: its next owner may be done with the request.
        """

        async def main() -> None:
            clock = LoopClock()
            broker = FakeBroker(clock)
            sink = SlowSink(broker)
            vendor = FakeVendor(profile(), clock)
            parts = context(sink, FakeReader(broker), clock, lambda _: None)
            async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
                made = Bench(broker, vendor, solver, sink)
                await solver.prepare(PARTITION)
                handling = asyncio.ensure_future(solver.handle(made.put(a_request())))
                await clock.sleep(cancel_s)
                handling.cancel()
                await asyncio.wait([handling])
            assert vendor.charges == []
            kinds = [json.loads(record.value)["kind"] for record in broker.records(Topic.BUDGET)]
            assert kinds == ["mark", "mark", "reserve", "void"]

        virtually(main())

    def test_a_journal_that_cannot_be_written_ends_the_process(self) -> None:
        """C5: a fatal produce reaches the runtime as what it is, never as an answer."""

        async def main() -> None:
            clock = LoopClock()
            broker = FakeBroker(clock)
            sink = SlowSink(broker)
            vendor = FakeVendor(profile(), clock)
            parts = context(sink, FakeReader(broker), clock, lambda _: None)
            async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
                made = Bench(broker, vendor, solver, sink)
                await solver.prepare(PARTITION)
                sink.fail_after = 1
                with pytest.raises(FatalProduceError):
                    await solver.handle(made.put(a_request()))

        virtually(main())

    def test_a_process_that_was_stopped_does_not_buy_before_the_group_had_its_say(self) -> None:
        """M3: between the reservation and createTask the process stood still for a minute."""

        async def main() -> None:
            clock = LoopClock()
            broker = FakeBroker(clock)
            vendor = FakeVendor(profile(), clock)
            happened: list[Event] = []
            sink = StoppedSink(broker)
            parts = context(sink, FakeReader(broker), clock, happened.append)
            async with assemble(parts, [seller(parts, vendor.profile, vendor)]) as solver:
                made = Bench(broker, vendor, solver, sink)
                await solver.prepare(PARTITION)
                handling = asyncio.ensure_future(solver.handle(made.put(a_request())))
                await clock.sleep(2)
                assert any(isinstance(event, events.StallNoticed) for event in happened)
                handling.cancel()  # what the runtime does once it learns that the partition is gone
                await asyncio.wait([handling])
            assert vendor.charges == []

        virtually(main())


class StoppedSink(FakeSink):
    """Acknowledges after a minute during which the whole process stood still."""

    async def send(self, record: Outgoing) -> Ack:
        """Append, then let a minute pass in which nothing runs."""
        ack = await super().send(record)
        loop: Any = asyncio.get_running_loop()
        loop.now_s += 60
        return ack


def test_what_is_not_a_request_is_a_record_error() -> None:
    """Garbage on the topic becomes a dead letter with a reason, by the runtime."""

    async def scenario(b: Bench) -> None:
        b.broker.append(
            Outgoing(topic=Topic.CAPTCHA_REQUESTS, site="a.test", value=b"garbage", partition=PARTITION)
        )
        log = b.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)]
        with pytest.raises(RecordError, match="captcha request"):
            b.solver.decode(log[-1])

    play(scenario)


def test_our_own_fault_still_answers_the_request() -> None:
    """C2: an exception that nobody foresaw becomes a failed answer, with what was reserved as its cost."""

    async def scenario(b: Bench) -> None:
        def boom(body: dict[str, Any]) -> dict[str, Any]:
            raise ZeroDivisionError(f"{body['taskId']} of {body['clientKey']}")

        b.vendor._result = boom  # type: ignore[method-assign]
        status, solve = await b.answer(a_request())
        assert (status, solve.error_code, solve.cost) == (SolutionStatus.FAILED, "internal", 0.003)
        (fault,) = b.of(events.HandlerFaulted)
        assert isinstance(fault, events.HandlerFaulted)
        # Its type and its line; its text may hold what must not be stored.
        assert fault.error.startswith("ZeroDivisionError, ")
        assert "test_solver_handler.py:" in fault.error
        assert " of " not in fault.error

    play(scenario)
