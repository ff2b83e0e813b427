"""A whole market in virtual time: solvers' requests, simulated vendors with their rules, sites that verify.

The vendors are those of the simulated service, asked without a network, so that their intervals, bans and
windows are the real ones although minutes pass in no time. A job does what the fetcher does: asks again with
another hop where the solve failed or the site refused the answer, at most twice; waits where nothing was
bought.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
from pydantic import SecretStr
from support.solver import PARTITION, a_request, context, profile, request_record, seller, solutions
from support.virtual_time import LoopClock
from tidegate.captcha_records import CaptchaRequest, CaptchaSolution, SolutionStatus, SolutionVerdict
from tidegate.consume.offsets import TopicPartition
from tidegate.events import Event
from tidegate.outcome import Done
from tidegate.records import ChallengeKind, Inbound, SolveSummary, encode
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_cli.simulator.answers import Asked
from tidegate_cli.simulator.behaviour import Behaviour
from tidegate_cli.simulator.charges import Accounts, ChargeLog
from tidegate_cli.simulator.desk import Desk
from tidegate_cli.simulator.offences import Offence
from tidegate_cli.simulator.service import SolvingService
from tidegate_solver.app import assemble
from tidegate_solver.handler import Solver
from tidegate_solver.settings import ProviderSettings
from tidegate_solver.transport import NoAnswerError, NotSentError
from tidegate_solver.wire import Call

KEY = "the-secret-account-key"
_WAY_S = 0.05
_READ_TIMEOUT_S = 30.0
_TRIES = 3
# Rules whose breaking gets a client banned; a poll after the end is only useless.
BANNED_FOR = frozenset(Offence) - {Offence.POLLED_AFTER_END}


class SimulatedTransport:
    """The way to one vendor of the simulated service; ``away`` refuses connections."""

    def __init__(self, desk: Desk, vendor: str) -> None:
        self.away = False
        self.calls = 0
        self._desk = desk
        self._vendor = vendor
        self._clock = LoopClock()

    async def send(self, call: Call) -> tuple[int, bytes]:
        """Carry one call, as the network would."""
        await self._clock.sleep(_WAY_S)
        if self.away:
            raise NotSentError("not_sent", "no connection: ConnectionRefusedError")
        asked = Asked(
            method="GET" if call.query is not None else "POST",
            path=f"/{self._vendor}{call.path}",
            fields=call.query or call.form or {},
            body=b"" if call.json is None else msgspec.json.encode(call.json),
        )
        answer = self._desk.answer(asked, self._clock.monotonic())
        self.calls += 1
        await self._clock.sleep(min(answer.delay_s, _READ_TIMEOUT_S))
        self.calls -= 1
        if answer.drop or answer.delay_s > _READ_TIMEOUT_S:
            raise NoAnswerError("no_answer", "no whole answer: ServerDisconnectedError")
        return answer.status, answer.body


class Result(msgspec.Struct, kw_only=True):
    """What became of the jobs, what each vendor charged, and which rules were broken there.

    ``wasted`` is what was charged for answers that opened nothing, by vendor, in micro-dollars;
    ``in_flight`` the most tasks that were at the failing one at once while it failed,
    ``in_flight_before`` those that were there when it began to.
    """

    opened: int
    jobs: int
    charged: dict[str, int]
    wasted: dict[str, int]
    in_flight: int
    in_flight_before: int
    offences: dict[str, int]
    bans: int
    events: list[Event]
    codes: Counter[str]

    @property
    def share(self) -> float:
        """The share of jobs whose page was opened."""
        return self.opened / self.jobs


class Market:
    """The vendors, a solver before them, and the sites."""

    def __init__(self, vendors: Mapping[str, dict[str, Any]], *, latency_ms: float, **settings: Any) -> None:
        self.clock = LoopClock()
        self.service = SolvingService(
            random=Random(11),
            charges=ChargeLog(),
            accounts=Accounts(1_000_000_000),
            latency_ms=latency_ms,
            epoch_ms=0.0,
        )
        self.vendors = vendors
        self.settings = settings
        self.happened: list[Event] = []
        self.codes: Counter[str] = Counter()
        self.opened: set[str] = set()
        self.tasks_that_opened: set[tuple[str, str]] = set()
        self.broker = FakeBroker(self.clock)
        self.transports = {name: SimulatedTransport(Desk(self.service), name) for name in vendors}
        self._solver: Solver | None = None
        self._sink = FakeSink(self.broker)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Market"]:
        """Set the solver up before the vendors."""
        reader = FakeReader(self.broker)
        parts = context(self._sink, reader, self.clock, self.happened.append, **self.settings)
        sellers = [
            seller(
                parts,
                profile(name, **overrides),
                self.transports[name],
                ProviderSettings(api_key=SecretStr(KEY)),
            )
            for name, overrides in self.vendors.items()
        ]
        async with assemble(parts, sellers) as solver:
            await solver.prepare(PARTITION)
            self._solver = solver
            yield self

    def behave(self, vendor: str, **behaviour: Any) -> None:
        """Say how a vendor behaves from now on; bans are real."""
        wanted = {"enforce_bans": True, "enforce_intervals": True, "spread": 0.3} | behaviour
        self.service.behave(vendor, msgspec.convert(wanted, Behaviour))

    def in_flight(self, vendor: str) -> int:
        """Return how many tasks and calls are at a vendor now."""
        tasks = self.service.tasks.in_flight(vendor, self.clock.monotonic())
        return tasks + self.transports[vendor].calls

    async def job(self, name: str, site: str, kind: ChallengeKind) -> None:
        """See one job through: requests, answers, verdicts, and what the fetcher does of each."""
        tries, hop, solves = 0, 0, tuple[SolveSummary, ...]()
        until_s = self.clock.monotonic() + 3600.0
        while tries < _TRIES and self.clock.monotonic() < until_s:
            request = self._request(name, site, kind, hop, solves)
            solution = await self._answer(request)
            hop += 1
            if solution.status in (SolutionStatus.EXPIRED_UNBOUGHT, SolutionStatus.REFUSED):
                await self.clock.sleep(60.0)
                continue
            if solution.status is SolutionStatus.UNSOLVABLE:
                return
            tries += 1
            if solution.task_id is not None or solution.cost > 0:
                summary = SolveSummary(
                    request_id=request.request_id,
                    kind=kind,
                    provider=solution.provider or "unknown",
                    cost=solution.cost,
                )
                solves = (*solves, summary)
            if solution.status is SolutionStatus.SOLVED and await self._submit(request, solution):
                self.opened.add(name)
                return
            await self.clock.sleep(2.0)

    async def _submit(self, request: CaptchaRequest, solution: CaptchaSolution) -> bool:
        """Hand an answer in, and say what the site made of it."""
        await self.clock.sleep(1.0)
        host = request.state.site
        sitekey = request.challenge.params["sitekey"]
        verdict = self.service.verify(solution.token or "", sitekey, host, self.clock.monotonic())
        assert solution.provider is not None
        assert solution.task_id is not None
        if verdict.success:
            self.tasks_that_opened.add((solution.provider, solution.task_id))
        said = SolutionVerdict(
            request_id=request.request_id,
            site=request.state.site,
            kind=request.challenge.kind,
            provider=solution.provider,
            task_id=solution.task_id,
            accepted=verdict.success,
            solved_at_ms=self.clock.wall_ms() - 1000,
        )
        await self._handle(Topic.CAPTCHA_VERDICTS, encode(said))
        return verdict.success

    async def _answer(self, request: CaptchaRequest) -> CaptchaSolution:
        self.broker.append(request_record(request))
        outcome = await self._handle(Topic.CAPTCHA_REQUESTS, encode(request))
        for outgoing in outcome.outgoing:
            await self._sink.send(outgoing)
        (solution,) = solutions(outcome.outgoing)
        solve = msgspec.json.decode(outcome.outgoing[0].value or b"")
        self.codes[f"{solve['status']}:{solve['error_code']}"] += 1
        return solution

    async def _handle(self, topic: Topic, value: bytes) -> Done:
        assert self._solver is not None
        record = Inbound(
            topic=topic,
            partition=PARTITION,
            offset=len(self.broker.logs[TopicPartition(Topic.CAPTCHA_REQUESTS, PARTITION)]),
            timestamp_ms=self.clock.wall_ms(),
            key=None,
            value=value,
            headers={},
        )
        outcome = await self._solver.handle(self._solver.decode(record))
        assert isinstance(outcome, Done)
        return outcome

    @staticmethod
    def _request(
        name: str, site: str, kind: ChallengeKind, hop: int, solves: tuple[SolveSummary, ...]
    ) -> CaptchaRequest:
        plain = a_request(name, kind=kind, lifetime_s=600.0, hop=hop)
        page = msgspec.structs.replace(plain.challenge, page_url=f"https://{site}/{name}/{hop}")
        state = msgspec.structs.replace(plain.state, site=site, solves=solves)
        return msgspec.structs.replace(plain, challenge=page, state=state)

    def result(self, jobs: int, in_flight: int, before: int) -> Result:
        """Judge what the outside world saw."""
        charged, wasted = Counter[str](), Counter[str]()
        for row in self.service.charges.after(0, 100_000):
            charged[row.vendor] += row.cost_micros
            if (row.vendor, row.task_id) not in self.tasks_that_opened:
                wasted[row.vendor] += row.cost_micros
        figures = [self.service.figures[name] for name in self.vendors]
        offences = sum((Counter(figure.offences) for figure in figures), Counter[str]())
        return Result(
            opened=len(self.opened),
            jobs=jobs,
            charged=dict(charged),
            wasted=dict(wasted),
            in_flight=in_flight,
            in_flight_before=before,
            offences={name: count for name, count in offences.items() if name in BANNED_FOR},
            bans=sum(figure.bans for figure in figures),
            events=self.happened,
            codes=self.codes,
        )


async def campaign(
    market: Market, failing: str, behaviour: dict[str, Any], *, jobs: int, every_s: float, sites: int = 20
) -> Result:
    """Let jobs come; a fifth of the way through, one vendor begins to fail, and goes on failing."""
    kind, most, before = ChallengeKind.RECAPTCHA_V2, 0, 0
    async with market.open():
        for name in market.vendors:
            market.behave(name)
        async with asyncio.TaskGroup() as group:
            for number in range(jobs):
                if number == jobs // 5:
                    before = market.in_flight(failing)
                    market.transports[failing].away = behaviour.pop("away", False)
                    market.behave(failing, **behaviour)
                group.create_task(market.job(f"job-{number}", f"s{number % sites}.test", kind))
                await market.clock.sleep(every_s)
                if number >= jobs // 5:
                    most = max(most, market.in_flight(failing))
    return market.result(jobs, most, before)
