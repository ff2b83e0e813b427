"""Gathers the rows of many handlers into batches, and tells each handler when its rows are safe.

A handler calls ``put`` and waits; thousands of them may. One batch is being filled, a few are being
written; when both are full, entries wait for room in the order in which they came, so their handlers wait,
the runtime's window fills, and the source is held back. What waits is bounded by that window.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.memory import trim

from tidegate_storer.batch import Batch, Entry, Limits
from tidegate_storer.batch_writer import Refused
from tidegate_storer.events import BatchStored

_TRIM_EVERY_BYTES = 32 << 20

Ticket: TypeAlias = "asyncio.Future[Refused | None]"
Write: TypeAlias = Callable[[Sequence[Entry]], Awaitable[dict[int, Refused]]]


class Batching:
    """The sink of the storer's handlers."""

    def __init__(self, write: Write, *, limits: Limits, in_flight: int, clock: Clock, emit: Emit) -> None:
        self._write = write
        self._limits = limits
        self._slots = asyncio.Semaphore(in_flight)
        self._clock = clock
        self._emit = emit
        self._forming: Batch[Ticket] = Batch(limits)
        self._begun = asyncio.Event()
        self._full = asyncio.Event()
        self._waiting: deque[tuple[Entry, Ticket]] = deque()
        self._stored = 0

    async def put(self, entry: Entry) -> Refused | None:
        """Write a record's rows with the next batch; None once all of them are acknowledged."""
        ticket: Ticket = asyncio.get_running_loop().create_future()
        if self._forming.is_full():
            self._waiting.append((entry, ticket))
        else:
            self._add(entry, ticket)
        return await ticket

    def _add(self, entry: Entry, ticket: Ticket) -> None:
        self._forming.add(entry, ticket, self._clock.monotonic())
        self._begun.set()
        if self._forming.is_full():
            self._full.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close batches in time and write them; what is not written at the end is redone elsewhere."""
        async with asyncio.TaskGroup() as group:
            closer = group.create_task(self._close_forever(group))
            writers: set[asyncio.Task[None]] = set()
            self._writers = writers
            try:
                yield
            finally:
                closer.cancel()
                for writer in writers:
                    writer.cancel()

    async def _close_forever(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._begun.wait()
            await self._due()
            await self._slots.acquire()
            batch, self._forming = self._forming, Batch(self._limits)
            self._begun.clear()
            self._full.clear()
            while self._waiting and not self._forming.is_full():
                self._add(*self._waiting.popleft())
            writer = group.create_task(self._store(batch))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    async def _due(self) -> None:
        """Wait until the forming batch is full or old enough."""
        wait = self._forming.wait_s(self._clock.monotonic())
        if not wait:
            return
        async with asyncio.TaskGroup() as group:
            timer = group.create_task(self._clock.sleep(wait))
            full = group.create_task(self._wait_full())
            await asyncio.wait((timer, full), return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            full.cancel()

    async def _wait_full(self) -> None:
        await self._full.wait()

    async def _store(self, batch: Batch[Ticket]) -> None:
        started = self._clock.monotonic()
        try:
            refused = await self._write(batch.entries)
        finally:
            self._slots.release()
        for index, ticket in enumerate(batch.tickets):
            # A handler may have been cut off at a rebalance; its rows are there all the same.
            if not ticket.done():
                ticket.set_result(refused.get(index))
        self._emit(
            BatchStored(
                records=len(batch),
                rows=sum(len(entry.writes) for entry in batch.entries),
                bytes=batch.size,
                refused=len(refused),
                seconds=round(self._clock.monotonic() - started, 4),
            )
        )
        self._stored += batch.size
        if self._stored >= _TRIM_EVERY_BYTES:
            # Thousands of bodies have come and gone, and the heap is full of their holes.
            self._stored = 0
            await asyncio.to_thread(trim)
