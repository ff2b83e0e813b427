"""What the fetcher's tests share: records, a built fetcher, a little web server, the challenge fixtures."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import zstandard
from aiohttp import web
from multidict import CIMultiDict
from tidegate.captcha_records import CaptchaRequest, CaptchaSolution, Challenge, Identity, SolutionStatus
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.clock import BrokerClock, Clock, SystemClock
from tidegate.consume.service import Ack, Work
from tidegate.events import Event
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.process import Context
from tidegate.records import HEADER_PAGE, Inbound, PageMeta, encode
from tidegate.testing.fake_broker import FakeBroker, FakeReader
from tidegate.topics import Topic
from tidegate_fetcher import tasks
from tidegate_fetcher.app import build
from tidegate_fetcher.detection import Detector, Finding
from tidegate_fetcher.handler import Fetcher
from tidegate_fetcher.images import ImageRule
from tidegate_fetcher.settings import FetcherSettings, Settings
from tidegate_fetcher.tasks import Task
from yarl import URL

FIXTURES = Path(__file__).parents[1] / "fixtures" / "challenges"
FAMILIES = tuple(sorted(path.stem for path in FIXTURES.glob("*.toml")))
PAGE_URL = "https://shop.example/page?id=1"


def fixtures(family: str, group: str) -> list[dict[str, Any]]:
    """Return the rows ``challenge``, ``blocked`` or ``page`` of a family, with their padding put in.

    Those in the folder ``unseen`` were written by somebody who had not seen the signatures.
    """
    rows: list[dict[str, Any]] = []
    for folder in (FIXTURES, FIXTURES / "unseen"):
        path = folder / f"{family}.toml"
        if path.exists():
            unseen = folder is not FIXTURES
            rows += [{**row, "unseen": unseen} for row in tomllib.loads(path.read_text()).get(group, [])]
    for row in rows:
        padding = ("lorem ipsum " * 20_000)[: row.get("padding", 0)]
        row["html"] = row["html"].strip().replace("{padding}", padding)
    return rows


def look(detector: Detector, row: Mapping[str, Any]) -> Finding | None:
    """Look at a fixture."""
    kind = row.get("type", "text/html; charset=utf-8")
    headers = CIMultiDict({**({"Content-Type": kind} if kind else {}), **row.get("headers", {})})
    image = row.get("image")
    return detector.find(
        row["html"].encode(),
        status=row.get("status", 200),
        headers=headers,
        url=URL(row.get("url", PAGE_URL)),
        cookies=row.get("cookies"),
        image=None if image is None else ImageRule(**image),
    )


def inbound(value: bytes | str, *, topic: str = Topic.URLS, partition: int = 0, **fields: Any) -> Inbound:
    """Return a consumed record; ``headers``, ``timestamp_ms`` and ``offset`` may be given."""
    clock = SystemClock()
    return Inbound(
        topic=topic,
        partition=partition,
        offset=fields.get("offset", 7),
        timestamp_ms=fields.get("timestamp_ms", clock.wall_ms()),
        key=None,
        value=value.encode() if isinstance(value, str) else value,
        headers=fields.get("headers", {}),
    )


def job(url: str, **fields: Any) -> bytes:
    """Return a job as a producer writes it."""
    return msgspec.json.encode({"url": url, **fields})


class NoKafka:
    """The fetcher writes nothing by itself."""

    async def send(self, record: Outgoing) -> Ack:
        """Fail."""
        raise AssertionError


@asynccontextmanager
async def fetcher(
    *,
    events: list[Event] | None = None,
    clock: Clock | None = None,
    partitions: int = 1,
    broker: FakeBroker | None = None,
    **settings: Any,
) -> AsyncIterator[Fetcher]:
    """Yield a fetcher that may ask private addresses, unless told otherwise; it follows ``broker``'s runs.

    It asks for no robots.txt, unless told so: the little sites count what they are asked.
    """
    clock = clock or SystemClock()
    section = FetcherSettings(**{"allow_private": True, "robots": "ignore", **settings})
    context = Context(
        settings=Settings(fetcher=section),
        emit=(events if events is not None else []).append,
        clock=clock,
        broker_clock=BrokerClock(clock),
        random=Random(1),
        sink=NoKafka(),
        reader=FakeReader(broker or FakeBroker(clock)),
        partitions=partitions,
    )
    async with build(context) as service:
        assert isinstance(service, Fetcher)
        yield service


async def run(service: Fetcher, value: bytes | str, **fields: Any) -> Outcome:
    """Decode and handle a record."""
    return await service.handle(service.decode(inbound(value, **fields)))


def decoded(service: Fetcher, value: bytes | str, **fields: Any) -> Work[Task]:
    """Decode a record."""
    return service.decode(inbound(value, **fields))


class Page(msgspec.Struct, frozen=True):
    """A page row as the storer would read it."""

    body: bytes
    meta: PageMeta
    record: Outgoing


def sent(outcome: Outcome, topic: Topic) -> list[Outgoing]:
    """Return the records of an outcome that go to a topic."""
    records = outcome.outgoing if isinstance(outcome, Done) else outcome.besides
    return [record for record in records if record.topic == topic]


def page_of(outcome: Outcome) -> Page:
    """Return the page of an outcome that is one."""
    assert isinstance(outcome, Done), outcome
    assert not sent(outcome, Topic.CAPTCHA_REQUESTS)
    (record,) = sent(outcome, Topic.PAGES)
    assert record.value is not None
    meta = msgspec.json.decode(dict(record.headers)[HEADER_PAGE], type=PageMeta)
    return Page(zstandard.ZstdDecompressor().decompress(record.value), meta, record)


def request_of(outcome: Outcome) -> CaptchaRequest:
    """Return the captcha request of an outcome that is one."""
    assert isinstance(outcome, Done), outcome
    assert not sent(outcome, Topic.PAGES)
    (record,) = sent(outcome, Topic.CAPTCHA_REQUESTS)
    assert record.value is not None
    return msgspec.json.decode(record.value, type=CaptchaRequest)


def solution(request: CaptchaRequest, token: str | None = "good", **fields: Any) -> bytes:
    """Return the solver's answer to a request; solved, unless ``status`` says otherwise."""
    values = {
        "status": SolutionStatus.SOLVED,
        "provider": "sim",
        "cost": 0.002,
        "lifetime_s": 110.0,
        **fields,
    }
    return encode(CaptchaSolution(request=request, token=token, **values))


