"""Parses pages in worker processes, so that no page can stop or kill the storer (delivery.md C10).

A pool of our own: in the standard one, a single dead worker breaks every future. Here pages go to a worker
in chunks and answers come back one by one, so it is known which page a worker died of. That page is tried
once more, alone, in a new process, before it is condemned: the worker may have been killed from outside,
or have died of what an earlier page left behind. A page that takes too long had its full time to itself and
is condemned at once.
"""

import asyncio
import os
import socket
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

import msgspec
from tidegate.clock import Clock
from tidegate.errors import ConfigurationError
from tidegate.events import Emit

from tidegate_storer.events import ParserDied
from tidegate_storer.parsed import Parsed, ParseFailed
from tidegate_storer.parser_worker import LENGTH, Answer, Ready, Task
from tidegate_storer.parsers import PageInfo

_CHUNK_PAGES = 16
_CHUNK_BYTES = 1 << 20
_START_S = 60.0
_LONGEST_BACKOFF_S = 30.0

_encoder = msgspec.msgpack.Encoder()
_ANSWER = msgspec.msgpack.Decoder(Answer)
_READY = msgspec.msgpack.Decoder(Ready)


class _Died(Exception):  # noqa: N818 -- it is caught a few lines below where it is raised
    """The worker is gone, and nobody knows why."""


class _Request:
    """A page that waits for its fields."""

    __slots__ = ("done", "size", "task")

    def __init__(self, task: Task, done: "asyncio.Future[Parsed | ParseFailed]") -> None:
        self.task = task
        self.done = done
        self.size = len(task.body)

    def settle(self, result: Parsed | ParseFailed) -> None:
        if not self.done.done():
            self.done.set_result(result)


