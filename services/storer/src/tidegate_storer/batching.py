"""Gathers the rows of many handlers into batches, and tells each handler when its rows are safe.

A handler calls ``put`` and waits; thousands of them may. One batch is being filled, a few are being
written; when both are full, entries wait for room in the order in which they came, so their handlers wait,
the runtime's window fills, and the source is held back. What waits is bounded by that window.

Who says that it gives nothing more until it is answered (``last``) is not made to wait for a batch's age.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from tidegate import tracing
from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.memory import trim
from tidegate.tracing import Waiting, waiting

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
        self._flying = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._clock = clock
        self._emit = emit
        self._forming: Batch[Ticket] = Batch(limits)
        self._begun = asyncio.Event()
        self._due_now = asyncio.Event()
        self._waiting: OrderedDict[Ticket, tuple[Entry, bool]] = OrderedDict()
        self._traced: dict[Ticket, Waiting] = {}
        self._stored = 0

    async def put(self, entry: Entry, *, last: bool = False) -> Refused | None:
        """Write a record's rows with the next batch; None once all of them are acknowledged.

        With ``last`` that batch is written as soon as there is a slot for it.
        """
        ticket: Ticket = asyncio.get_running_loop().create_future()
        if self._forming.is_full():
            self._waiting[ticket] = entry, last
        else:
            self._add(entry, ticket, last=last)
        waits = waiting("store")
        if waits is not None:
            self._traced[ticket] = waits
        try:
            return await ticket
        finally:
            # A handler that is cut off at a rebalance leaves the window. Were its rows to stay, nothing would
            # bound what waits here while ClickHouse is away.
            self._waiting.pop(ticket, None)
            if waits is not None:
                del self._traced[ticket]
                waits.span.end()

    def _add(self, entry: Entry, ticket: Ticket, *, last: bool) -> None:
        now = self._clock.monotonic()
        self._forming.add(entry, ticket, now)
        if last:
            self._forming.hurry(now)
        self._begun.set()
        if last or self._forming.is_full():
            self._due_now.set()

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
            self._flying += 1
            self._idle.clear()
            batch, self._forming = self._forming, Batch(self._limits)
            self._begun.clear()
            self._due_now.clear()
            while self._waiting and not self._forming.is_full():
                ticket, (entry, last) = self._waiting.popitem(last=False)
                self._add(entry, ticket, last=last)
            writer = group.create_task(self._store(batch))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    async def _due(self) -> None:
        """Wait until the forming batch is to be written.

        A full one is, and one that is wanted at once; one that is merely old when nothing is being written.
        Were an old one written beside others, a slow ClickHouse would get the more inserts the slower it is:
        what is being written leaves little in hand to fill a batch with.
        """
        wait = self._forming.wait_s(self._clock.monotonic())
        if wait:
            await self._unless_due_now(self._clock.sleep(wait))
        if not self._due_now.is_set():
            await self._unless_due_now(self._idle.wait())

    async def _unless_due_now(self, other: Coroutine[Any, Any, object]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(other), group.create_task(self._due_now.wait())}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    async def _store(self, batch: Batch[Ticket]) -> None:
        started = self._clock.monotonic()
        try:
            # Nearly no record is traced, and those that are are few.
            traced = (
                [self._traced[each] for each in batch.tickets if each in self._traced] if self._traced else []
            )
            with tracing.batch("write batch", traced):
                refused = await self._write(batch.entries)
        finally:
            self._slots.release()
            self._flying -= 1
            if not self._flying:
                self._idle.set()
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
