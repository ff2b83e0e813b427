"""Stands between solvers and the simulated service, and strikes while a createTask is on its way.

It sees what nobody else can: which purchases are out at this moment. So a kill can be forced into the one
window in which it may cost money, and every kill can say which purchases it hit. A purchase is out from its
createTask until its task is first asked after, because a solver polls once the journal has the task.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from weakref import WeakKeyDictionary

import aiohttp
import msgspec
import psutil
from aiohttp import web
from tidegate.clock import SystemClock

CLOCK = SystemClock()
# A purchase that nobody asks after for so long, and whose solver lives, came to nothing.
_FORGOTTEN_S = 60.0


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

    before: float = 0.06
    after: float = 0.18
    late: float = 0.03
    stop: float = 0.02


class Gateway:
    """The way to the service. ``pids`` names the solvers; ``send`` signals one and may refuse to.

    Who is stopped is stopped for longer than ``session_s``, so that others take over meanwhile.
    """

    def __init__(
        self,
        simulator_url: str,
        chance: Random,
        *,
        wanted: int,
        shares: Shares,
        session_s: float,
        pids: Callable[[], Mapping[int, str]],
        send: Callable[[str, int], bool],
    ) -> None:
        self._simulator_url = simulator_url
        self._chance = chance
        self._wanted = wanted
        self._shares = shares
        self._session_s = session_s
        self._pids = pids
        self._send = send
        self._began_s = CLOCK.monotonic()
        self._owners: WeakKeyDictionary[object, tuple[int, str]] = WeakKeyDictionary()
        self._killed: set[int] = set()
        # The pages whose purchases are out, with when they began, by solver; and whose page a task is for.
        self._out: dict[str, dict[str, float]] = defaultdict(dict)
        self._unasked: dict[str, tuple[str, str]] = {}
        self._session: aiohttp.ClientSession | None = None
        self.strikes: list[Strike] = []

    @property
    def forced(self) -> int:
        """How many kills fell between createTask and its reply, for certain."""
        return sum(each.is_forced for each in self.strikes)

    def strike(self, target: str, number: int, position: str = "any") -> bool:
        """Signal a process and take note of what was out; False where it could not be signalled."""
        pids = [pid for pid, name in self._pids().items() if name == target]
        if not self._send(target, number):
            return False
        now_s = CLOCK.monotonic()
        out = self._out[target]
        self.strikes.append(
            Strike(
                at_s=round(now_s - self._began_s, 2),
                target=target,
                kind="stop" if number == signal.SIGSTOP else "kill",
                position=position,
                pages=tuple(page for page, began_s in out.items() if now_s - began_s < _FORGOTTEN_S),
            )
        )
        if number == signal.SIGKILL:
            self._killed.update(pids)
            out.clear()
        return True

    async def handle(self, request: web.Request) -> web.Response:
        """Pass a call on, struck or not."""
        body = await request.read()
        if request.path.endswith("/getTaskResult"):
            self._asked_after(str(msgspec.json.decode(body).get("taskId")))
        if not request.path.endswith("/createTask"):
            return await self._forward(request, body)
        page = str(msgspec.json.decode(body)["task"].get("websiteURL"))
        owner = self._owner(request)
        if owner is None or owner[0] in self._killed:
            # It had left the solver when that was killed, and comes to be read only now.
            self._was_out(None if owner is None else owner[1], page)
            return await self._forward(request, body)
        target = owner[1]
        if _is_stopped(owner[0]):
            self._was_out(target, page, kind="stop")  # it, too, had left before
        self._out[target][page] = CLOCK.monotonic()
        return await self._create(request, body, target, page)

    async def _create(self, request: web.Request, body: bytes, target: str, page: str) -> web.Response:
        position = self._draw()
        if position == "before" and self.strike(target, signal.SIGKILL, "before"):
            return web.Response(status=503)
        reply = await self._forward(request, body)
        self._replied(reply, target, page)
        if position == "after":
            self.strike(target, signal.SIGKILL, "after")
        elif position == "late":
            delay_s = self._chance.uniform(0, 0.01)
            asyncio.get_running_loop().call_later(delay_s, self.strike, target, signal.SIGKILL, "late")
        elif position == "stop" and self.strike(target, signal.SIGSTOP, "after"):
            await CLOCK.sleep(self._chance.uniform(1.25, 2.0) * self._session_s)
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

    def _replied(self, reply: web.Response, target: str, page: str) -> None:
        assert isinstance(reply.body, bytes)
        task = msgspec.json.decode(reply.body).get("taskId") if reply.status == 200 else None
        if task:
            self._unasked[str(task)] = target, page
        else:
            self._out[target].pop(page, None)

    def _asked_after(self, task: str) -> None:
        target, page = self._unasked.pop(task, ("", ""))
        self._out[target].pop(page, None)

    def _was_out(self, target: str | None, page: str, kind: str = "kill") -> None:
        """Add a purchase to the signal that it was under way at: its sender's last, else the last of all."""
        for number in range(len(self.strikes) - 1, -1, -1):
            strike = self.strikes[number]
            if strike.kind == kind and target in (None, strike.target) and "solver" in strike.target:
                self.strikes[number] = msgspec.structs.replace(strike, pages=(*strike.pages, page))
                return

    def _owner(self, request: web.Request) -> tuple[int, str] | None:
        """Return the process and the solver at the other end of the connection; None: it is gone."""
        transport = request.transport
        assert transport is not None
        if transport not in self._owners:
            port = int(transport.get_extra_info("peername")[1])
            for pid, name in self._pids().items():
                if port in _ports(pid):
                    self._owners[transport] = pid, name
        return self._owners.get(transport)

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


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _ports(pid: int) -> set[int]:
    try:
        return {each.laddr.port for each in psutil.Process(pid).net_connections("tcp") if each.laddr}
    except psutil.Error:
        return set()
