"""The live page over HTTP: what is open, what asks for the token, and what a browser is told."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import aiohttp
import msgspec
import pytest
from aiohttp import web
from support.monitor_states import busy, shown
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError, RemoteError
from tidegate.testing.manual_clock import ManualClock
from tidegate_cli.commands._execute import Place
from tidegate_cli.commands._top import top_main
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.top.feed import Feed, follow_again, session
from tidegate_monitor.alerts import Alert
from tidegate_monitor.outlet import Webhook
from tidegate_monitor.view import View
from tidegate_monitor.web import Pages, page_server

STATE = {"ready": True, "name": "<script>alert(1)</script>"}


@asynccontextmanager
async def served(token: str = "", state: View = STATE) -> AsyncIterator[str]:
    """Serve a page and yield its address."""
    port = PortPool().take()
    pages = Pages(lambda: state, token=token, host=HOST, clock=SystemClock())
    async with page_server(pages, HOST, port):
        yield f"http://{HOST}:{port}"


async def test_the_files_are_open_and_the_data_ask_for_the_token() -> None:
    """The files hold nothing; the state and the stream do."""
    async with served("secret") as url, aiohttp.ClientSession() as session:
        for path in ("/", "/style.css", "/page.js"):
            async with session.get(url + path) as answer:
                assert answer.status == 200
        for path in ("/state", "/stream"):
            async with session.get(url + path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
            async with session.get(url + path, headers={"Authorization": "Bearer wrong"}) as answer:
                assert answer.status == 401
        async with session.get(url + "/state", headers={"Authorization": "Bearer secret"}) as answer:
            assert await answer.json() == STATE


async def test_every_answer_tells_the_browser_to_load_nothing_from_elsewhere() -> None:
    """And neither to frame it, nor to guess types, nor to keep it."""
    async with served() as url, aiohttp.ClientSession() as session:
        for path in ("/", "/style.css", "/page.js", "/state", "/stream"):
            async with session.get(url + path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_stream_says_the_state_as_events() -> None:
    """One line of JSON each."""
    async with served() as url, aiohttp.ClientSession() as session, session.get(url + "/stream") as answer:
        assert answer.content_type == "text/event-stream"
        line = await answer.content.readline()
        assert msgspec.json.decode(line.removeprefix(b"data: ")) == STATE
        assert await answer.content.readline() == b"\n"


@pytest.mark.parametrize(("name", "status"), [("evil.example", 421), ("localhost", 200), ("[::1]", 200)])
async def test_a_name_that_merely_resolves_to_loopback_is_refused(name: str, status: int) -> None:
    """A hostile page cannot read it by a name of its own that it lets point here."""
    host = {"Host": f"{name}:8095"}
    async with (
        served() as url,
        aiohttp.ClientSession() as session,
        session.get(url + "/state", headers=host) as answer,
    ):
        assert answer.status == status


@pytest.mark.parametrize(
    ("name", "token", "status"),
    [
        ("evil.example", "", 421),
        ("Tide.Example", "", 200),
        ("localhost", "", 200),
        ("evil.example", "t", 200),
    ],
)
async def test_in_a_container_names_are_looked_at_where_there_is_no_token(
    name: str, token: str, status: int
) -> None:
    """There the page is bound to all interfaces, and only the host's loopback leads to it."""
    port = PortPool().take()
    pages = Pages(lambda: STATE, token=token, host="0.0.0.0", clock=SystemClock(), hosts=("tide.example",))
    headers = {"Host": f"{name}:8095", "Authorization": "Bearer t"}
    async with (
        page_server(pages, HOST, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{port}/state", headers=headers) as answer,
    ):
        assert answer.status == status


async def test_a_terminal_reads_it_as_a_browser_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once and as a stream, with the token; a wrong one, a wrong name and a wrong place are told apart."""
    state = shown(busy)
    async with served("secret", state) as url, session() as connections:
        right, wrong = Feed(connections, f"{url}/", "secret"), Feed(connections, f"{url}/", "")
        assert msgspec.json.decode(await right.once()) == state
        async with aclosing(follow_again(right, SystemClock())) as said:
            body = await anext(said)
        assert isinstance(body, bytes)
        assert msgspec.json.decode(body) == state
        with pytest.raises(ConfigurationError, match="TOKEN_FILE"):
            await wrong.once()
        with pytest.raises(ConfigurationError, match="TOKEN_FILE"):
            await anext(follow_again(wrong, SystemClock()))
        with pytest.raises(RemoteError, match="status 404"):
            await Feed(connections, f"{url}/elsewhere/", "secret").once()
        monkeypatch.setenv("TIDEGATE_MONITOR__TOKEN", "secret")
        show = partial(top_main, url=url, once=True, data=None, place=Place())
        assert await show(as_json=False) == 0
        assert "1 warning" in capsys.readouterr().out.splitlines()[0]
        assert await show(as_json=True) == 0
        assert msgspec.json.decode(capsys.readouterr().out) == state
    with pytest.raises(RemoteError, match="No monitor answers"):
        await show(as_json=False)


async def test_a_terminal_is_told_why_a_name_is_refused() -> None:
    """As a browser is, by the same status."""
    async with served() as url, session() as connections:
        feed = Feed(connections, f"{url}/", "")
        feed._headers["Host"] = "evil.example"
        with pytest.raises(RemoteError, match="TIDEGATE_MONITOR__HOSTS"):
            await feed.once()


class Hasty(ManualClock):
    """A clock by which every pause is over at once."""

    async def sleep(self, seconds: float) -> None:
        """Do not wait."""
        self.advance(seconds)


ALERT = Alert(
    rule="captcha_rate",
    subject="",
    severity="critical",
    state="fired",
    value=0.41,
    sample=100,
    since_ms=1,
    at_ms=1,
    summary="S.",
    action="A.",
)


@pytest.mark.parametrize(
    ("answers", "error"), [([200], None), ([500, 503, 204], None), ([500] * 3, "status 500")]
)
async def test_a_webhook_gets_three_tries(answers: list[int], error: str | None) -> None:
    """As JSON; what fails is told without the address."""
    bodies: list[dict[str, object]] = []

    async def hook(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(status=answers[len(bodies) - 1])

    port = PortPool().take()
    app = web.Application()
    app.router.add_post("/secret", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        async with aiohttp.ClientSession() as session:
            webhook = Webhook(session, f"http://{HOST}:{port}/secret", 5.0, Hasty())
            assert await webhook.post(ALERT) == error
    finally:
        await runner.cleanup()
    assert len(bodies) == len(answers)
    assert bodies[0]["alert"] == msgspec.to_builtins(ALERT)
    assert str(bodies[0]["text"]).startswith("[critical] S.")
