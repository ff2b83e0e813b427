"""``python -m support.walls_sites``: sites for the proof of the walls, each on a port of its own.

Clean ones answer every path with a page of its own, after a delay. Challenged ones ask for a token first:
a form whose answer, whatever the token, is the page. ``/count`` of the control port says how often each kind
was asked, so that rates are measured where they happen.
"""

import argparse
import asyncio
import json
import signal

import uvloop
from aiohttp import web
from tidegate.clock import SystemClock
from tidegate_cli.stack.ports import HOST

_BODY = "<!doctype html><title>Page</title><h1>{path}</h1><p>" + "All of this is a page. " * 400
_CHALLENGE = (
    '<!doctype html><form action="{path}" method="post">'
    '<div class="g-recaptcha" data-sitekey="6LcWallsProof"></div>'
    '<input type="hidden" name="g-recaptcha-response"><button>Go on</button></form>'
)
_HTML = {"Content-Type": "text/html; charset=utf-8"}


class Sites:
    """Answers, and counts them."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._clock = SystemClock()
        self.counts = {"clean": 0, "challenged": 0, "opened": 0}

    async def clean(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with the page."""
        await self._clock.sleep(self._delay_s)
        self.counts["clean"] += 1
        return web.Response(text=_BODY.format(path=request.path), headers=_HTML)

    async def challenged(self, request: web.BaseRequest) -> web.StreamResponse:
        """Ask for a token, or take one."""
        if request.method == "POST":
            self.counts["opened"] += 1
            return web.Response(text=_BODY.format(path=request.path), headers=_HTML)
        self.counts["challenged"] += 1
        return web.Response(text=_CHALLENGE.format(path=request.path), status=403, headers=_HTML)

    async def count(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say how often what was answered."""
        return web.json_response(self.counts)


async def _serve(clean: int, challenged: int, delay_s: float) -> None:
    sites = Sites(delay_s)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runners = {
        name: web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=1.0)
        for name, handler in (
            ("clean", sites.clean),
            ("challenged", sites.challenged),
            ("control", sites.count),
        )
    }
    for runner in runners.values():
        await runner.setup()
    try:
        for name, count in (("clean", clean), ("challenged", challenged), ("control", 1)):
            for _ in range(count):
                await web.TCPSite(runners[name], HOST, 0, backlog=1024).start()
        ports = {name: [port for _, port in runner.addresses] for name, runner in runners.items()}
        print(json.dumps({"port": ports}), flush=True)  # noqa: T201 -- the process's interface
        await stop.wait()
    finally:
        for runner in runners.values():
            await runner.cleanup()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clean", type=int, default=200, help="sites without challenges")
    parser.add_argument("--challenged", type=int, default=16, help="sites with nothing else")
    parser.add_argument("--delay-s", type=float, default=1.0, help="a clean site's time for an answer")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments.clean, arguments.challenged, arguments.delay_s))


if __name__ == "__main__":
    main()
