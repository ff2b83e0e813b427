"""The work of ``tidegate top``, with everything heavy imported."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError, RemoteError
from tidegate.settings import load
from tidegate_monitor.settings import Settings

from tidegate_cli.commands._execute import Place
from tidegate_cli.exits import Exit
from tidegate_cli.installation import latest
from tidegate_cli.stack.folder import addresses
from tidegate_cli.top.board import board, lines
from tidegate_cli.top.feed import Feed, Lost, follow_again, session
from tidegate_cli.top.screen import show
from tidegate_cli.top.state import State, decode


async def top_main(*, url: str | None, once: bool, as_json: bool, data: Path | None, place: Place) -> int:
    """Ask the monitor and show what it says, until interrupted or left."""
    own = load(Settings).monitor
    where = page_of(url, data, own.port)
    console = Console()
    async with session() as connections:
        feed = Feed(connections, where, own.token.get_secret_value())
        if once:
            _print(console, await feed.once(), as_json=as_json)
            return Exit.OK
        place.when_interrupted = Exit.OK
        bodies = follow_again(feed, SystemClock())
        if console.is_terminal and not as_json:
            await show(console, _states(bodies), keyboard=sys.stdin.isatty())
            return Exit.OK
        async for body in bodies:
            if isinstance(body, Lost):
                raise RemoteError(body.why)
            _print(console, body, as_json=as_json)
    return Exit.OK


def page_of(url: str | None, data: Path | None, port: int) -> str:
    """Return the page's address, with a slash at its end. Raises ConfigurationError where there is none."""
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"--url: {url!r} is no http or https address")
        return url.rstrip("/") + "/"
    folder = latest() if data is None else data
    running = None if folder is None else addresses(folder)
    if running is not None and running.monitor_url is not None:
        return running.monitor_url
    if data is not None:
        raise ConfigurationError(f"No stack with a monitor is running on {data}.")
    return f"http://localhost:{port}/"


async def _states(bodies: AsyncIterator[bytes | Lost]) -> AsyncIterator[State | str]:
    async for body in bodies:
        yield "The monitor does not answer; trying again…" if isinstance(body, Lost) else decode(body)


def _print(console: Console, body: bytes, *, as_json: bool) -> None:
    state = decode(body)
    if as_json:
        print(body.decode(), flush=True)  # noqa: T201 -- the output
    elif console.is_terminal:
        console.print(board(state, console.width))
    else:
        print(*lines(state, console.width), sep="\n", end="\n\n", flush=True)  # noqa: T201 -- the output
