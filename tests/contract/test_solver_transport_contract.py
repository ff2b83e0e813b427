"""The solving service in memory and a simulated one over HTTP keep the same contract.

What the solver's other tests rest on is the fake; that the fake is not wishful is shown here.
"""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import msgspec
import pytest
from support.solver import KEY, FakeVendor, a_request, profile
from support.solving_service import SolvingServiceProcess, solving_service
from tidegate.captcha_records import CaptchaRequest, Identity
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.clock import BrokerClock, SystemClock
from tidegate.records import ChallengeKind
from tidegate_solver import wire
from tidegate_solver.profiles import ErrorKind, Profile
from tidegate_solver.provider import Provider, Task
from tidegate_solver.transport import NotSentError, Transport, http_transport

LATENCY_S = 0.3
V2 = ChallengeKind.RECAPTCHA_V2
PROXY = wire.Proxy(scheme="http", host="203.0.113.7", port=3128, login="u", password="p")
_numbers = itertools.count()

# How the simulated service is told what the fake is told by a word.
ON_THE_WIRE = {"html": "html", "truncated": "truncated", "server_error": "server_error", "lost": "lost"}


class Side(Protocol):
    """A solving service and the means to make it misbehave once."""

    transport: Transport

    async def fault(self, operation: str, fault: str) -> None:
        """Make the next calls of that operation go wrong."""
        ...

    async def charges(self, url: str) -> int:
        """Return how often a page was charged."""
        ...


class InMemory:
    """The fake."""

    def __init__(self, chosen: Profile) -> None:
        self.vendor = FakeVendor(chosen, SystemClock(), latency_s=LATENCY_S)
        self.vendor.charge_failures = chosen.name == "anticaptcha"
        self.transport: Transport = self.vendor

    async def fault(self, operation: str, fault: str) -> None:
        """Put it into the fake's list."""
        {"create": self.vendor.on_create, "result": self.vendor.on_result, "task": self.vendor.on_task}[
            operation
        ].append(fault)

    async def charges(self, url: str) -> int:
        """Count in the fake's list."""
        return self.vendor.charges.count(url)


class OverHttp:
    """The simulated service."""

    def __init__(self, process: SolvingServiceProcess, vendor: str, transport: Transport) -> None:
        self.process = process
        self.vendor = vendor
        self.transport = transport

    async def fault(self, operation: str, fault: str) -> None:
        """Tell the control page."""
        if fault in ON_THE_WIRE:
            behaviour: dict[str, Any] = {ON_THE_WIRE[fault]: 1.0, "operations": [operation]}
        else:
            on = "result" if operation == "task" else operation
            behaviour = {"errors": [{"code": fault, "on": on}]}
        await self.process.behave(self.vendor, **behaviour)

    async def charges(self, url: str) -> int:
        """Count in the charge log."""
        return sum(row["url"] == url for row in await self.process.charges())


@pytest.fixture(scope="module")
def process() -> Iterator[SolvingServiceProcess]:
    """Run one simulator for the module; only our key is good there."""
    with solving_service("--latency-ms", str(LATENCY_S * 1000), "--seed", "1", "--key", KEY) as started:
        yield started


@pytest.fixture(params=["ucaptcha", "capsolver", "2captcha", "anticaptcha", "capmonster"])
def chosen(request: pytest.FixtureRequest) -> Profile:
    """Each shipped profile of the family that the fake speaks, at a pace that suits a test."""
    return profile(request.param, first_delay_s=0.1, interval_s=0.1)


@pytest.fixture(params=["in memory", "over HTTP"])
async def side(
    request: pytest.FixtureRequest, process: SolvingServiceProcess, chosen: Profile
) -> AsyncIterator[Side]:
    """Both sides of the contract."""
    if request.param == "in memory":
        yield InMemory(chosen)
        return
    await process.behave(chosen.name)
    url = f"{process.url}/{chosen.name}"
    async with http_transport(url, connections=10, connect_timeout_s=30, read_timeout_s=30) as transport:
        yield OverHttp(process, chosen.name, transport)


