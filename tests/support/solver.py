"""What the solver's tests share: a small solving service in memory, and requests."""

from base64 import b64encode
from collections.abc import Mapping
from itertools import count
from typing import Any

import msgspec
from pydantic import SecretStr
from support.virtual_time import EPOCH_MS
from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    Challenge,
    Identity,
    SolveRecord,
    request_id,
)
from tidegate.challenge_kinds import FACTS
from tidegate.clock import BrokerClock, Clock, seeded_random
from tidegate.consume.service import Sink
from tidegate.events import Emit
from tidegate.ledger.entries import read_entry
from tidegate.ledger.machine import Ledger
from tidegate.outcome import Outgoing
from tidegate.process import Context, PartitionReader
from tidegate.records import ChallengeKind, Inbound, JobState, Origin, encode
from tidegate.testing.fake_broker import FakeBroker
from tidegate.topics import Topic
from tidegate_solver.app import Seller
from tidegate_solver.catalog import choose_profile
from tidegate_solver.profiles import KindProfile, Profile
from tidegate_solver.settings import ProviderSettings, Settings, SolverSettings
from tidegate_solver.transport import NoAnswerError, NotSentError, Transport
from tidegate_solver.wire import Call

# A process like no other: what one of them wrote is never taken for another one's.
_SEEDS = count(7)
KEY = "the-secret-account-key"
PARTITION = 3


PARAMS: dict[ChallengeKind, dict[str, str]] = {
    ChallengeKind.CLOUDFLARE_CHALLENGE: {"html": "<html>Just a moment...</html>", "sitekey": "0x4"},
    ChallengeKind.GEETEST_V3: {"gt": "0123456789abcdef", "challenge": "c" * 32},
    ChallengeKind.GEETEST_V4: {"captcha_id": "e392e1d7fd421dc63325744d5a2b9c73"},
    ChallengeKind.FUNCAPTCHA: {"sitekey": "11111111-2222", "surl": "client-api.arkoselabs.com", "blob": "b"},
    ChallengeKind.AWS_WAF: {"action": "captcha", "key": "k", "iv": "i", "context": "c"},
    ChallengeKind.DATADOME: {"captcha_url": "https://geo.captcha-delivery.com/captcha/?t=fe"},
    ChallengeKind.IMAGE: {"image": b64encode(b"GIF89a tidegate-text:W68HP").decode()},
}


class FakeVendor:
    """A solving service of the createTask family, in memory, in one profile's spelling.

    ``on_create`` and ``on_result`` hold what happens to the next calls, one each: an error code, or
    ``html``, ``truncated``, ``server_error``, ``lost`` (carried out, not answered), ``refused`` (never
    sent). Every task that is made is charged, as ``charges`` says by page; a task's ``on_task`` error
    is not, unless the test says ``charge_failures``. A result names what it cost where the test sets
    ``result_cost``.
    """

    def __init__(self, profile: Profile, clock: Clock, *, latency_s: float = 12.0) -> None:
        self.profile = profile
        self.latency_s = latency_s
        self.on_create: list[str] = []
        self.on_result: list[str] = []
        self.on_task: list[str] = []
        self.charge_failures = False
        self.result_cost: float | None = None
        self.balance = 100.0
        self.prices = {kind: row.price for kind, row in profile.kinds.items()}
        self.charges: list[str] = []
        self.polls: dict[str, list[float]] = {}
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self._clock = clock
        self._tasks: dict[str, tuple[ChallengeKind, float, str]] = {}

    async def send(self, call: Call) -> tuple[int, bytes]:
        """Answer a call of the createTask family."""
        assert call.json is not None
        return await self.post(call.path, call.json)

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Answer as the vendor would."""
        sent: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
        creating = path == "/createTask"
        faults = {"/createTask": self.on_create, "/getTaskResult": self.on_result}.get(path, [])
        fault = faults.pop(0) if faults else ""
        if fault == "refused":
            raise NotSentError("not_sent", "no connection: ConnectionRefusedError")
        if fault in ("html", "server_error"):
            return (502 if fault == "html" else 500), b"<html><body>Bad gateway</body></html>"
        self.bodies.append((path, sent))
        if path == "/feedbackTask" or path.startswith("/report"):
            return 200, msgspec.json.encode({"errorId": 0, "status": "success"})
        if path == "/getBalance":
            return 200, msgspec.json.encode({"errorId": 0, "balance": self.balance})
        if fault.startswith("ERROR_"):
            status, reply = 200, self._error(fault)
        elif creating:
            status, reply = 200, self._create(sent)
        else:
            status, reply = 200, self._result(sent)
        if fault == "lost":
            raise NoAnswerError("no_answer", "no whole answer: ServerDisconnectedError")
        encoded = msgspec.json.encode(reply)
        return status, encoded[: len(encoded) // 2] if fault == "truncated" else encoded

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["clientKey"] != KEY:
            return self._error("ERROR_KEY_DOES_NOT_EXIST")
        kind = self._kind_of(body["task"])
        if kind is None:
            return self._error("ERROR_TASK_NOT_SUPPORTED")
        failure = self.on_task.pop(0) if self.on_task else ""
        number = len(self._tasks) + 1
        task_id = str(number) if self.profile.numeric_task_ids else f"uuid-{number}"
        self._tasks[task_id] = (kind, self._clock.monotonic() + self.latency_s, failure)
        if not failure or self.charge_failures:
            self.charges.append(body["task"]["websiteURL"])
        return {"errorId": 0, "taskId": number if self.profile.numeric_task_ids else task_id}

    def _result(self, body: dict[str, Any]) -> dict[str, Any]:
        right_type = isinstance(body["taskId"], int) is self.profile.numeric_task_ids
        task = self._tasks.get(str(body["taskId"])) if right_type else None
        if task is None:
            return self._error("ERROR_NO_SUCH_CAPCHA_ID")
        kind, ready_at, failure = task
        self.polls.setdefault(str(body["taskId"]), []).append(self._clock.monotonic())
        if self._clock.monotonic() < ready_at:
            return {"errorId": 0, "status": "processing"}
        if failure:
            return self._error(failure)
        solution = solution_of(self.profile.kinds[kind], f"token-of-{body['taskId']}")
        named = {} if self.result_cost is None else {"cost": str(self.result_cost)}
        return {
            "errorId": 0,
            "status": "ready",
            "solution": solution | {"userAgent": "Solver/1.0"},
            **named,
        }

    def _kind_of(self, task: dict[str, Any]) -> ChallengeKind | None:
        """Return the kind whose row fits the task best: vendors use one type for several kinds."""
        fitting = []
        for kind, row in self.profile.kinds.items():
            if row.task_type == task["type"] and row.fixed.items() <= task.items():
                named = sum(place.rpartition(":")[2].split(".")[0] in task for place in row.fields.values())
                fitting.append((len(row.fixed) + named / 100, kind))
        return max(fitting, key=lambda found: found[0])[1] if fitting else None

    def _error(self, code: str) -> dict[str, Any]:
        return {"errorId": 1, "errorCode": code, "errorDescription": f"{code} for {KEY}", "taskId": 0}


def solution_of(row: KindProfile, token: str) -> dict[str, Any]:
    """Return a solution in a row's spelling; each part of it is told from the others."""
    solution: dict[str, Any] = {places[-1]: f"{name}-{token}" for name, places in row.values.items()}
    if row.cookies and row.kind is not None:
        solution[row.cookies[0]] = dict.fromkeys(FACTS[row.kind].cookies, token)
    if row.token:
        solution[row.token[-1]] = token
    return solution


