"""The partitions that the group gave to this process: from their assignment to their being given back.

Restoring what a service must know of a partition number runs outside the rebalance (M6): until then its
partitions are assigned and not ready. A partition is given back in this order: nothing more of it is begun,
what is in hand has until the drain deadline, then a commit says what is done and that the end was clean.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from tidegate.clock import Clock
from tidegate.consume import runtime_events as events
from tidegate.consume.committing import Committer
from tidegate.consume.done_set import note_of, unpack
from tidegate.consume.fault_limit import Holds
from tidegate.consume.isolating import Isolating
from tidegate.consume.isolation import IsolationPolicy, suspicion_of
from tidegate.consume.lanes import Buffers
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.consume.service import Service
from tidegate.consume.transport import Position
from tidegate.consume.workers import Workers
from tidegate.errors import BrokerError
from tidegate.events import Emit

_LONGEST_BACKOFF_S = 5.0  # a broker that is back is to be noticed soon


class Assignments:
    """Hears of rebalances, and keeps what the runtime knows of each partition in step with them."""

    def __init__(
        self,
        *,
        service: Service[Any],
        book: OffsetBook,
        buffers: Buffers,
        workers: Workers,
        isolating: Isolating,
        holds: Holds,
        committer: Committer,
        policy: IsolationPolicy,
        drain_deadline_s: float,
        room: asyncio.Event,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._service = service
        self._book = book
        self._buffers = buffers
        self._workers = workers
        self._isolating = isolating
        self._holds = holds
        self._committer = committer
        self._policy = policy
        self._drain_deadline_s = drain_deadline_s
        self._room = room
        self._clock = clock
        self._emit = emit
        self._preparing: dict[int, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self.ready: set[int] = set()
        # Those whose next records are gone: a person decides.
        self.stopped: set[TopicPartition] = set()
        self.joined = False
        self.count = 0

    @property
    def all_ready(self) -> bool:
        """Whether the group has given us what it gives us and its state is restored."""
        return self.joined and {partition.partition for partition in self._book.partitions} <= self.ready

    def open(self, group: asyncio.TaskGroup) -> None:
        """Take up what is assigned, in tasks of this group."""
        self._group = group

    async def close(self) -> int:
        """Give everything back and take nothing up any more; return how much work was cut off."""
        self._group = None
        for task in self._preparing.values():
            task.cancel()
        return await self._let_go(self._book.partitions)

    async def on_assigned(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Begin the partitions where the group stands; their state is restored outside this call."""
        if self._group is None:
            return  # a rebalance that comes while we leave: whoever is next begins them
        restored = 0
        for partition, (offset, metadata) in positions.items():
            done = unpack(metadata, offset)
            restored += len(done)
            suspicion = suspicion_of(note_of(metadata, offset)).taken_over(self._policy)
            self._book.assign(partition, offset, done, suspicion)
            self._isolating.begin(partition)
        self.count += 1
        self.joined = True
        self._emit(events.PartitionsAssigned(partitions=len(positions), restored=restored))
        for number in sorted({partition.partition for partition in positions}):
            self._preparing[number] = self._group.create_task(self._prepare(number))
        self._room.set()

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Let the partitions go: what is in hand may end until the deadline, then commit."""
        revoked = [partition for partition in partitions if self._book.holds(partition)]
        for number in {partition.partition for partition in revoked}:
            self.ready.discard(number)
            if task := self._preparing.pop(number, None):
                task.cancel()
        self.joined = False
        abandoned = await self._let_go(revoked)
        for partition in revoked:
            self._book.revoke(partition)
            self.stopped.discard(partition)
        for number in {partition.partition for partition in revoked}:
            self._service.release(number)
        self._emit(events.PartitionsRevoked(partitions=len(revoked), abandoned=abandoned))

    async def begin(self, partitions: Iterable[TopicPartition]) -> bool:
        """Commit that records of these are handed out (C10); False where a new assignment came meanwhile."""
        fresh = [
            partition
            for partition in partitions
            if self._book.holds(partition) and not self._book.suspicion(partition).begun
        ]
        if not fresh:
            return True
        count = self.count
        for partition in fresh:
            self._book.suspect(partition, self._book.suspicion(partition).began())
        # Where it is refused a crash goes uncounted, which is all.
        await self._committer.commit()
        return count == self.count

    async def end_cleanly(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit what is done, and that no record of these is to be accused of our end."""
        for partition in partitions:
            self._book.suspect(partition, self._book.suspicion(partition).ended())
        await self._committer.commit()

    async def _let_go(self, partitions: Iterable[TopicPartition]) -> int:
        going = tuple(partitions)
        for partition in going:
            self._buffers.drop(partition)
            self._isolating.end(partition)
            self._holds.drop(partition)
        abandoned = await self._workers.drain(going, self._drain_deadline_s)
        for partition in going:
            # What came back to wait meanwhile, and the hold that may have begun with it.
            self._buffers.drop(partition)
            self._holds.drop(partition)
        await self.end_cleanly(going)
        return abandoned

    async def _prepare(self, number: int) -> None:
        wait = 0.5
        while True:
            try:
                await self._service.prepare(number)
            except (BrokerError, OSError) as error:
                self._emit(events.PrepareFailed(partition=number, error=str(error)))
                await self._clock.sleep(wait)
                wait = min(wait * 2, _LONGEST_BACKOFF_S)
            else:
                break
        self.ready.add(number)
        self._preparing.pop(number, None)
        self._emit(events.PartitionPrepared(partition=number))
        self._room.set()
