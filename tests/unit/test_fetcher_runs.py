"""Runs that are paused, cancelled or late, and budgets that are used up: what becomes of their jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.virtual_time import LoopClock, virtually
from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    Challenge,
    Identity,
    SolutionStatus,
    request_id,
)
from tidegate.consume.offsets import TopicPartition
from tidegate.events import Event
from tidegate.ledger.entries import Scope
from tidegate.outcome import Dead, Defer, Outgoing, Reason
from tidegate.records import ChallengeKind, JobState, Origin
from tidegate.runs import Run, RunRecord, RunState, run_record
from tidegate.testing.fake_broker import FakeBroker, FakeReader
from tidegate.topics import Topic
from tidegate_fetcher import run_rules
from tidegate_fetcher.events import RunChanged, RunRecordIgnored
from tidegate_fetcher.run_watch import RunWatch
from tidegate_fetcher.spending import Spending

NOW_MS = 1_700_000_000_000


def state(*, run: str = "spring", site: str = "a.test", deferrals: int = 0, hop: int = 0) -> JobState:
    """Return a job's state."""
    return JobState(
        run=run,
        id="job",
        site=site,
        origin=Origin(topic="urls", partition=0, offset=0, timestamp_ms=NOW_MS),
        accepted_at_ms=NOW_MS,
        deferrals=deferrals,
        hop=hop,
    )


def run(said: RunState = RunState.RUNNING, deadline_s: float | None = None) -> Run:
    """Return a run that was created at ``NOW_MS``."""
    record = RunRecord(run="spring", state=said, deadline_s=deadline_s)
    return Run(record=record, created_at_ms=NOW_MS, changed_at_ms=NOW_MS)


def solution(
    status: SolutionStatus, *, code: str | None = None, exhausted: Scope | None = None
) -> CaptchaSolution:
    """Return an answer to a request of the job."""
    request = CaptchaRequest(
        request_id=request_id(state()),
        challenge=Challenge(
            kind=ChallengeKind.TURNSTILE, page_url="https://a.test/", params={"sitekey": "k"}
        ),
        identity=Identity(user_agent="Mozilla/5.0"),
        lifetime_s=300.0,
        original=b"{}",
        state=state(),
    )
    return CaptchaSolution(status=status, request=request, code=code, exhausted=exhausted)


class TestRuns:
    def test_a_run_that_nobody_created_or_that_runs_stops_nothing(self) -> None:
        """The default run needs no creation."""
        assert run_rules.judge(None, state(), NOW_MS, may_wait=True) is None
        assert run_rules.judge(run(), state(), NOW_MS, may_wait=True) is None

    @pytest.mark.parametrize("may_wait", [True, False])
    def test_a_cancelled_runs_jobs_end(self, may_wait: bool) -> None:
        """Solutions that come back end, too."""
        ended = run_rules.judge(run(RunState.CANCELLED), state(), NOW_MS, may_wait=may_wait)
        assert isinstance(ended, Dead)
        assert ended.reason is Reason.CANCELLED

    def test_a_paused_runs_jobs_wait_but_what_was_paid_for_goes_on(self) -> None:
        """At no attempt; a solution is never deferred (C3)."""
        waits = run_rules.judge(run(RunState.PAUSED), state(), NOW_MS, may_wait=True)
        assert isinstance(waits, Defer)
        assert run_rules.judge(run(RunState.PAUSED), state(), NOW_MS, may_wait=False) is None

    def test_a_day_of_rest_is_thirty_waits_at_most(self) -> None:
        """T3: nobody is produced again and again because somebody else is away."""
        slept_s, deferrals = 0.0, 0
        while slept_s < 86_400:
            slept_s += run_rules.wait_s(deferrals)
            deferrals += 1
        assert deferrals <= 30
        assert run_rules.wait_s(0) <= 60

    @pytest.mark.parametrize(("late_ms", "ends"), [(0, False), (60_000, False), (60_001, True)])
    def test_a_runs_deadline_ends_its_jobs(self, late_ms: int, ends: bool) -> None:
        """Counted from the run's creation, by the broker's clock (T1)."""
        judged = run_rules.judge(run(deadline_s=60.0), state(), NOW_MS + late_ms, may_wait=True)
        assert isinstance(judged, Dead) == ends
        if isinstance(judged, Dead):
            assert judged.reason is Reason.DEADLINE


