"""The solver under the runtime, against the simulated solving service over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.runtime import until
from support.solver import KEY, a_request, context, request_record, solutions, solves
from support.solving_service import SolvingServiceProcess, solving_service
from tidegate.captcha_records import SolutionStatus
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.runtime import Runtime
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.outcome import Outgoing
from tidegate.process import Context
from tidegate.records import ChallengeKind
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink, FakeSource
from tidegate.topics import Topic
from tidegate_solver.app import PLAN, build
from tidegate_solver.settings import Settings

SIMULATED = (ChallengeKind.RECAPTCHA_V2, ChallengeKind.HCAPTCHA, ChallengeKind.TURNSTILE)


@pytest.fixture(scope="module")
def service() -> Iterator[SolvingServiceProcess]:
    """Run one simulator for the module."""
    with solving_service("--latency-ms", "300", "--seed", "2", "--key", KEY) as started:
        yield started


def parts(broker: FakeBroker, url: str, happened: list[Event], **settings: Any) -> Context[Settings]:
    """Return what a solver on that broker and service is built from."""
    quick = {"provider": "capmonster", "poll_first_delay_s": 0.1, "poll_interval_s": 0.1}
    return context(
        FakeSink(broker),
        FakeReader(broker),
        SystemClock(),
        happened.append,
        **quick | {"base_url": f"{url}/capmonster"} | settings,
    )


@asynccontextmanager
async def running(made: Context[Settings], broker: FakeBroker, *, kill: bool = False) -> AsyncIterator[None]:
    """Run the solver on the broker while the body runs; then drain it, or end it as SIGKILL does."""
    stop = asyncio.Event()
    async with build(made) as solver:
        runtime = Runtime(
            plan=PLAN,
            service=solver,
            source=FakeSource(broker, group=PLAN.group, topics=PLAN.all_topics),
            sink=FakeSink(broker),
            settings=RuntimeSettings(commit_interval_s=0.01, drain_deadline_s=0.1, window=2_500),
            clock=made.clock,
            broker_clock=BrokerClock(made.clock),
            emit=made.emit,
        )
        task = asyncio.ensure_future(runtime.run(stop))
        try:
            yield
        finally:
            if kill:
                task.cancel()
                await asyncio.wait([task])
                broker.groups[PLAN.group].clear()
            else:
                stop.set()
                await task


async def test_every_kind_comes_back_solved(service: SolvingServiceProcess) -> None:
    """Thirty requests of three kinds and one piece of garbage, each with its outcome, one charge each."""
    broker, happened = FakeBroker(SystemClock()), list[Event]()
    before = len(await service.charges())
    requests = [
        a_request(f"kinds-{n}-{kind}", kind=kind, lifetime_s=120.0) for n in range(10) for kind in SIMULATED
    ]
    for request in requests:
        broker.append(request_record(request))
    broker.append(Outgoing(topic=Topic.CAPTCHA_REQUESTS, site="a.test", value=b"\x00garbage"))
    async with running(parts(broker, service.url, happened), broker):
        await until(lambda: len(broker.records(Topic.CAPTCHA_SOLUTIONS)) == len(requests))
        await until(lambda: len(broker.records(Topic.DEAD_LETTER)) == 1)
    got = solutions(broker.records(Topic.CAPTCHA_SOLUTIONS))
    assert {s.request.request_id for s in got} == {r.request_id for r in requests}
    assert {s.status for s in got} == {SolutionStatus.SOLVED}
    charges = (await service.charges())[before:]
    assert len(charges) == len(requests)
    booked = sum(solve.cost for solve in solves(broker.records(Topic.SOLVES)))
    assert booked == pytest.approx(sum(row["cost"] for row in charges))
    assert KEY not in repr(happened)


async def test_kills_in_the_middle_pay_once(service: SolvingServiceProcess) -> None:
    """M3, M4: processes end without a word while tasks are out; the next ones resume them."""
    broker, happened = FakeBroker(SystemClock()), list[Event]()
    before = len(await service.charges())
    requests = [a_request(f"kills-{n}", lifetime_s=120.0) for n in range(40)]
    for request in requests:
        broker.append(request_record(request))
    made = parts(broker, service.url, happened, concurrency=10)
    for wait_s in (0.15, 0.3, 0.45, 0.2, 0.5):
        async with running(made, broker, kill=True):
            await SystemClock().sleep(wait_s)
    async with running(made, broker):
        await until(lambda: len(solves(broker.records(Topic.SOLVES))) >= len(requests))
        await until(
            lambda: (
                {s.request.request_id for s in solutions(broker.records(Topic.CAPTCHA_SOLUTIONS))}
                == {r.request_id for r in requests}
            ),
        )
    charged = [row["url"] for row in (await service.charges())[before:]]
    assert len(charged) == len(set(charged))
    booked = {solve.request_id: solve for solve in solves(broker.records(Topic.SOLVES))}
    in_doubt = sum(solve.error_code == "in_doubt" for solve in booked.values())
    assert len(charged) >= len(requests) - in_doubt
    assert all(
        solve.status is SolutionStatus.SOLVED for solve in booked.values() if solve.error_code != "in_doubt"
    )


async def test_an_outage_before_sending_costs_nothing(service: SolvingServiceProcess) -> None:
    """Nobody listens: the tries are bounded, the answer is a deferral, the cost 0 (C4)."""
    broker, happened = FakeBroker(SystemClock()), list[Event]()
    broker.append(request_record(a_request("outage")))
    made = parts(broker, service.url, happened, base_url="http://127.0.0.1:9", create_retry_wait_s=0.01)
    async with running(made, broker):
        await until(lambda: len(solves(broker.records(Topic.SOLVES))) == 1)
    (solve,) = solves(broker.records(Topic.SOLVES))
    assert (solve.status, solve.cost) == (SolutionStatus.EXPIRED_UNBOUGHT, 0.0)


async def test_without_a_key_the_solver_does_not_start(service: SolvingServiceProcess) -> None:
    """A missing key is a person's business, not five thousand dead letters."""
    broker = FakeBroker(SystemClock())
    made = parts(broker, service.url, [], api_key="")
    with pytest.raises(ConfigurationError, match="API_KEY"):
        async with build(made):
            pass


async def test_two_hundred_tasks_are_in_flight_at_once(service: SolvingServiceProcess) -> None:
    """Tasks wait at the service, not in a queue before it; the bound is the setting's."""
    broker, happened = FakeBroker(SystemClock()), list[Event]()
    # None is solved before all are there, however long that takes.
    await service.behave("capmonster", latency_ms=600_000, spread=0.0)
    try:
        for n in range(220):
            broker.append(request_record(a_request(f"many-{n}", lifetime_s=900.0)))

        async def at_the_service() -> int:
            found: int = (await service.get("stats"))["vendors"]["capmonster"]["in_flight"]
            return found

        before = await at_the_service()
        async with running(parts(broker, service.url, happened, concurrency=200), broker, kill=True):
            async with asyncio.timeout(90):
                while await at_the_service() < before + 200:
                    await SystemClock().sleep(0.05)
            await SystemClock().sleep(0.2)
            assert await at_the_service() == before + 200
    finally:
        await service.behave("capmonster")
