"""A campaign about money: three solvers, two fetchers, a budget that runs out, and kills where they may cost.

Signals come from two sides. The gateway strikes at moments of a purchase; a seeded schedule strikes solvers
and fetchers whenever it likes. Whoever is killed is started again after a while.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from support.campaign import get_json, submit, views
from support.money_gateway import Gateway, Shares
from support.money_site import money_site
from support.money_verdict import Charge, Evidence, Judgement, judged
from tidegate.captcha_records import request_id
from tidegate.clock import SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.errors import BrokerError, RecordError
from tidegate.events import Event
from tidegate.ledger.entries import Entry, Mark, read_entry
from tidegate.money import MICROS
from tidegate.records import ChallengeKind, JobState, Origin
from tidegate.topics import Topic
from tidegate_cli.lag import read_lag
from tidegate_cli.runs import control
from tidegate_cli.runs.office import office_of
from tidegate_cli.simulator.vendors import VENDORS
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.processes import StackError
from tidegate_cli.stack.stack import Stack, running_stack
from tidegate_solver.journal_log import read_entry as read_journal

CLOCK = SystemClock()
RUN = "money"
PRICE = VENDORS["capmonster"].prices[ChallengeKind.TURNSTILE]
SOLVERS, FETCHERS, SITES = 3, 2, 12
_MOST_HOPS = 60
_STARTED_WITHIN_S = 600.0
_SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": HOST,
    # Time-outs are of minutes: a busy machine shall be slow here, and not be taken for a fault.
    "TIDEGATE_FETCHER__TOTAL_TIMEOUT_S": "40",
    # A request that waits for ten minutes here is one of a slow campaign: its answer shall still be good.
    "TIDEGATE_FETCHER__CAPTCHA_LIFETIME_S": "3600",
    # A used-up budget is asked again at once: many solvers say so, at every moment.
    "TIDEGATE_FETCHER__BUDGET_RECHECK_S": "1",
    "TIDEGATE_SOLVER__CONCURRENCY": "5",
    "TIDEGATE_SOLVER__CONNECT_TIMEOUT_S": "30",
    "TIDEGATE_SOLVER__READ_TIMEOUT_S": "60",
    "TIDEGATE_SOLVER__TIME_LIMIT_S": "180",
    "TIDEGATE_SOLVER__SUBMIT_MARGIN_S": "2",
    "TIDEGATE_SOLVER__CREATE_RETRY_WAIT_S": "0.3",
    "TIDEGATE_SOLVER__PRICES": json.dumps({"turnstile": PRICE / MICROS}),
    "TIDEGATE_STORER__BATCH_AGE_S": "0.5",
    "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S": "5",
    # So many kills look like a record that kills; isolation (C10) has campaigns of its own.
    "TIDEGATE_RUNTIME__CRASHES_BEFORE_ISOLATION": "0",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: so many jobs, of which ``affordable`` solves are in the budget.

    ``wanted`` kills are forced between createTask and its reply; another signal comes about every ``every_s``
    seconds at any moment. A killed member of a group is noticed after ``session_s``.
    """

    seed: int
    jobs: int = 1400
    affordable: int = 1700
    wanted: int = 220
    per_second: float = 8.0
    every_s: float = 10.0
    shares: Shares = Shares()
    session_s: float = 6.0
    settle_s: float = 2400.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: ``report`` is the last line; sentences about what is wrong, and who was charged twice."""

    report: dict[str, Any]
    problems: tuple[str, ...]
    doubles: tuple[str, ...]


class _Ring:
    """The processes that are struck: signals them, and starts them again."""

    def __init__(self, stack: Stack, tasks: asyncio.TaskGroup, chance: Random) -> None:
        self._stack = stack
        self._tasks = tasks
        self._chance = chance
        self._down: set[str] = set()
        self._stopped: set[str] = set()
        self.names = [
            child.name for child in stack.processes if child.name.split("-")[0] in ("solver", "fetcher")
        ]

    def solvers(self) -> Mapping[int, str]:
        """Return the solvers by process id."""
        children = [self._stack.process(name) for name in self.names if name.startswith("solver")]
        return {child.pid: child.name for child in children if child.running}

    def send(self, name: str, number: int) -> bool:
        """Signal a process that runs; a killed one is started again after a moment."""
        if name not in self.names or name in self._down:
            return False
        if number == signal.SIGCONT:
            self._stopped.discard(name)
        elif name in self._stopped and number == signal.SIGSTOP:
            return False
        elif number == signal.SIGSTOP:
            self._stopped.add(name)
        self._stack.kill(name, number)
        if number == signal.SIGKILL:
            self._down.add(name)
            self._stopped.discard(name)
            self._tasks.create_task(self._start(name, self._chance.uniform(0, 0.5)))
        return True

    async def _start(self, name: str, after_s: float) -> None:
        await CLOCK.sleep(after_s)
        until_s = CLOCK.monotonic() + _STARTED_WITHIN_S
        while CLOCK.monotonic() < until_s:
            try:
                await self._stack.restart(name)
            except StackError:
                await CLOCK.sleep(1.0)
            else:
                self._down.discard(name)
                return
        raise StackError(f"{name} did not start within {_STARTED_WITHIN_S:.0f} s")

    def heal(self) -> None:
        """Let everybody who was stopped go on."""
        for name in sorted(self._stopped - self._down):
            self._stack.kill(name, signal.SIGCONT)
        self._stopped.clear()

    @property
    def is_whole(self) -> bool:
        """Whether everybody runs."""
        return not self._down and not self._stopped


async def run_campaign(plan: Plan, folder: Path, say: Callable[[str], None]) -> Result:
    """Carry a campaign out in an empty folder."""
    began_s = CLOCK.monotonic()
    chance = Random(f"{plan.seed}:money")
    budget = plan.affordable * PRICE
    deaths: list[str] = []

    def emit(event: Event) -> None:
        if type(event).__name__ == "ProcessDied":
            deaths.append(str(event)[:800])

    async with _stage(plan, folder, emit) as (stack, sites, port), asyncio.TaskGroup() as tasks:
        say(f"everything runs after {CLOCK.monotonic() - began_s:.0f} s")
        ring = _Ring(stack, tasks, chance)
        assert stack.simulator_url is not None
        gateway = Gateway(
            stack.simulator_url,
            chance,
            wanted=plan.wanted,
            shares=plan.shares,
            session_s=plan.session_s,
            pids=ring.solvers,
            send=ring.send,
        )
        async with gateway.serving(port):
            async with office_of(stack.settings, []) as office:
                await control.create(office, RUN, budget=budget)
            urls = [f"{sites[number % len(sites)]}/job/{number:06d}" for number in range(plan.jobs)]
            striking = tasks.create_task(_strike_at_random(ring, gateway, plan, chance))
            ids = await submit(stack, RUN, urls, per_second=plan.per_second)
            left = await _settled(stack, ring, gateway, plan, striking=striking, say=say)
            evidence = await _evidence(stack, dict(zip(ids, urls, strict=True)), budget, gateway)
    judgement: Judgement = judged(evidence)
    problems = [*judgement.problems, *(f"not done in time: {each}" for each in left)]
    if gateway.forced < plan.wanted:
        problems.append(f"only {gateway.forced} of {plan.wanted} kills were forced inside the window")
    report = {
        "seed": plan.seed,
        **judgement.figures,
        "own_deaths": len(deaths),
        "seconds": round(CLOCK.monotonic() - began_s),
        "good": not problems,
    }
    for death in deaths[:5]:
        say(f"note: {death}")
    return Result(report=report, problems=tuple(problems), doubles=judgement.doubles)


@asynccontextmanager
async def _stage(
    plan: Plan, folder: Path, emit: Callable[[Event], None]
) -> AsyncIterator[tuple[Stack, list[str], int]]:
    port = PortPool().take()
    env = {
        **_SETTINGS,
        "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": str(plan.session_s),
        "TIDEGATE_SOLVER__BASE_URL": f"http://{HOST}:{port}/capmonster",
    }
    async with money_site(SITES) as sites:
        options = StackOptions(
            data_dir=folder,
            broker="kafka",
            services=(("fetcher", FETCHERS), ("solver", SOLVERS), ("storer", 1)),
            simulator=True,
            partitions=12,
            start_timeout_s=300.0,
            env=env,
        )
        async with running_stack(options, emit) as stack:
            yield stack, list(sites), port


async def _strike_at_random(ring: _Ring, gateway: Gateway, plan: Plan, chance: Random) -> None:
    while True:
        await CLOCK.sleep(chance.uniform(0.5, 1.5) * plan.every_s)
        name = chance.choice(ring.names)
        if chance.random() < 0.6:
            gateway.strike(name, signal.SIGKILL)
        elif gateway.strike(name, signal.SIGSTOP):
            # Longer than the session time-out: others take over meanwhile.
            await CLOCK.sleep(chance.uniform(1.25, 2.5) * plan.session_s)
            ring.send(name, signal.SIGCONT)


async def _settled(
    stack: Stack,
    ring: _Ring,
    gateway: Gateway,
    plan: Plan,
    *,
    striking: asyncio.Task[None],
    say: Callable[[str], None],
) -> list[str]:
    """Strike on until all kills are forced or all jobs are done; then wait for the dust to settle."""
    client = views(stack)
    until_s = CLOCK.monotonic() + plan.settle_s
    query = "SELECT count() FROM jobs WHERE run = {run:String}"
    left = ["nothing was looked at"]
    while CLOCK.monotonic() < until_s:
        rows = await asyncio.to_thread(client.query, query, {"run": RUN})
        done = int(rows.result_rows[0][0])
        if not striking.done() and (gateway.forced >= plan.wanted or done >= plan.jobs):
            striking.cancel()
            await asyncio.wait([striking])
            ring.heal()
        try:
            topics, _ = await read_lag(stack.settings.kafka)
            left = [f"{lag} of {t.name} by {group}" for t in topics for group, lag in t.lags.items() if lag]
        except BrokerError as error:
            left = [str(error)]
        if done < plan.jobs:
            left.append(f"{plan.jobs - done} jobs")
        if striking.done() and ring.is_whole and not left:
            return []
        say(f"{gateway.forced} kills forced, {len(gateway.strikes)} strikes; left: {', '.join(left)}")
        await CLOCK.sleep(5.0)
    if not striking.done():
        striking.cancel()
        ring.heal()
    return left


async def _evidence(stack: Stack, jobs: Mapping[str, str], budget: int, gateway: Gateway) -> Evidence:
    client = views(stack)

    def ask(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.query(sql, {"run": RUN}).result_rows]

    where = "WHERE run = {run:String}"
    tasks: dict[str, set[str]] = {}
    for request, task in ask(f"SELECT request_id, task_id FROM solves_log {where} AND task_id != ''"):
        tasks.setdefault(request, set()).add(task)
    reader = KafkaReader(stack.settings.kafka)
    for partition in range(stack.settings.kafka.partitions):
        async for record in reader.read(Topic.CAPTCHA_TASKS, partition):
            request, entry = read_journal(record)
            if entry is not None and entry.task_id is not None:
                tasks.setdefault(request, set()).add(entry.task_id)
    outcomes = ask(
        f"SELECT id, count() FROM (SELECT id FROM pages {where} UNION ALL "
        f"SELECT id FROM dead_letters {where}) GROUP BY id"
    )
    charges = await asyncio.to_thread(get_json, f"{stack.simulator_url}/control/charges")
    return Evidence(
        run=RUN,
        budget=budget,
        log=[await_entry async for await_entry in _log(reader)],
        page_of={request_id(_state(job, hop)): url for job, url in jobs.items() for hop in range(_MOST_HOPS)},
        tasks={request: frozenset(found) for request, found in tasks.items()},
        charges=[
            Charge(task_id=row["task_id"], page=row["url"], cost=row["cost_micros"])
            for row in charges["charges"]
        ],
        strikes=gateway.strikes,
        submitted=frozenset(jobs),
        outcomes={row[0]: row[1] for row in outcomes},
    )


async def _log(reader: KafkaReader) -> AsyncIterator[tuple[int, int, Entry]]:
    async for record in reader.read(Topic.BUDGET, 0):
        try:
            entry = read_entry(record.value)
        except RecordError:
            entry = Mark(by="unreadable", id="")
        yield record.offset, record.timestamp_ms, entry


def _state(job: str, hop: int) -> JobState:
    origin = Origin(topic="urls", partition=0, offset=0, timestamp_ms=0)
    return JobState(run=RUN, id=job, site="", origin=origin, accepted_at_ms=0, hop=hop)
