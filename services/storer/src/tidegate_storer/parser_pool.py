"""Parses pages in worker processes, so that no page can stop or kill the storer (delivery.md C10).

A pool of our own: in the standard one, a single dead worker breaks every future. Here pages go to a worker
in chunks and answers come back one by one, so it is known which page a worker died of. That page is tried
once more, alone, in a new process, before it is condemned: the worker may have been killed from outside,
or have died of what an earlier page left behind. A page that takes too long had its full time to itself and
is condemned at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.clock import Clock
from tidegate.events import Emit

from tidegate_storer.events import ParserDied
from tidegate_storer.parsed import Parsed, ParseFailed
from tidegate_storer.parser_process import DiedError, Page, ParserProcess, Stop
from tidegate_storer.parser_worker import Answer, Task
from tidegate_storer.parsers import PageInfo

_CHUNK_PAGES = 32
_CHUNK_BYTES = 1 << 20
_LONGEST_BACKOFF_S = 30.0


class _Request:
    """A page that waits for its fields."""

    __slots__ = ("done", "page")

    def __init__(self, page: Page, done: "asyncio.Future[Parsed | ParseFailed]") -> None:
        self.page = page
        self.done = done

    def settle(self, result: Parsed | ParseFailed) -> None:
        if not self.done.done():
            self.done.set_result(result)

    def answer(self, answer: Answer) -> None:
        if answer.failure is not None:
            self.settle(ParseFailed(message=answer.failure.message))
        else:
            self.settle(answer.parsed or Parsed())


class ParserPool:
    """``workers`` processes that take pages from one queue, bounded by those who wait in ``parse``."""

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
        self._queue.put_nowait(_Request(Page(Task(parser, page), body), done))
        return await done

    async def _work(self, worker: ParserProcess | None) -> None:
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
        size = len(request.page.body)
        while len(chunk) < share and size < _CHUNK_BYTES and not self._queue.empty():
            request = self._queue.get_nowait()
            chunk.append(request)
            size += len(request.page.body)
        # Whoever asked may have been cut off at a rebalance.
        return [request for request in chunk if not request.done.done()]

    async def _run(
        self, worker: ParserProcess, chunk: list[_Request]
    ) -> tuple[ParserProcess | None, list[_Request]]:
        """Parse a chunk; return the worker, if it lives, and what is left to be done in a new one."""
        left = deque(chunk)
        pages = [request.page for request in chunk]
        stop = await worker.work(pages, lambda answer: left.popleft().answer(answer), self._timeout_s)
        if stop is None:
            return worker, []
        code = await worker.end()
        request = left.popleft()
        if stop is Stop.TOO_SLOW:
            self._condemn(request, self._cause(stop, code))
        else:
            await self._again(request, self._cause(stop, code))
        return None, list(left)

    async def _again(self, request: _Request, cause: str) -> None:
        """Try the page that a worker died of once more, alone."""
        self._emit(ParserDied(parser=request.page.task.parser, cause=cause, redone=True))
        worker = await self._start_surely()
        try:
            stop = await worker.work([request.page], request.answer, self._timeout_s)
        finally:
            code = await worker.end()
        if stop is not None:
            self._condemn(request, self._cause(stop, code))

    def _cause(self, stop: Stop, code: int) -> str:
        match stop:
            case Stop.TOO_SLOW:
                return f"took more than {self._timeout_s:g} s"
            case Stop.OUT_OF_MEMORY:
                return f"needed more than {self._memory_mb} MiB"
            case Stop.DIED:
                return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"

    def _condemn(self, request: _Request, cause: str) -> None:
        parser = request.page.task.parser
        self._emit(ParserDied(parser=parser, cause=cause, redone=False))
        request.settle(ParseFailed(message=f"The parser {parser!r} {cause}."))

    async def _start_surely(self) -> ParserProcess:
        """Start a worker, again and again: pages wait while the machine has no memory or processes left."""
        wait = 0.1
        while True:
            try:
                return await self._start()
            except (OSError, DiedError, TimeoutError) as error:
                self._emit(ParserDied(parser="", cause=f"did not start: {type(error).__name__}", redone=True))
                await self._clock.sleep(wait)
                wait = min(wait * 2, _LONGEST_BACKOFF_S)

    async def _start(self) -> ParserProcess:
        return await ParserProcess.start(self._registry, self._memory_mb)
