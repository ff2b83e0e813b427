"""Money for purchases, in virtual time: what the ledger grants, refuses, and how reservations end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest
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
from tidegate.captcha_records import CaptchaRequest, CaptchaSolution, SolutionStatus
from tidegate.clock import BrokerClock
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.service import Ack
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.ledger.decisions import Verdict
from tidegate.ledger.entries import (
    Admit,
    Entry,
    Limit,
    Mark,
    Reserve,
    Scope,
    Stop,
    StopState,
    entry_record,
    read_entry,
)
from tidegate.ledger.machine import LATE_MS, Ledger
from tidegate.ledger.snapshot import EVERY, read_snapshot
from tidegate.outcome import Done, Outgoing
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_solver import events
from tidegate_solver.app import assemble
from tidegate_solver.budget import Budget, Denied, Granted
from tidegate_solver.handler import Solver
from tidegate_solver.ledger_log import LedgerLog
from tidegate_solver.profiles import Profile

PRICE = 3000
BUDGET = TopicPartition(Topic.BUDGET, 0)


class Office:
    """A solver with its broker and its providers."""

    def __init__(self, broker: FakeBroker, sink: FakeSink, *vendors: FakeVendor) -> None:
        self.broker = broker
        self.sink = sink
        self.vendors = vendors
        self.events: list[Event] = []

    def say(self, entry: Entry) -> None:
        """Append what an operator writes."""
        self.broker.append(entry_record(entry))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Solver]:
        """Run a solver."""
        parts = context(self.sink, FakeReader(self.broker), self.broker.clock, self.events.append)
        sellers = [seller(parts, vendor.profile, vendor) for vendor in self.vendors]
        async with assemble(parts, sellers) as solver:
            await solver.prepare(PARTITION)
            yield solver

    async def ask(self, solver: Solver, request: CaptchaRequest) -> CaptchaSolution:
        """Put one request through."""
        offset = self.broker.append(request_record(request)).offset
        log = self.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)]
        outcome = await solver.handle(solver.decode(log[offset]))
        assert isinstance(outcome, Done)
        for outgoing in outcome.outgoing:
            await self.sink.send(outgoing)
        (solution,) = solutions(outcome.outgoing)
        return solution

    @property
    def charged(self) -> int:
        """How many tasks were charged."""
        return sum(len(vendor.charges) for vendor in self.vendors)


def play(scenario: Callable[[Office], Coroutine[None, None, None]], *profiles: Profile) -> None:
    """Run a scenario in virtual time."""

    async def main() -> None:
        clock = LoopClock()
        broker = FakeBroker(clock)
        vendors = [FakeVendor(each, clock) for each in profiles or (profile(),)]
        await scenario(Office(broker, FakeSink(broker), *vendors))

    virtually(main())


def limit(amount: int, **scope: str | bool) -> Limit:
    """Return a limit as an operator sets it."""
    return Limit(by="cli", scope=Scope(**scope), amount=amount)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", [{"run": "r"}, {"site": "a.test", "daily": True}, {}])
def test_an_exhausted_budget_is_refused_at_once_and_costs_nothing(scope: dict[str, str | bool]) -> None:
    """M8: two solves fit, the third is refused, with the budget that is used up, and leaves no trace."""

    async def scenario(office: Office) -> None:
        office.say(limit(2 * PRICE, **scope))
        async with office.open() as solver:
            answers = [await office.ask(solver, a_request(f"job-{n}")) for n in range(3)]
        assert [answer.status for answer in answers] == ["solved", "solved", "refused"]
        assert answers[2].exhausted == Scope(**scope)  # type: ignore[arg-type]
        assert office.charged == 2
        assert len(office.broker.records(Topic.CAPTCHA_TASKS)) == 6
        ledger = ledger_of(office.broker)
        assert (ledger.spent, ledger.in_doubt, dict(ledger.open)) == (2 * PRICE, 0, {})
        levels = [event.percent for event in office.events if isinstance(event, events.BudgetLevel)]
        assert levels == [50, 100]

    play(scenario)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (StopState.PAUSED, SolutionStatus.EXPIRED_UNBOUGHT),
        (StopState.CANCELLED, SolutionStatus.REFUSED),
    ],
)
def test_a_stopped_run_spends_nothing_from_that_record_on(state: StopState, status: SolutionStatus) -> None:
    """A paused run's jobs are deferred, a cancelled one's are refused, and resuming lets them buy again."""

    async def scenario(office: Office) -> None:
        async with office.open() as solver:
            office.say(Stop(by="cli", run="r", state=state))
            assert (await office.ask(solver, a_request("one"))).status is status
            assert office.charged == 0
            office.say(Stop(by="cli", run="r", state=None))
            assert (await office.ask(solver, a_request("two"))).status is SolutionStatus.SOLVED

    play(scenario)


def test_a_provider_that_charges_more_is_out_until_a_person_admits_it() -> None:
    """M2: the actual cost is booked, and no process buys from it again, after a restart neither."""

    async def scenario(office: Office) -> None:
        cheap, dear = office.vendors
        cheap.result_cost = 0.005
        async with office.open() as solver:
            first = await office.ask(solver, a_request("one"))
            await LoopClock().sleep(2)  # the alert comes with the record, read back
        assert (first.provider, first.cost) == ("cheap", 0.005)
        assert [event.provider for event in office.events if isinstance(event, events.ProviderBarred)] == [
            "cheap"
        ]
        async with office.open() as solver:
            assert (await office.ask(solver, a_request("two"))).provider == "dear"
            office.say(Admit(by="cli", provider="cheap"))
            await LoopClock().sleep(2)
            assert (await office.ask(solver, a_request("three"))).provider == "cheap"
        # Each process tells it of itself, also one that found it in the ledger.
        told = [event.out for event in office.events if isinstance(event, events.ProviderStanding)]
        assert told == [True, True, False]
        assert (len(cheap.charges), len(dear.charges)) == (2, 1)

    cheap = msgspec.structs.replace(profile(), name="cheap")
    kinds = {
        kind: msgspec.structs.replace(row, price=row.price + 0.001) for kind, row in profile().kinds.items()
    }
    play(scenario, cheap, msgspec.structs.replace(profile(), name="dear", kinds=kinds))


def test_a_leftover_that_no_journal_knows_is_settled_in_doubt_and_the_request_bought() -> None:
    """M3: its owner died before the journal had it; a new attempt has a new reservation."""

    async def scenario(office: Office) -> None:
        request = a_request("one")
        office.say(
            Reserve(
                by="gone",
                id="gone-1",
                request_id=request.request_id,
                run="r",
                site="a.test",
                provider="capmonster",
                amount=PRICE,
                sent_at_ms=office.broker.clock.wall_ms(),
            )
        )
        async with office.open() as solver:
            assert (await office.ask(solver, request)).status is SolutionStatus.SOLVED
        ledger = ledger_of(office.broker)
        assert (ledger.spent, ledger.in_doubt, dict(ledger.open)) == (2 * PRICE, PRICE, {})

    play(scenario)


def test_a_leftover_of_a_request_that_is_not_bought_any_more_is_settled_too() -> None:
    """M3: nothing stays open behind a request that was answered."""

    async def scenario(office: Office) -> None:
        request = a_request("one", lifetime_s=1.0)
        office.say(
            Reserve(
                by="gone",
                id="gone-1",
                request_id=request.request_id,
                run="r",
                site="a.test",
                provider="capmonster",
                amount=PRICE,
                sent_at_ms=office.broker.clock.wall_ms(),
            )
        )
        async with office.open() as solver:
            assert (await office.ask(solver, request)).status is SolutionStatus.EXPIRED_UNBOUGHT
        ledger = ledger_of(office.broker)
        assert (ledger.in_doubt, dict(ledger.open)) == (PRICE, {})

    play(scenario)


def test_a_leftover_of_a_request_that_another_has_answered_is_settled_with_the_next_answer() -> None:
    """M3: who stood still reserved for it anew, and is gone; its reservation must not stay open for ever."""

    async def scenario(office: Office) -> None:
        request = a_request("one")
        async with office.open() as solver:
            assert (await office.ask(solver, request)).status is SolutionStatus.SOLVED
            await LoopClock().sleep(1)
            office.say(
                Reserve(
                    by="gone",
                    id="gone-1",
                    request_id=request.request_id,
                    run="r",
                    site="a.test",
                    provider="capmonster",
                    amount=PRICE,
                    sent_at_ms=office.broker.clock.wall_ms(),
                )
            )
            await LoopClock().sleep(1)
            assert (await office.ask(solver, request)).status is SolutionStatus.SOLVED
        ledger = ledger_of(office.broker)
        assert (ledger.spent, ledger.in_doubt, dict(ledger.open)) == (2 * PRICE, PRICE, {})
        assert office.charged == 1

    play(scenario)


class SlowSink(FakeSink):
    """Records take a random while to the broker, and another for their acknowledgement back."""

    def __init__(self, broker: FakeBroker, random: Random, most_s: float) -> None:
        super().__init__(broker)
        self._clock = LoopClock()
        self._random = random
        self._most_s = most_s
        self.copies = 1

    async def send(self, record: Outgoing) -> Ack:
        """Append, perhaps more than once."""
        await self._clock.sleep(self._random.uniform(0, self._most_s))
        for _ in range(self.copies):
            ack = await super().send(record)
        await self._clock.sleep(self._random.uniform(0, self._most_s))
        return ack


@asynccontextmanager
async def logs(broker: FakeBroker, count: int, happened: list[Event]) -> AsyncIterator[list[LedgerLog]]:
    """Run several processes' views of one ledger."""
    clock = LoopClock()
    async with asyncio.TaskGroup() as group:
        made = [
            LedgerLog(
                SlowSink(broker, Random(number), 0.2),
                FakeReader(broker),
                clock=clock,
                random=Random(number),
                emit=happened.append,
            )
            for number in range(count)
        ]
        running = [group.create_task(log.run()) for log in made]
        for log in made:
            await log.restored()
        yield made
        for task in running:
            task.cancel()


