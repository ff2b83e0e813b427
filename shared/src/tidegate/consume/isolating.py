"""Reads suspected partitions one record at a time, and says so in a commit before each (delivery.md C10).

The rules are in ``isolation.py``; here is when a commit is written, and who waits for whom.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from tidegate.clock import Clock
from tidegate.consume import runtime_events as events
from tidegate.consume.committing import Committer
from tidegate.consume.isolation import ACQUITTED_AFTER_S, IsolationPolicy
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.events import Emit

_COMMIT_AGAIN_S = 0.5


class Condemn(Protocol):
    """Makes a record that killed so often a dead letter and finishes it; ``unread`` without decoding it."""

    async def __call__(self, entry: Entry, crashes: int, *, unread: bool) -> None:
        """Return when the broker has the dead letter."""
        ...


class Isolating:
    """The partitions that are read one record at a time, and the one record on trial, if any."""

    def __init__(
        self,
        *,
        book: OffsetBook,
        buffers: Buffers,
        committer: Committer,
        policy: IsolationPolicy,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._book = book
        self._buffers = buffers
        self._committer = committer
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._alone = asyncio.Event()
        self.partitions: set[TopicPartition] = set()
        # The one record in hand of each.
        self.picked: dict[TopicPartition, Entry] = {}
        # On trial, or waiting for it: meanwhile nothing else is handed out in this process.
        self.trial: Entry | None = None

    def begin(self, partition: TopicPartition) -> None:
        """A partition was assigned."""
        suspicion = self._book.suspicion(partition)
        offset = self._book.tracker(partition).committable
        topic, number = partition
        if suspicion.is_isolated:
            self.partitions.add(partition)
            self._emit(events.PartitionIsolated(topic=topic, partition=number, offset=offset))
        elif suspicion.crashes:
            crashes = suspicion.crashes
            self._emit(events.CrashSuspected(topic=topic, partition=number, offset=offset, crashes=crashes))

    def end(self, partition: TopicPartition) -> None:
        """A partition is being revoked: no other record of it begins."""
        self.partitions.discard(partition)

    def pick(self, entry: Entry, in_hand: int) -> None:
        """A record of such a partition was given a slot, ``in_hand`` with it: the next one has to wait."""
        self._buffers.bar(entry.partition)
        self.picked[entry.partition] = entry
        if self._book.suspicion(entry.partition).on_trial:
            self._alone.clear()
            self.trial = entry
            self.note_in_hand(in_hand)

    def note_in_hand(self, count: int) -> None:
        """Take note of how many records are in hand in the process: one on trial waits to be the only one."""
        if self.trial is not None and count <= 1:
            self._alone.set()

    async def work(
        self,
        entry: Entry,
        handle: Callable[[Entry], Awaitable[bool]],
        condemn: Condemn,
    ) -> None:
        """Handle one record by itself, or condemn it where it has killed before.

        ``handle`` finishes its offset and says whether it did, ``condemn`` finishes it.
        """
        try:
            if self.trial is entry:
                await self._alone.wait()
            if await self._mark(entry):
                await self._judge(entry, handle, condemn)
        finally:
            # A handler may outlive its assignment; then the record here is the next one's.
            if self.picked.get(entry.partition) is entry:
                del self.picked[entry.partition]
            if self.trial is entry:
                self.trial = None

    async def _judge(
        self,
        entry: Entry,
        handle: Callable[[Entry], Awaitable[bool]],
        condemn: Condemn,
    ) -> None:
        partition = entry.partition
        suspicion = self._book.suspicion(partition)
        done = condemned = suspicion.condemns(self._policy)
        if condemned:
            topic, number = partition
            offset, crashes = entry.record.offset, suspicion.accused
            self._emit(events.RecordCondemned(topic=topic, partition=number, offset=offset, crashes=crashes))
            # What kills again and again even so, kills by being read.
            await condemn(entry, crashes, unread=crashes > self._policy.crashes_alone + 2)
        else:
            acquittal = asyncio.get_running_loop().call_later(ACQUITTED_AFTER_S, self._acquit, entry)
            try:
                done = await handle(entry)
            finally:
                acquittal.cancel()
        if not self._book.holds(partition, entry.epoch):
            return
        after = self._book.suspicion(partition)
        after = after.condemned() if condemned else after.handled() if done else after.put_back()
        self._book.suspect(partition, after)
        if not after.is_isolated:
            self.partitions.discard(partition)
            self._emit(events.IsolationEnded(topic=partition.topic, partition=partition.partition))
        await self._committer.commit()

    async def _mark(self, entry: Entry) -> bool:
        """Commit that the record is in hand alone; False where it is not to be begun any more."""
        partition = entry.partition
        while partition in self.partitions and self._book.holds(partition, entry.epoch):
            self._book.suspect(partition, self._book.suspicion(partition).began().taken_alone())
            if await self._committer.commit():
                return True
            await self._clock.sleep(_COMMIT_AGAIN_S)
        return False

    def _acquit(self, entry: Entry) -> None:
        """Who has had its time to kill is not the one, though its handler may wait for hours.

        The next commit says so. A loop that hangs never comes here.
        """
        if self._book.holds(entry.partition, entry.epoch):
            self._book.suspect(entry.partition, self._book.suspicion(entry.partition).acquitted())
        if self.trial is entry:
            self.trial = None
