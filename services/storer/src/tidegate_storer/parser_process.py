"""A parser's process as its parent sees it: given pages in chunks, it answers them one by one.

Answers are settled as they are read, without a task that wakes up for each of them, and one timer watches
over a chunk: thousands of pages a second come through here.
"""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import cast

import msgspec
from tidegate.errors import ConfigurationError

from tidegate_storer.parser_worker import LENGTH, LENGTHS, Answer, Ready, Task

_START_S = 60.0
_HIDDEN = "TIDEGATE_"
# Fields, links and what is around them are far below; more is a parser that writes where it must not.
_MAX_FRAME_BYTES = 16 << 20
# How long a process whose socket has closed is given to end by itself: its exit code says what it died of.
_LAST_BREATH_S = 1.0
# A timer that comes so late says that this process stood still, and nothing of the page.
_STOOD_STILL_S = 1.0

_encoder = msgspec.msgpack.Encoder()
_ANSWER = msgspec.msgpack.Decoder(Answer)
_READY = msgspec.msgpack.Decoder(Ready)


class Page(msgspec.Struct, frozen=True):
    """What is sent: who parses it, and the body."""

    task: Task
    body: bytes


class Stop(Enum):
    """Why a process answers no more pages."""

    DIED = "died"
    TOO_SLOW = "too slow"
    OUT_OF_MEMORY = "out of memory"


class DiedError(Exception):
    """The process is gone, and nobody knows why."""


class ParserProcess(asyncio.Protocol):
    """One process and the socket to it."""

    _process: Process
    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._expected = 0
        self._take: Callable[[bytes], Stop | None] = _nobody_asked
        self._done: asyncio.Future[Stop | None] | None = None
        self._moved_at = 0.0
        self._gone = False

    @classmethod
    async def start(cls, registry: Mapping[str, str], memory_mb: int) -> "ParserProcess":
        """Start a process. Raises ConfigurationError for parsers that cannot be imported.

        OSError, TimeoutError and DiedError may pass.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # A parser must not see passwords.
            environment = {k: v for k, v in os.environ.items() if not k.startswith(_HIDDEN)}
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tidegate_storer.parser_worker",
                str(theirs.fileno()),
                str(os.getpid()),
                str(memory_mb),
                msgspec.json.encode(registry).decode(),
                stdin=DEVNULL,
                stdout=DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        try:
            _, self = await asyncio.get_running_loop().create_connection(cls, sock=ours)
        except BaseException:
            ours.close()
            await _end(process)
            raise
        self._process = process
        try:
            broken = await self._greeting()
        except BaseException:
            await self.end()
            raise
        if broken:
            await self.end()
            problems = "; ".join(f"{name}: {problem}" for name, problem in broken.items())
            raise ConfigurationError(f"parsers cannot be imported: {problems}")
        return self

    async def work(
        self, pages: Sequence[Page], settle: Callable[[Answer], None], timeout_s: float
    ) -> Stop | None:
        """Have pages parsed; ``settle`` is given each answer in the order of the pages.

        Returns None when all are answered, else why the next one is not. ``timeout_s`` is for one page.
        """

        def take(frame: bytes) -> Stop | None:
            answer = _ANSWER.decode(frame)
            if answer.failure is not None and answer.failure.out_of_memory:
                return Stop.OUT_OF_MEMORY
            settle(answer)
            return None

        pieces = []
        for page in pages:
            task = _encoder.encode(page.task)
            pieces += [LENGTHS.pack(len(task), len(page.body)) + task, page.body]
        return await self._frames(take, len(pages), timeout_s, pieces)

    async def end(self) -> int:
        """Kill the process if it still lives; return its exit code."""
        grace_s = _LAST_BREATH_S if self._gone else 0.0
        self._transport.abort()
        return await _end(self._process, grace_s)

    async def _greeting(self) -> dict[str, str]:
        """Return the parsers that cannot be imported, with the reason."""
        greeting: list[Ready] = []

        def take(frame: bytes) -> None:
            greeting.append(_READY.decode(frame))

        stop = await self._frames(take, 1, _START_S, [])
        if stop is Stop.TOO_SLOW:
            raise TimeoutError
        if stop is not None:
            raise DiedError
        return greeting[0].broken

    async def _frames(
        self, take: Callable[[bytes], Stop | None], count: int, timeout_s: float, pieces: list[bytes]
    ) -> Stop | None:
        """Send, and give so many frames to ``take``; return why it is not all of them."""
        self._take, self._expected = take, count
        self._done = self._loop.create_future()
        self._moved_at = self._loop.time()
        self._arm(timeout_s, timeout_s)
        try:
            if pieces and not self._gone:
                self._transport.writelines(pieces)
            self._read()
            return await self._done
        finally:
            self._timer.cancel()
            self._done = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        """The process has gone, or was ended."""
        self._gone = True
        self._read()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._received += data
        self._read()

    def _read(self) -> None:
        if self._done is None or self._done.done():
            return
        stop = self._take_frames()
        if stop is None and self._expected and self._gone:
            stop = Stop.DIED
        if stop is not None or not self._expected:
            self._done.set_result(stop)

    def _take_frames(self) -> Stop | None:
        received, at = self._received, 0
        stop: Stop | None = None
        while stop is None and self._expected and len(received) - at >= LENGTH.size:
            end = at + LENGTH.size + LENGTH.unpack_from(received, at)[0]
            if end - at > _MAX_FRAME_BYTES:
                return Stop.DIED
            if end > len(received):
                break
            try:
                stop = self._take(bytes(received[at + LENGTH.size : end]))
            except msgspec.DecodeError:
                return Stop.DIED  # a parser has written where it must not
            self._expected -= stop is None
            self._moved_at = self._loop.time()
            at = end
        del received[:at]
        return stop

    def _arm(self, wait_s: float, timeout_s: float) -> None:
        self._timer = self._loop.call_later(wait_s, self._look, self._loop.time() + wait_s, timeout_s)

    def _look(self, due: float, timeout_s: float) -> None:
        now = self._loop.time()
        if self._done is None or self._done.done():
            return
        if now - due > _STOOD_STILL_S:
            self._moved_at = now
        left_s = self._moved_at + timeout_s - now
        if left_s > 0:
            self._arm(left_s, timeout_s)
        else:
            self._done.set_result(Stop.TOO_SLOW)


async def _end(process: Process, grace_s: float = 0.0) -> int:
    """Kill a process and wait until it is gone, also when we are cancelled meanwhile: it takes no time.

    One that is dying is let die first: `kill` asks the system whether the process has ended, which takes the
    exit code away from whoever waits for it.
    """
    gone = asyncio.ensure_future(process.wait())
    try:
        if grace_s:
            await asyncio.wait({gone}, timeout=grace_s)
    finally:
        if not gone.done():
            with suppress(ProcessLookupError):
                process.kill()
    try:
        return await asyncio.shield(gone)
    except asyncio.CancelledError:
        await gone
        raise


def _nobody_asked(_: bytes) -> Stop | None:
    return Stop.DIED