@pytest.mark.parametrize("seed", range(4))
def test_a_rolling_change_of_a_limit_makes_no_two_solvers_disagree(seed: int) -> None:
    """M1, M2: three solvers buy while limits move; all reach one state, and each decision is the log's."""

    async def main() -> None:
        clock, chance = LoopClock(), Random(seed)
        broker = FakeBroker(clock)
        granted: dict[str, bool] = {}

        async def buy(log: LedgerLog, number: int) -> None:
            await clock.sleep(chance.uniform(0, 3))
            budget = Budget(log, BrokerClock(clock), lambda _: None)
            request = a_request(f"job-{number}")
            answer = await budget.reserve(request, "capmonster", 0.003)
            granted[request.request_id] = isinstance(answer, Granted)
            if isinstance(answer, Granted) and number % 3 == 0:
                await budget.void(answer)

        async def move_limits() -> None:
            for amount in (60, 20, 45, 0, 70, None, 50):
                micros = None if amount is None else amount * PRICE
                broker.append(entry_record(Limit(by="cli", scope=Scope(run="r"), amount=micros)))
                await clock.sleep(chance.uniform(0, 0.8))

        async with logs(broker, 3, []) as three:
            async with asyncio.TaskGroup() as group:
                group.create_task(move_limits())
                for number in range(120):
                    group.create_task(buy(three[number % 3], number))
            for log in three:
                await log.catch_up()
            states = [log.ledger.state() for log in three]
        replayed, decided = Ledger(), {}
        for record in broker.records(Topic.BUDGET):
            entry = read_entry(record.value)
            decision = replayed.apply(record.offset, record.timestamp_ms, entry).decision
            if isinstance(entry, Reserve) and decision is not None:
                decided[entry.request_id] = decision.verdict is Verdict.GRANTED
        assert decided == granted
        assert set(granted.values()) == {True, False}
        # Each has read at least to the end that it asked for, and none of them beyond the others' decisions.
        assert {len(state.open) for state in states} == {len(replayed.open)}
        assert {state.ever for state in states} == {replayed.state().ever}

    virtually(main())


