"""A small HTTP server of the embedded stack: says its port on standard output, stops when it is told to."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeAlias

import uvloop
from aiohttp import web
from tidegate.clock import Clock

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_BACKLOG = 1_024


class Listener:
    """Serves one handler on one address until SIGTERM or SIGINT."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._outages: asyncio.Queue[float] = asyncio.Queue(maxsize=1)

    def refuse_for(self, seconds: float) -> None:
        """Close the door for a while: connections are refused, open ones are closed. One outage at a time."""
        if not self._outages.full():
            self._outages.put_nowait(seconds)

    async def run(self, handler: Handler) -> None:
        """Serve; print ``{"port": n}`` as one line on standard output once connections are accepted."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = web.Server(handler, access_log=None, keepalive_timeout=75.0)
        runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = await self._open(runner)
            print(f'{{"port": {self._port}}}', flush=True)  # noqa: T201 -- this is the process's interface
            async with asyncio.TaskGroup() as tasks:
                outage = tasks.create_task(self._refuse_when_told(server, runner, site))
                await stop.wait()
                outage.cancel()
        finally:
            await runner.cleanup()

    async def _open(self, runner: web.ServerRunner) -> web.TCPSite:
        site = web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG)
        await site.start()
        self._port = runner.addresses[0][1]
        return site

    async def _refuse_when_told(
        self, server: web.Server, runner: web.ServerRunner, site: web.TCPSite
    ) -> None:
        while True:
            seconds = await self._outages.get()
            await site.stop()
            await server.shutdown(timeout=1.0)
            await self._clock.sleep(seconds)
            site = await self._open(runner)


def run(main: Coroutine[None, None, None]) -> None:
    """Run an asynchronous main on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
