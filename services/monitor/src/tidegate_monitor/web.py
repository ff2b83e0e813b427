"""The live page: three files, the state as JSON, and the same as a stream of events.

The files hold no data, so they are for everybody; the data ask for the token where there is one. A page of
another origin cannot read them: browsers keep it from that, and where there is no token, or the page is
served on the loopback interface, names that merely resolve to it are refused. In a container the page is
bound to all interfaces while only the host's loopback leads to it: what it is bound to says nothing of that.
"""

import asyncio
import contextlib
import hmac
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from importlib import resources

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from tidegate.clock import Clock

from tidegate_monitor.view import View

_MOST_VIEWERS = 50
_EVERY_S = 2.0
_WRITE_TIMEOUT_S = 10.0
_FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Pages:
    """The handlers. ``state`` returns what is shown now."""

    def __init__(
        self, state: Callable[[], View], *, token: str, host: str, clock: Clock, hosts: Iterable[str] = ()
    ) -> None:
        """Take the names that requests may ask for, besides those of the loopback interface, as ``hosts``."""
        self._state = state
        self._token = token.encode()
        self._by_name = not token or _is_loopback(host)
        self._hosts = {each.lower() for each in hosts}
        self._clock = clock
        self._viewers = 0

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard])
        for path, (name, content_type) in _FILES.items():
            app.router.add_get(path, _file(name, content_type))
        app.router.add_get("/state", self._one)
        app.router.add_get("/stream", self._many)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._by_name and not self._is_ours(_host_of(request.host).lower()):
            return web.Response(
                status=421, text="This page is known by no such name: TIDEGATE_MONITOR__HOSTS."
            )
        if request.path not in _FILES and not self._admits(request):
            return web.Response(status=401, headers={**_HEADERS, "WWW-Authenticate": "Bearer"})
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _is_ours(self, name: str) -> bool:
        return name in self._hosts or _is_loopback(name)

    def _admits(self, request: web.Request) -> bool:
        if not self._token:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)

    async def _one(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._state()), content_type="application/json")

    async def _many(self, request: web.Request) -> web.StreamResponse:
        if self._viewers >= _MOST_VIEWERS:
            return web.Response(status=503, text="Too many look at this page already.")
        self._viewers += 1
        try:
            response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
            await response.prepare(request)
            with contextlib.suppress(ConnectionError, TimeoutError):
                while True:
                    async with asyncio.timeout(_WRITE_TIMEOUT_S):
                        await response.write(b"data: " + msgspec.json.encode(self._state()) + b"\n\n")
                    await self._clock.sleep(_EVERY_S)
        finally:
            self._viewers -= 1
        return response


@asynccontextmanager
async def page_server(pages: Pages, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the body runs. Raises OSError where the port is taken."""
    runner = web.AppRunner(pages.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _file(name: str, content_type: str) -> Handler:
    body = resources.files("tidegate_monitor").joinpath("page", name).read_bytes()

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return serve


def _host_of(header: str) -> str:
    """Return the host of a Host header, without its port."""
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