class _Worker:
    """One process and the socket to it."""

    def __init__(self, process: Process, reader: StreamReader, writer: StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    def send(self, requests: list[_Request]) -> None:
        for request in requests:
            data = _encoder.encode(request.task)
            self._writer.write(LENGTH.pack(len(data)) + data)

    async def receive(self, timeout_s: float) -> bytes:
        """Return the next frame. Raises TimeoutError, or _Died when the process is gone."""
        try:
            async with asyncio.timeout(timeout_s):
                header = await self._reader.readexactly(LENGTH.size)
                return await self._reader.readexactly(LENGTH.unpack(header)[0])
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _Died from error

    async def end(self) -> int:
        """Kill the process if it still lives; return its exit code."""
        self._writer.close()
        return await _end(self._process)


class ParserPool:
    """``workers`` processes that take pages from one queue, bounded by those who wait in ``parse``."""

    # What a worker needs of the environment; a parser must not see passwords.
    _HIDDEN: ClassVar[str] = "TIDEGATE_"

    def __init__(
        self,
        *,
        workers: int,
        timeout_s: float,
        memory_mb: int,
        registry: dict[str, str],
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._count = workers
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._registry = registry
        self._clock = clock
        self._emit = emit
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the workers. Raises ConfigurationError when a parser cannot be imported."""
        first = await self._start()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._work(first if number == 0 else None))
                    for number in range(self._count)
                ]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            await first.end()

    async def parse(self, parser: str, page: PageInfo, body: bytes) -> Parsed | ParseFailed:
        """Parse a page; its failure is a value."""
        if parser not in self._registry:
            return ParseFailed(message=f"There is no parser {parser[:100]!r} here.", unknown_parser=True)
        done: asyncio.Future[Parsed | ParseFailed] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Request(Task(parser, page, body), done))
        return await done

    async def _work(self, worker: _Worker | None) -> None:
        try:
            while True:
                chunk = await self._chunk()
                while chunk:
                    if worker is None:
                        worker = await self._start_surely()
                    worker, chunk = await self._run(worker, chunk)
        finally:
            if worker is not None:
                await worker.end()

    async def _chunk(self) -> list[_Request]:
        """Wait for pages and take a fair share of them, bounded by number and bytes."""
        request = await self._queue.get()
        share = min(_CHUNK_PAGES, -(-(self._queue.qsize() + 1) // self._count))
        chunk = [request]
        size = request.size
        while len(chunk) < share and size < _CHUNK_BYTES and not self._queue.empty():
            request = self._queue.get_nowait()
            chunk.append(request)
            size += request.size
        # Whoever asked may have been cut off at a rebalance.
        return [request for request in chunk if not request.done.done()]

    async def _run(self, worker: _Worker, chunk: list[_Request]) -> tuple[_Worker | None, list[_Request]]:
        """Parse a chunk; return the worker, if it lives, and what is left to be done in a new one."""
        worker.send(chunk)
        for number, request in enumerate(chunk):
            rest = chunk[number + 1 :]
            try:
                answer = _ANSWER.decode(await worker.receive(self._timeout_s))
            except TimeoutError:
                await worker.end()
                cause = f"took more than {self._timeout_s:g} s"
                self._condemn(request, cause)
                return None, rest
            except _Died:
                code = await worker.end()
                await self._again(request, f"ended with {_exit(code)}")
                return None, rest
            if answer.failure is not None and answer.failure.out_of_memory:
                await worker.end()
                await self._again(request, f"needed more than {self._memory_mb} MiB")
                return None, rest
            if answer.failure is not None:
                request.settle(ParseFailed(message=answer.failure.message))
            else:
                request.settle(answer.parsed or Parsed())
        return worker, []

    async def _again(self, request: _Request, cause: str) -> None:
        """Try the page that a worker died of once more, alone."""
        self._emit(ParserDied(parser=request.task.parser, cause=cause, redone=True))
        worker = await self._start_surely()
        try:
            worker.send([request])
            answer = _ANSWER.decode(await worker.receive(self._timeout_s))
        except TimeoutError:
            self._condemn(request, f"took more than {self._timeout_s:g} s")
        except _Died:
            self._condemn(request, f"ended with {_exit(await worker.end())}")
        else:
            if answer.failure is not None and answer.failure.out_of_memory:
                self._condemn(request, f"needed more than {self._memory_mb} MiB")
            elif answer.failure is not None:
                request.settle(ParseFailed(message=answer.failure.message))
            else:
                request.settle(answer.parsed or Parsed())
        finally:
            await worker.end()

    def _condemn(self, request: _Request, cause: str) -> None:
        self._emit(ParserDied(parser=request.task.parser, cause=cause, redone=False))
        request.settle(ParseFailed(message=f"The parser {request.task.parser!r} {cause}."))

    async def _start_surely(self) -> _Worker:
        """Start a worker, again and again: pages wait while the machine has no memory or processes left."""
        wait = 0.1
        while True:
            try:
                return await self._start()
            except (OSError, _Died, TimeoutError) as error:
                self._emit(ParserDied(parser="", cause=f"did not start: {type(error).__name__}", redone=True))
                await self._clock.sleep(wait)
                wait = min(wait * 2, _LONGEST_BACKOFF_S)

    async def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {k: v for k, v in os.environ.items() if not k.startswith(self._HIDDEN)}
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tidegate_storer.parser_worker",
                str(theirs.fileno()),
                str(os.getpid()),
                str(self._memory_mb),
                msgspec.json.encode(self._registry).decode(),
                stdin=DEVNULL,
                stdout=DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        except BaseException:
            await _end(process)
            raise
        worker = _Worker(process, reader, writer)
        try:
            ready = _READY.decode(await worker.receive(_START_S))
        except BaseException:
            await worker.end()
            raise
        if ready.broken:
            await worker.end()
            problems = "; ".join(f"{name}: {problem}" for name, problem in ready.broken.items())
            raise ConfigurationError(f"parsers cannot be imported: {problems}")
        return worker


async def _end(process: Process) -> int:
    """Kill a process and wait until it is gone, also when we are cancelled meanwhile: it takes no time."""
    with suppress(ProcessLookupError):
        process.kill()
    gone = asyncio.ensure_future(process.wait())
    try:
        return await asyncio.shield(gone)
    except asyncio.CancelledError:
        await gone
        raise


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