class Client:
    """The solver's provider on one side."""

    def __init__(self, chosen: Profile, side: Side, key: str = KEY) -> None:
        clock = SystemClock()
        self.broker_clock = BrokerClock(clock)
        self.profile = chosen
        self.provider = Provider(
            chosen,
            key,
            side.transport,
            time_limit_s=60.0,
            clock=clock,
            broker_clock=self.broker_clock,
            emit=lambda _: None,
            proxies={"p": PROXY},
        )

    async def create(self, request: CaptchaRequest) -> wire.CreateReply:
        """Send createTask."""
        return await self.provider.create(request, self.profile.kinds[request.challenge.kind])

    async def result(self, task_id: str, kind: ChallengeKind = V2) -> wire.Ready | wire.Failed:
        """Poll to the end."""
        task = Task(request_id="r", kind=kind, task_id=task_id, created_at_ms=self.broker_clock.now_ms())
        return (await self.provider.harvest(task, self.profile.kinds[kind])).result


@pytest.fixture
def client(chosen: Profile, side: Side) -> Client:
    """Return a client with the good key."""
    return Client(chosen, side)


@pytest.fixture
def request_() -> CaptchaRequest:
    """Return a request whose page nobody else asks for."""
    return a_request(f"job-{next(_numbers)}")


def page(request: CaptchaRequest) -> str:
    """Return the page that a request is for."""
    return request.challenge.page_url


async def test_a_task_is_created_solved_and_charged_once(
    client: Client, side: Side, request_: CaptchaRequest
) -> None:
    """A token comes, once, for one charge; a cost in the reply is the table's or less."""
    created = await client.create(request_)
    assert isinstance(created, wire.Created)
    ready = await client.result(created.task_id)
    assert isinstance(ready, wire.Ready)
    assert len(ready.token or "") >= 8
    price = client.profile.kinds[V2].price
    assert client.provider.cost_of(ready, price) <= price
    assert await side.charges(page(request_)) == 1


async def test_every_kind_on_offer_is_solved(client: Client, side: Side, request_: CaptchaRequest) -> None:
    """The types, fields and answers of the profile are those of the vendor."""
    await solves_all(client, request_.state.id)


@pytest.mark.parametrize("name", ["2captcha-legacy", "captchaai"])
async def test_the_older_family_keeps_the_contract_too(process: SolvingServiceProcess, name: str) -> None:
    """in.php and res.php: every kind, the account, a refusal, a report, a task that fails."""
    old = profile(name, first_delay_s=0.1, interval_s=0.1)
    await process.behave(name)
    url = f"{process.url}/{name}"
    async with http_transport(url, connections=10, connect_timeout_s=30, read_timeout_s=30) as transport:
        side = OverHttp(process, name, transport)
        client = Client(old, side)
        await solves_all(client, name)
        assert isinstance(await client.provider.balance(), wire.Balance)
        stranger = await Client(old, side, "not-a-key").provider.create(a_request(), old.kinds[V2])
        assert isinstance(stranger, wire.Rejected)
        assert stranger.kind is ErrorKind.FATAL
        made = await client.create(a_request("told"))
        assert isinstance(made, wire.Created)
        await client.result(made.task_id)
        if client.provider.takes_reports(V2, good=False):
            assert await client.provider.report(made.task_id, V2, good=False) is None
            again = await client.provider.report(made.task_id, V2, good=True)
            assert isinstance(again, wire.Rejected)
            assert again.code == "ERROR_DUPLICATE_REPORT"
        await side.fault("create", "ERROR: 1003")
        busy = await client.create(a_request("busy"))
        assert isinstance(busy, wire.Rejected)
        assert (busy.code, busy.kind, old.waits[busy.code]) == ("ERROR: 1003", ErrorKind.BUSY, 30.0)
        await side.fault("task", "ERROR_CAPTCHA_UNSOLVABLE")
        made = await client.create(a_request("unsolvable"))
        assert isinstance(made, wire.Created)
        failed = await client.result(made.task_id)
        assert isinstance(failed, wire.Failed)
        assert client.provider.cost_of(failed, 1.0) == 0.0
        for fault in ("html", "lost", "truncated"):
            await side.fault("create", fault)
            assert isinstance(await client.create(a_request(fault)), wire.InDoubt), fault


async def solves_all(client: Client, name: str) -> None:
    """Have one of every kind on offer solved, through the fetcher's proxy where that is needed."""
    on_offer = [kind for kind in client.profile.kinds if client.profile.offer(kind) is not None]
    async with asyncio.TaskGroup() as group:
        for kind in on_offer:
            group.create_task(solves(client, kind, f"{name}-{kind}"))