def solution_of(challenge: Challenge) -> CaptchaSolution:
    """Return a made-up answer to a challenge, of the form that its kind's answers have."""
    facts = FACTS[challenge.kind]
    work = tasks.read(inbound(job(challenge.page_url)), 1 << 20)
    request = CaptchaRequest(
        request_id="r",
        challenge=challenge,
        identity=Identity(user_agent="agent"),
        lifetime_s=60.0,
        original=work.job.original,
        state=work.job.state,
    )
    return CaptchaSolution(
        status=SolutionStatus.SOLVED,
        request=request,
        token="t" if facts.answer in (AnswerKind.TOKEN, AnswerKind.TEXT) else None,
        values={name: "v" for name in facts.fields if facts.answer is AnswerKind.VALUES},
        cookies=dict.fromkeys(facts.cookies, "c"),
        lifetime_s=60.0,
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def site(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve every path by one handler on a free port of loopback; yield the base URL."""
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    listener = web.TCPSite(runner, host, 0)
    await listener.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def routed(routes: Mapping[str, web.Response | Handler]) -> Handler:
    """Return a handler that answers paths by a table; responses are made anew for each request."""

    async def handle(request: web.Request) -> web.StreamResponse:
        found = routes.get(request.path)
        if found is None:
            return web.Response(status=404, text="nothing here")
        if not isinstance(found, web.Response):
            return await found(request)
        return web.Response(status=found.status, body=found.body, headers=found.headers)

    return handle


async def raw_server(answer: bytes, *, close: bool = True) -> asyncio.Server:
    """Answer every connection with these bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if close:
            writer.close()
        else:
            await reader.read()
            writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", 0)
