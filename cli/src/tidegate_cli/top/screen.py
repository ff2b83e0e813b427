"""The board on a terminal: drawn in place, scrolled and left by keys."""

import asyncio
import os
import re
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from tidegate.patience import unless

from tidegate_cli.top.board import board
from tidegate_cli.top.state import State

_STEPS = {b"j": 1, b"\x1b[B": 1, b"\x1bOB": 1, b"k": -1, b"\x1b[A": -1, b"\x1bOA": -1}
_PAGES = {b" ": 1, b"\x1b[6~": 1, b"b": -1, b"\x1b[5~": -1}
_KEYS = "space, b, j, k: scroll, q: leave"
# An arrow is several bytes.
_KEY = re.compile(rb"\x1b[\[O]\d*[A-Za-z~]|.", re.DOTALL)
_READ = 64


class Screen:
    """What is drawn, from which line on."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.trouble = ""
        self._from = 0
        self._height = 0

    def take(self, state: State | str) -> None:
        """Draw this from now on; a text says why nothing new came."""
        if isinstance(state, str):
            self.trouble = state
        else:
            self.state, self.trouble = state, ""

    def press(self, key: bytes) -> bool:
        """Take a key; True where it asks to leave."""
        self._from += _STEPS.get(key, 0) + _PAGES.get(key, 0) * max(1, self._height - 2)
        return key in (b"q", b"Q")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as many lines as there is room for, and say how many there are."""
        self._height = height = options.height or console.height
        if self.state is None:
            return
        content = board(self.state, options.max_width, trouble=self.trouble)
        every = console.render_lines(content, options.update(height=None), pad=False)
        room = height if len(every) <= height else height - 1
        self._from = max(0, min(self._from, len(every) - room))
        for number, line in enumerate(every[self._from : self._from + room]):
            if number:
                yield Segment.line()
            yield from line
        if room < len(every):
            shown = f"lines {self._from + 1} to {self._from + room} of {len(every)}; {_KEYS}"
            yield Segment.line()
            yield Segment(shown[: options.max_width], console.get_style("dim"))


async def show(console: Console, states: AsyncIterator[State | str], *, keyboard: bool) -> None:
    """Draw states until ``q``; a text among them is why the latest is an old one.

    Raises what ``states`` raises. Ctrl-C ends it as it ends every command. ``keyboard`` says that standard
    input is one.
    """
    left = asyncio.Event()
    # The first may be an error: it belongs on the screen that stays.
    first = await anext(states)
    with _keyboard() if keyboard else nullcontext():
        await unless(left, _draw(console, first, states, left, keyboard=keyboard))


async def _draw(
    console: Console,
    first: State | str,
    states: AsyncIterator[State | str],
    left: asyncio.Event,
    *,
    keyboard: bool,
) -> None:
    screen = Screen()
    loop = asyncio.get_running_loop()
    with Live(screen, console=console, screen=True, auto_refresh=False) as live:

        def typed() -> None:
            read = os.read(sys.stdin.fileno(), _READ)
            # Nothing at all is a terminal that has gone.
            if not read or any(screen.press(key) for key in _KEY.findall(read)):
                left.set()
            live.refresh()

        def put(state: State | str) -> None:
            screen.take(state)
            live.refresh()

        loop.add_signal_handler(signal.SIGWINCH, live.refresh)
        if keyboard:
            loop.add_reader(sys.stdin.fileno(), typed)
        try:
            put(first)
            async for state in states:
                put(state)
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_reader(sys.stdin.fileno())


@contextmanager
def _keyboard() -> Iterator[None]:
    """Read keys as they are pressed and show none of them; all is as before at the end."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