class TestSpending:
    @pytest.mark.parametrize(
        ("scope", "stops"),
        [
            (Scope(run="spring"), {("spring", "a.test"), ("spring", "b.test")}),
            (Scope(site="a.test", daily=True), {("spring", "a.test"), ("autumn", "a.test")}),
            (Scope(run="spring", site="a.test"), {("spring", "a.test")}),
            (Scope(), {(run, site) for run in ("spring", "autumn") for site in ("a.test", "b.test")}),
        ],
    )
    def test_what_a_used_up_budget_covers_is_not_asked_for_again(
        self, scope: Scope, stops: set[tuple[str, str]]
    ) -> None:
        """M8: those jobs end at once; all others are asked for as ever."""
        spending = Spending(holds=False, recheck_s=60)
        refused = solution(SolutionStatus.REFUSED, code="budget_exhausted", exhausted=scope)
        ended = spending.refused(state(), refused, NOW_MS)
        assert isinstance(ended, Dead)
        assert ended.reason is Reason.BUDGET_EXHAUSTED
        stopped = {
            (run, site)
            for run in ("spring", "autumn")
            for site in ("a.test", "b.test")
            if spending.barrier(state(run=run, site=site), NOW_MS + 1) is not None
        }
        assert stopped == stops

    def test_after_a_while_it_is_asked_again(self) -> None:
        """A person may have raised the limit."""
        spending = Spending(holds=False, recheck_s=60)
        spending.refused(state(), solution(SolutionStatus.REFUSED, exhausted=Scope(run="spring")), NOW_MS)
        assert spending.barrier(state(), NOW_MS + 59_999) is not None
        assert spending.barrier(state(), NOW_MS + 60_000) is None

    def test_jobs_may_wait_for_money_instead(self) -> None:
        """At no attempt, longer each time."""
        spending = Spending(holds=True, recheck_s=60)
        refused = solution(SolutionStatus.REFUSED, exhausted=Scope(run="spring"))
        first = spending.refused(state(), refused, NOW_MS)
        later = spending.barrier(state(deferrals=9), NOW_MS + 1)
        assert isinstance(first, Defer)
        assert isinstance(later, Defer)
        assert first.delay_s < later.delay_s

    def test_a_jobs_own_limit_says_nothing_of_other_jobs(self) -> None:
        """``max_solve_cost`` was met: the job ends, and no budget is used up; it waits for nothing."""
        spending = Spending(holds=True, recheck_s=60)
        ended = spending.refused(state(), solution(SolutionStatus.REFUSED, code="max_cost"), NOW_MS)
        assert isinstance(ended, Dead)
        assert spending.barrier(state(), NOW_MS + 1) is None


@asynccontextmanager
async def watching(broker: FakeBroker, happened: list[Event]) -> AsyncIterator[RunWatch]:
    """Follow the runs of a broker."""
    watch = RunWatch(FakeReader(broker), LoopClock(), happened.append)
    await watch.restore()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.run())
        yield watch
        running.cancel()


def test_what_is_said_of_a_run_is_known_at_the_start_and_within_a_moment() -> None:
    """A run that was cancelled while nobody ran is cancelled; a pause reaches who runs."""

    async def main() -> None:
        broker, happened = FakeBroker(LoopClock()), list[Event]()
        broker.append(run_record(RunRecord(run="old", state=RunState.CANCELLED)))
        async with watching(broker, happened) as watch:
            assert watch.runs.state("old") is RunState.CANCELLED
            broker.append(run_record(RunRecord(run="spring", state=RunState.PAUSED)))
            broker.append(Outgoing(topic=Topic.RUNS, site="", key=b"x", value=b"{", partition=0))
            await LoopClock().sleep(0.1)
            assert watch.runs.state("spring") is RunState.PAUSED
        assert [type(event) for event in happened] == [RunChanged, RunRecordIgnored]

    virtually(main())


def test_records_that_were_deleted_leave_what_is_left() -> None:
    """Whoever deletes the topic's records takes back what they said."""

    async def main() -> None:
        broker = FakeBroker(LoopClock())
        async with watching(broker, []) as watch:
            where = TopicPartition(Topic.RUNS, 0)
            for name in ("one", "two"):
                broker.append(run_record(RunRecord(run=name, state=RunState.CANCELLED)))
            broker.delete_before(where, 1)
            await LoopClock().sleep(10)
            assert [each.record.run for each in watch.runs.all()] == ["two"]

    virtually(main())