def test_copies_of_a_record_are_one_reservation() -> None:
    """A producer that is not sure sends again: the money is booked once, and both copies say the same."""

    async def main() -> None:
        broker = FakeBroker(LoopClock())
        async with logs(broker, 1, []) as (log,):
            assert isinstance(log._sink, SlowSink)
            log._sink.copies = 3
            budget = Budget(log, BrokerClock(LoopClock()), lambda _: None)
            granted = await budget.reserve(a_request("one"), "capmonster", 0.003)
            assert isinstance(granted, Granted)
            await log.catch_up()
            assert log.ledger.used(Scope()) == PRICE
            await budget.void(granted)
            await log.catch_up()
            assert log.ledger.used(Scope()) == 0

    virtually(main())


def test_a_record_that_was_long_on_its_way_is_tried_anew() -> None:
    """Who comes too late gets nothing on the old record, and no open reservation stays behind."""

    async def main() -> None:
        clock = LoopClock()
        broker = FakeBroker(clock)
        async with logs(broker, 1, []) as (log,):
            late, wrong = BrokerClock(clock), BrokerClock(clock)
            wrong.observe(clock.wall_ms(), clock.wall_ms() - 2 * LATE_MS)
            denied = await Budget(log, wrong, lambda _: None).reserve(a_request("one"), "capmonster", 0.003)
            assert isinstance(denied, Denied)
            assert denied.decision.verdict is Verdict.LATE
            assert log.ledger.open == {}
            granted = await Budget(log, late, lambda _: None).reserve(a_request("one"), "capmonster", 0.003)
            assert isinstance(granted, Granted)

    virtually(main())


