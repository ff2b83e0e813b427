"""Who has a record in hand: one task for each slot, which goes on to the next record by itself.

Rejected: a task per record (a worker that goes on costs a third).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tidegate.consume.intake import Intake
from tidegate.consume.lanes import HALF_FULL, Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.consume.runtime_events import ResultStale
from tidegate.events import Emit
from tidegate.records import Inbound

_CANCEL_S = 2.0


class Workers:
    """Hands records out, and waits for those that are in hand."""

    def __init__(
        self,
        *,
        book: OffsetBook,
        buffers: Buffers,
        intake: Intake,
        handle: Callable[[Inbound], Awaitable[None]],
        room: asyncio.Event,
        emit: Emit,
    ) -> None:
        """Take the parts; ``room`` is set whenever there may be room for more records to wait."""
        self._book = book
        self._buffers = buffers
        self._intake = intake
        self._handle = handle
        self._room = room
        self._emit = emit
        self._group: asyncio.TaskGroup | None = None
        self._active: dict[asyncio.Task[None], Entry] = {}
        self._idle = asyncio.Event()

    def open(self, group: asyncio.TaskGroup) -> None:
        """Begin to hand records out, in tasks of this group."""
        self._group = group

    def close(self) -> None:
        """Hand nothing out any more; what is in hand goes on."""
        self._group = None

    def dispatch(self) -> None:
        """Give every free slot its record."""
        group = self._group
        while group is not None and (entry := self._next()) is not None:
            task = group.create_task(self._work(entry))
            self._active[task] = entry

    async def drain(self, partitions: Iterable[TopicPartition], deadline_s: float) -> int:
        """Wait for work in hand of these partitions; cut off the rest at the deadline and count it."""
        going = set(partitions)

        def left() -> list[asyncio.Task[None]]:
            return [task for task, entry in self._active.items() if entry.partition in going]

        try:
            async with asyncio.timeout(deadline_s):
                while left():
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            cut = left()
            for task in cut:
                task.cancel()
            # A handler that swallows its cancellation must not hold up the group.
            if cut:
                await asyncio.wait(cut, timeout=_CANCEL_S)
            return len(cut)
        return 0

    def _next(self) -> Entry | None:
        """Take a slot and the record that is to have it; None when either is missing."""
        if self._group is None:
            return None
        entry = self._intake.next(self._buffers)
        if entry is None:
            return None
        if self._buffers.size(entry.partition) in (0, HALF_FULL):
            self._room.set()
        return entry

    async def _work(self, first: Entry) -> None:
        """Hold a slot and handle record after record until none waits for it."""
        task = asyncio.current_task()
        assert task is not None
        entry: Entry | None = first
        try:
            while entry is not None:
                self._active[task] = entry
                try:
                    await self._handle(entry.record)
                    self._finish(entry)
                finally:
                    self._intake.done(entry)
                entry = self._next()
                if not self._idle.is_set():
                    self._idle.set()
        finally:
            self._active.pop(task, None)
            self._idle.set()
            self._room.set()

    def _finish(self, entry: Entry) -> None:
        if not self._book.finish(entry.partition, entry.epoch, entry.record.offset):
            topic, number = entry.partition
            self._emit(ResultStale(topic=topic, partition=number, offset=entry.record.offset))