async def solves(client: Client, kind: ChallengeKind, job_id: str) -> None:
    """Have one of a kind solved, and find in the answer all that a page of that kind wants."""
    plain = a_request(job_id, kind=kind)
    asked = msgspec.structs.replace(plain, identity=Identity(user_agent="Mozilla/5.0", proxy_id="p"))
    made = await client.create(asked)
    assert isinstance(made, wire.Created), (kind, made)
    ready = made.ready or await client.result(made.task_id, kind)
    assert isinstance(ready, wire.Ready), (kind, ready)
    facts = FACTS[kind]
    found = {
        AnswerKind.TOKEN: {"token"} if ready.token else set(),
        AnswerKind.TEXT: {"token"} if ready.token else set(),
        AnswerKind.VALUES: set(ready.values),
        AnswerKind.COOKIES: set(ready.cookies),
    }[facts.answer]
    whole = {AnswerKind.VALUES: facts.fields, AnswerKind.COOKIES: facts.cookies}
    assert found == set(whole.get(facts.answer, ("token",))), kind


async def test_a_wrong_key_is_fatal_and_free(chosen: Profile, side: Side, request_: CaptchaRequest) -> None:
    """Nothing is made for an account that does not exist."""
    reply = await Client(chosen, side, "not-a-key").create(request_)
    assert isinstance(reply, wire.Rejected)
    assert reply.kind is ErrorKind.FATAL
    assert await side.charges(page(request_)) == 0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ERROR_ZERO_BALANCE", ErrorKind.FATAL),
        ("ERROR_NO_SLOT_AVAILABLE", ErrorKind.BUSY),
        ("ERROR_NEVER_SEEN", ErrorKind.UNKNOWN),
    ],
)
async def test_a_refused_task_is_free(
    client: Client, side: Side, request_: CaptchaRequest, code: str, kind: ErrorKind
) -> None:
    """An error reply is a definite refusal (M3); its class is the table's."""
    await side.fault("create", code)
    reply = await client.create(request_)
    assert isinstance(reply, wire.Rejected)
    if client.profile.name == "ucaptcha" and kind is ErrorKind.UNKNOWN:
        assert reply.kind is kind  # its code is in the description only
    else:
        assert (reply.code, reply.kind) == (code, kind)
    assert await side.charges(page(request_)) == 0


async def test_an_unsolvable_task_fails(client: Client, side: Side, request_: CaptchaRequest) -> None:
    """The task is made, polls say in the end that it failed; the books hold at least the charge."""
    await side.fault("task", "ERROR_CAPTCHA_UNSOLVABLE")
    created = await client.create(request_)
    assert isinstance(created, wire.Created)
    failed = await client.result(created.task_id)
    assert isinstance(failed, wire.Failed)
    assert failed.kind is ErrorKind.RETRY
    booked = client.provider.cost_of(failed, client.profile.kinds[V2].price)
    assert (await side.charges(page(request_)) == 0) or booked > 0


async def test_an_unknown_task_is_lost(client: Client) -> None:
    """A task id that the service does not know, or knows no more, is a loss and says so."""
    failed = await client.result("99999999")
    assert isinstance(failed, wire.Failed)
    assert failed.kind is ErrorKind.LOST


@pytest.mark.parametrize(
    ("fault", "charged"), [("html", 0), ("server_error", 0), ("lost", 1), ("truncated", 1)]
)
async def test_what_does_not_answer_createtask_is_in_doubt(
    client: Client, side: Side, request_: CaptchaRequest, fault: str, charged: int
) -> None:
    """M3: from here nobody can tell whether it was charged; sometimes it was."""
    await side.fault("create", fault)
    assert isinstance(await client.create(request_), wire.InDoubt)
    assert await side.charges(page(request_)) == charged


@pytest.mark.parametrize("fault", ["html", "server_error", "lost", "truncated"])
async def test_bad_replies_to_a_poll_do_not_end_it(
    client: Client, side: Side, request_: CaptchaRequest, fault: str
) -> None:
    """A paid task is polled on."""
    created = await client.create(request_)
    assert isinstance(created, wire.Created)
    await side.fault("result", fault)
    result = await client.provider._poll(
        Task(request_id="r", kind=V2, task_id=created.task_id, created_at_ms=0), client.profile.kinds[V2]
    )
    assert isinstance(result, wire.Pending)


async def test_a_closed_door_is_certainly_not_sent(chosen: Profile) -> None:
    """M3: connection refused, or no such host: nothing can have been spent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for host in (f"127.0.0.1:{port}", "no-such-host.invalid"):
            async with http_transport(
                f"http://{host}", connections=1, connect_timeout_s=2, read_timeout_s=2
            ) as transport:
                with pytest.raises(NotSentError):
                    await transport.send(wire.Call(path="/createTask", json={}))