def test_a_snapshot_is_written_by_whose_record_is_the_ten_thousandth_and_a_start_begins_there() -> None:
    """M1: the next start reads the rest only, and says so."""

    async def main() -> None:
        broker, happened = FakeBroker(LoopClock()), list[Event]()
        for number in range(EVERY - 3):
            broker.append(entry_record(Mark(by="other", id=str(number))))
        async with logs(broker, 2, happened) as (first, second):
            for log in (first, second):
                await log.catch_up()
            await LoopClock().sleep(5)
        (record,) = broker.records(Topic.BUDGET_SNAPSHOTS)
        snapshot = read_snapshot(record.value)
        assert snapshot is not None
        assert snapshot.next_offset >= EVERY
        assert [type(event) for event in happened].count(events.SnapshotWritten) == 1
        happened.clear()
        broker.delete_before(BUDGET, EVERY - 1)
        async with logs(broker, 1, happened) as (log,):
            assert log.ledger.next_offset == broker.logs[BUDGET][-1].offset + 1
        restored = next(event for event in happened if isinstance(event, events.LedgerRestored))
        assert restored.snapshot == snapshot.next_offset
        assert restored.records < 10

    virtually(main())


@pytest.mark.parametrize("fault", ["gone", "newer"])
def test_a_log_that_cannot_be_believed_ends_the_process(fault: str) -> None:
    """Records that are gone, or too new to be read: nothing may be bought on what is left."""

    async def main() -> None:
        broker = FakeBroker(LoopClock())
        broker.append(entry_record(limit(0)))
        if fault == "gone":
            broker.append(entry_record(limit(0)))
            broker.delete_before(BUDGET, 1)
        else:
            broker.append(entry_record(msgspec.structs.replace(limit(0), version=2)))
        with pytest.raises(ExceptionGroup) as raised:
            async with logs(broker, 1, []):
                pass
        assert raised.group_contains(ConfigurationError, match=r"lost|newest version")

    virtually(main())


def test_what_nobody_can_read_is_passed_by_all() -> None:
    """A stranger's record in the log is named, and changes nothing."""

    async def main() -> None:
        broker, happened = FakeBroker(LoopClock()), list[Event]()
        broker.append(Outgoing(topic=Topic.BUDGET, site="", value=b"\xff\x00", partition=0))
        async with logs(broker, 1, happened) as (log,):
            assert log.ledger.next_offset == 2
        ignored = [event for event in happened if isinstance(event, events.LedgerRecordIgnored)]
        assert [(event.offset, event.kind) for event in ignored] == [(0, "unreadable")]

    virtually(main())