def profile(name: str = "capmonster", **overrides: Any) -> Profile:
    """Return a shipped profile; CapMonster sells all three kinds."""
    return choose_profile(name, **overrides)


def seller(
    parts: Context[Settings], row: Profile, transport: Transport, account: ProviderSettings | None = None
) -> Seller:
    """Return a provider as it is set up: the single account of the settings, unless another is given."""
    return Seller(profile=row, account=account or parts.settings.solver, transport=transport)


def challenge(kind: ChallengeKind = ChallengeKind.RECAPTCHA_V2, url: str = "https://a.test/1") -> Challenge:
    """Return a challenge found on a page, with all that any vendor needs to solve it."""
    return Challenge(kind=kind, page_url=url, params=PARAMS.get(kind, {"sitekey": "site-key"}))


def a_request(
    job_id: str = "job-1",
    *,
    kind: ChallengeKind = ChallengeKind.RECAPTCHA_V2,
    lifetime_s: float = 300.0,
    max_cost: float | None = None,
    hop: int = 0,
) -> CaptchaRequest:
    """Return a request; its page's URL is unique to the job and hop, so charges tell requests apart."""
    state = JobState(
        run="r",
        id=job_id,
        site="a.test",
        origin=Origin(topic="urls", partition=PARTITION, offset=0, timestamp_ms=EPOCH_MS),
        accepted_at_ms=EPOCH_MS,
        hop=hop,
    )
    return CaptchaRequest(
        request_id=request_id(state),
        challenge=challenge(kind, f"https://a.test/{job_id}/{hop}"),
        identity=Identity(user_agent="Mozilla/5.0"),
        lifetime_s=lifetime_s,
        max_cost=max_cost,
        original=b'{"url": "https://a.test/"}',
        state=state,
    )


def request_record(request: CaptchaRequest) -> Outgoing:
    """Return the request as the fetcher produces it."""
    return Outgoing(
        topic=Topic.CAPTCHA_REQUESTS,
        site=request.state.site,
        value=encode(request),
        partition=PARTITION,
    )


_SOLUTION = msgspec.json.Decoder(CaptchaSolution)
_SOLVE = msgspec.json.Decoder(SolveRecord)


def solutions(records: list[Inbound] | tuple[Outgoing, ...]) -> list[CaptchaSolution]:
    """Return the solutions among records."""
    return [_SOLUTION.decode(r.value or b"") for r in records if r.topic == Topic.CAPTCHA_SOLUTIONS]


def solves(records: list[Inbound] | tuple[Outgoing, ...]) -> list[SolveRecord]:
    """Return the solve records among records."""
    return [_SOLVE.decode(r.value or b"") for r in records if r.topic == Topic.SOLVES]


def ledger_of(broker: FakeBroker) -> Ledger:
    """Return what the log of the budget says."""
    ledger = Ledger()
    for record in broker.records(Topic.BUDGET):
        ledger.apply(record.offset, record.timestamp_ms, read_entry(record.value))
    return ledger


def context(
    sink: Sink, reader: PartitionReader, clock: Clock, emit: Emit, **solver: Any
) -> Context[Settings]:
    """Return what a solver is built from."""
    settings = Settings(solver=SolverSettings(**{"api_key": SecretStr(KEY)} | solver))
    return Context(
        settings=settings,
        emit=emit,
        clock=clock,
        broker_clock=BrokerClock(clock),
        random=seeded_random(next(_SEEDS)),
        sink=sink,
        reader=reader,
        partitions=4,
    )
