"""Who has a record in hand: one task for each slot, which goes on to the next record by itself.

What needs no handler gets no slot: one task for each of its partitions sees to it (``passing``).

Rejected: a task per record (a worker that goes on costs a third).
"""

import asyncio
import contextvars
import functools
from collections.abc import Collection, Coroutine, Iterable
from typing import Any

from tidegate.clock import Clock
from tidegate.consume.deadlines import CANCEL_S
from tidegate.consume.fault_limit import Holds
from tidegate.consume.handling import Handling
from tidegate.consume.intake import Intake
from tidegate.consume.isolating import Isolating
from tidegate.consume.lanes import HALF_FULL, Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.consume.passing import Passing
from tidegate.consume.runtime_events import PartitionFreed, PartitionHeld, ResultStale
from tidegate.events import Emit

# At most so many are answered at once before the loop turns: some five milliseconds.
_PASSED_A_TURN = 128
# Of these so many of one partition in a row: a flood stands together, and to pick each by itself is dear.
_PASSED_IN_A_ROW = 32


class Workers:
    """Hands records out, and waits for those that are in hand."""

    def __init__(
        self,
        *,
        book: OffsetBook,
        buffers: Buffers,
        intake: Intake,
        handling: Handling[Any],
        isolating: Isolating,
        holds: Holds,
        room: asyncio.Event,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """Take the parts; ``room`` is set whenever there may be room for more records to wait."""
        self._book = book
        self._buffers = buffers
        self._intake = intake
        self._handling = handling
        self._isolating = isolating
        self._holds = holds
        self._room = room
        self._clock = clock
        self._emit = emit
        self._group: asyncio.TaskGroup | None = None
        self._context = contextvars.Context()
        self._active: dict[asyncio.Task[None], Entry] = {}
        self._passing = Passing(handling, intake, self._finish)
        self._passers: dict[TopicPartition, asyncio.Task[None]] = {}
        self._passed_now = 0
        self._idle = asyncio.Event()

    def open(self, group: asyncio.TaskGroup) -> None:
        """Begin to hand records out, in tasks of this group."""
        self._group = group
        self._context = contextvars.copy_context()

    def close(self) -> None:
        """Hand nothing out any more; what is in hand goes on."""
        self._group = None

    @property
    def in_hand(self) -> Collection[Entry]:
        """The records that are in hand; of those of a partition that were answered at once, the oldest."""
        return self._active.values()

    def dispatch(self) -> None:
        """Give every free slot its record."""
        group = self._group
        if self._holds.held:
            # Of an isolated one none is tried before the last is committed: two would not be alone.
            for partition in self._holds.due(self._clock.monotonic(), self._isolating.picked):
                self._buffers.free(partition)
        while group is not None and (entry := self._next()) is not None:
            self._active[self._task(group, self._work(entry))] = entry
        if group is not None and self._handling.may_sift and self._isolating.trial is None:
            self._sweep()

    def _task(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin what outlives whoever begins it: a record's handling, mostly, whose trace is not its own."""
        return group.create_task(work, context=self._context.copy())

    def _sweep(self) -> None:
        """Answer at once what needs no slot, where none is free because of slow jobs of other sites."""
        for partition in self._buffers.ready():
            if partition in self._isolating.partitions or partition in self._holds.held:
                continue
            self._buffers.take_while(partition, self._is_answered, _PASSED_A_TURN)

    def _is_answered(self, entry: Entry) -> bool:
        if self._passed_now >= _PASSED_A_TURN or not self._intake.has_room:
            return False
        if not self._passing.take(entry, has_slot=False):
            return False
        self._pass_on(entry)
        return True

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
            abandoned = sum(self._records_of(task) for task in cut)
            if cut:
                await asyncio.wait(cut, timeout=CANCEL_S)
            return abandoned
        return 0

    def _records_of(self, task: asyncio.Task[None]) -> int:
        partition = self._active[task].partition
        return self._passing.count(partition) if self._passers.get(partition) is task else 1

    def _next(self) -> Entry | None:
        """Take a slot and the record that is to have it; None when either is missing."""
        while (entry := self._taken()) is not None:
            if (
                not self._handling.may_sift
                or not self._may_pass(entry)
                or not self._passing.take(entry, has_slot=True)
            ):
                return entry
            self._pass_on(entry)
            self._buffers.take_while(entry.partition, self._is_answered, _PASSED_IN_A_ROW - 1)
        return None

    def _may_pass(self, entry: Entry) -> bool:
        """Say whether a record may be answered at once: whoever is under suspicion, or tried, is not."""
        partition = entry.partition
        return partition not in self._isolating.partitions and partition not in self._holds.held

    def _pass_on(self, entry: Entry) -> None:
        """See to it that what was answered at once is produced, and that the loop turns now and then."""
        partition = entry.partition
        if partition not in self._passers:
            assert self._group is not None
            task = self._passers[partition] = self._task(self._group, self._pass(partition))
            self._active[task] = entry
            # Also for one that is cancelled before it begins.
            task.add_done_callback(functools.partial(self._passer_ended, partition))
        if not self._passed_now:
            asyncio.get_running_loop().call_soon(self._turn)
        self._passed_now += 1

    def _turn(self) -> None:
        self._passed_now = 0
        self._room.set()

    async def _pass(self, partition: TopicPartition) -> None:
        """Send batch after batch of what was answered at once, until nothing waits."""
        task = asyncio.current_task()
        assert task is not None
        try:
            while self._passing.waits(partition):
                self._active[task] = self._passing.oldest(partition)
                await self._passing.send(partition)
                self.dispatch()
        finally:
            # In the same turn in which nothing waits: what comes next needs another task.
            self._passer_ended(partition, task)

    def _passer_ended(self, partition: TopicPartition, task: asyncio.Task[None]) -> None:
        if self._passers.get(partition) is not task:
            return
        del self._passers[partition]
        self._active.pop(task, None)
        self._passing.drop(partition)
        if self._isolating.trial is not None:
            self._isolating.note_in_hand(self._intake.in_hand)
        self._idle.set()
        self._room.set()

    def _taken(self) -> Entry | None:
        if self._group is None or self._isolating.trial is not None or self._passed_now >= _PASSED_A_TURN:
            return None
        entry = self._intake.next(self._buffers)
        if entry is None:
            return None
        partition = entry.partition
        if self._buffers.size(partition) in (0, HALF_FULL):
            self._room.set()
        if self._isolating.partitions and partition in self._isolating.partitions:
            self._isolating.pick(entry, self._intake.in_hand)
        if self._holds.held and partition in self._holds.held:
            # The one that is tried again after the pause.
            self._buffers.bar(partition)
            self._holds.picked(partition, entry.record.offset)
        return entry

    async def _work(self, first: Entry) -> None:
        """Hold a slot and handle record after record until none waits for it."""
        task = asyncio.current_task()
        assert task is not None
        picked = self._isolating.picked
        entry: Entry | None = first
        try:
            while entry is not None:
                self._active[task] = entry
                try:
                    if picked and picked.get(entry.partition) is entry:
                        await self._isolating.work(entry, self._handle_alone, self._condemn)
                        # Where the assignment is another one, so is the record in hand alone.
                        if self._book.holds(entry.partition, entry.epoch):
                            self._free(entry.partition)
                    elif await self._handling.handle(
                        entry.record, handled=functools.partial(self._handled, entry)
                    ):
                        self._finish(entry)
                    else:
                        self._hold(entry)
                finally:
                    self._intake.done(entry)
                    if self._isolating.trial is not None:
                        self._isolating.note_in_hand(self._intake.in_hand)
                # Whoever was told to end, and whose handler would not hear of it, begins nothing more.
                entry = None if task.cancelling() else self._next()
                if not self._idle.is_set():
                    self._idle.set()
        finally:
            self._active.pop(task, None)
            self._idle.set()
            self._room.set()

    def _handled(self, entry: Entry) -> None:
        """What the outcome asks for is on its way: the slot is the next one's."""
        task = asyncio.current_task()
        if self._intake.handled(entry) and not (task is not None and task.cancelling()):
            self.dispatch()

    async def _handle_alone(self, entry: Entry) -> bool:
        """Handle a record and finish its offset; False where it goes back to where it waited."""
        done = await self._handling.handle(entry.record, alone=True)
        if done:
            self._finish(entry)
        else:
            self._hold(entry)
        return done

    async def _condemn(self, entry: Entry, crashes: int, *, unread: bool) -> None:
        message = f"The service died {crashes} times while this record was in hand alone."
        await self._handling.condemn(entry.record, message, unread=unread)
        self._finish(entry)

    def _finish(self, entry: Entry) -> None:
        partition, offset = entry.partition, entry.record.offset
        if not self._book.finish(partition, entry.epoch, offset):
            self._emit(ResultStale(topic=partition.topic, partition=partition.partition, offset=offset))
            return
        if self._holds.held and self._holds.passed(partition, offset):
            self._emit(PartitionFreed(topic=partition.topic, partition=partition.partition))
            # One that was in hand alone still awaits its commit: the next one comes after that.
            if partition not in self._isolating.picked:
                self._free(partition)

    def _hold(self, entry: Entry) -> None:
        """Its dead letter would be one too many for faults of ours: it waits, and its partition with it."""
        partition, offset = entry.partition, entry.record.offset
        if not self._book.holds(partition, entry.epoch):
            return
        pause_s = self._holds.refused(partition, offset, self._clock.monotonic())
        self._buffers.bar(partition)
        self._buffers.put_back(entry)
        if pause_s is not None:
            topic, number = partition
            self._emit(PartitionHeld(topic=topic, partition=number, offset=offset, pause_s=pause_s))

    def _free(self, partition: TopicPartition) -> None:
        if partition not in self._holds.held:
            self._buffers.free(partition)
