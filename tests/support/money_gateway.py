"""Stands between solvers and the simulated service, and strikes while a createTask is on its way.

It sees what nobody else can: which purchases are out at this moment. So a kill can be forced into the one
window in which it may cost money, and every kill can say which purchases it hit.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import msgspec
import psutil
from aiohttp import web
from tidegate.clock import SystemClock

CLOCK = SystemClock()
# The journal's record follows the reply within milliseconds; a busy machine may need longer.
_NOTED_S = 5.0


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """One signal: to whom, at which moment of a purchase, and the pages whose purchases were out then.

    ``position`` is ``before`` (createTask had left the solver and did not reach the service), ``after`` (the
    service has charged, its reply is on the way), ``late`` (a moment after the reply), or ``any``.
    """

    at_s: float
    target: str
    kind: str
    position: str
    pages: tuple[str, ...] = ()

    @property
    def is_forced(self) -> bool:
        """Whether it is a kill that fell between createTask and its reply, for certain."""
        return self.kind == "kill" and self.position in ("before", "after")


class Shares(msgspec.Struct, frozen=True):
    """How often a createTask is struck at each position, and how often the solver is stopped for a while."""

    before: float = 0.05
    after: float = 0.14
    late: float = 0.03
    stop: float = 0.02


class Gateway:
    """The way to the service. ``pids`` names the solvers; ``send`` signals one and may refuse to."""

    def __init__(
        self,
        simulator_url: str,
        chance: Random,
        *,
        wanted: int,
        shares: Shares,
        pids: Callable[[], Mapping[int, str]],
        send: Callable[[str, int], bool],
    ) -> None:
        self._simulator_url = simulator_url
        self._chance = chance
        self._wanted = wanted
        self._shares = shares
        self._pids = pids
        self._send = send
        self._began_s = CLOCK.monotonic()
        self._owners: dict[tuple[int, frozenset[int]], str] = {}
        self._out: dict[str, dict[str, float]] = defaultdict(dict)
        self._session: aiohttp.ClientSession | None = None
        self.strikes: list[Strike] = []

    @property
    def forced(self) -> int:
        """How many kills fell between createTask and its reply, for certain."""
        return sum(each.is_forced for each in self.strikes)

    def strike(self, target: str, number: int, position: str = "any") -> bool:
        """Signal a process and take note of what was out; False where it could not be signalled."""
        if not self._send(target, number):
            return False
        now_s = CLOCK.monotonic()
        pages = tuple(page for page, until_s in self._out[target].items() if until_s > now_s)
        self.strikes.append(
            Strike(
                at_s=round(now_s - self._began_s, 2),
                target=target,
                kind="stop" if number == signal.SIGSTOP else "kill",
                position=position,
                pages=pages,
            )
        )
        return True

    async def handle(self, request: web.Request) -> web.Response:
        """Pass a call on, struck or not."""
        body = await request.read()
        if not request.path.endswith("/createTask"):
            return await self._forward(request, body)
        target = self._owner(request)
        page = str(msgspec.json.decode(body)["task"].get("websiteURL"))
        self._out[target][page] = float("inf")
        try:
            return await self._create(request, body, target)
        finally:
            self._forget(target, page)

    async def _create(self, request: web.Request, body: bytes, target: str) -> web.Response:
        position = self._draw()
        if position == "before" and self.strike(target, signal.SIGKILL, "before"):
            return web.Response(status=503)
        reply = await self._forward(request, body)
        if position == "after":
            self.strike(target, signal.SIGKILL, "after")
        elif position == "late":
            delay_s = self._chance.uniform(0, 0.01)
            asyncio.get_running_loop().call_later(delay_s, self.strike, target, signal.SIGKILL, "late")
        elif position == "stop" and self.strike(target, signal.SIGSTOP, "after"):
            await CLOCK.sleep(self._chance.uniform(2.5, 5.0))
            self._send(target, signal.SIGCONT)
        return reply

    def _draw(self) -> str | None:
        draw = self._chance.random()
        if self.forced >= self._wanted:
            return None
        for name in ("before", "after", "late", "stop"):
            draw -= getattr(self._shares, name)
            if draw < 0:
                return name
        return None

    def _forget(self, target: str, page: str) -> None:
        now_s = CLOCK.monotonic()
        out = self._out[target]
        out[page] = now_s + _NOTED_S
        for old in [each for each, until_s in out.items() if until_s <= now_s]:
            del out[old]

    def _owner(self, request: web.Request) -> str:
        """Return which solver holds the other end of the connection."""
        assert request.transport is not None
        port = int(request.transport.get_extra_info("peername")[1])
        pids = self._pids()
        key = (port, frozenset(pids))
        if key not in self._owners:
            self._owners[key] = next((name for pid, name in pids.items() if port in _ports(pid)), "nobody")
        return self._owners[key]

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        url = f"{self._simulator_url}{request.path_qs}"
        kind = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        async with self._session.request(request.method, url, data=body, headers=kind) as reply:
            content = await reply.read()
            return web.Response(status=reply.status, body=content, content_type=reply.content_type)

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Serve on a port of loopback."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.5)
        await runner.setup()
        async with aiohttp.ClientSession() as self._session:
            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
                yield
            finally:
                await runner.cleanup()


def _ports(pid: int) -> set[int]:
    try:
        return {each.laddr.port for each in psutil.Process(pid).net_connections("tcp") if each.laddr}
    except psutil.Error:
        return set()
