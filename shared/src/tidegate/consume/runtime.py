"""The loop: poll, hand out, act on outcomes, commit. One consumer per process.

What holds it together (delivery.md C):

- A record is in hand from the moment a slot takes it (``workers``); slots and bytes in hand are bounded, and
  what waits before them is too. Full means that partitions are not asked, never that something is dropped.
- An outcome is acted on in one place (``handling``): what it produces is acknowledged by the broker before
  the offset is finished, and only finished offsets are committed (``committing``).
- A produce is never timed out (C5). If its fate cannot be known the process ends, and the next owner
  redoes the job; identities make the two copies one.
- A rebalance gives work in hand until the drain deadline, commits, and lets go. What it cuts off is not
  finished, so it is redone by whoever is next. Restoring state runs outside the rebalance (M6).

Rejected: pausing partitions (it throws prefetched records away).
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Generic, Literal, TypeVar

from tidegate.clock import BrokerClock, Clock
from tidegate.consume import runtime_events as events
from tidegate.consume.committing import Committer
from tidegate.consume.done_set import unpack
from tidegate.consume.handling import Handling
from tidegate.consume.intake import Intake, Valved
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.consume.plan import Plan
from tidegate.consume.service import Service, Sink
from tidegate.consume.transport import Position, Source
from tidegate.consume.workers import Workers
from tidegate.errors import BrokerError, OffsetsLostError
from tidegate.events import Emit
from tidegate.records import Inbound
from tidegate.settings import RuntimeSettings
from tidegate.topics import DELAYS, HELD
from tidegate.tracing import NoTracing, Tracing

P = TypeVar("P")

_PATIENT = frozenset({*DELAYS, *HELD.values()})
_POLL_RECORDS = 256
_POLL_S = 0.1
_LONGEST_BACKOFF_S = 30.0

Phase = Literal["starting", "running", "draining", "closed"]


class Runtime(Generic[P]):
    """Runs one service on one consumer until it is told to stop."""

    def __init__(
        self,
        *,
        plan: Plan,
        service: Service[P],
        source: Source,
        sink: Sink,
        settings: RuntimeSettings,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
        tracing: Tracing | None = None,
    ) -> None:
        self._service = service
        self._source = source
        self._settings = settings
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._intake = Intake(
            plan,
            window=settings.window or plan.window,
            window_bytes=settings.window_bytes,
            valve=service.valve if isinstance(service, Valved) else None,
            emit=emit,
        )
        self._handling = Handling(
            plan=plan,
            service=service,
            sink=sink,
            clock=clock,
            broker_clock=broker_clock,
            emit=emit,
            tracing=tracing or NoTracing(),
        )
        self._book = OffsetBook()
        self._buffers = Buffers(plan.reserved)
        self._room = asyncio.Event()
        self._workers = Workers(
            book=self._book,
            buffers=self._buffers,
            intake=self._intake,
            handle=self._handling.handle,
            room=self._room,
            emit=emit,
        )
        self._committer = Committer(
            self._book, source, interval_s=settings.commit_interval_s, clock=clock, emit=emit
        )
        self._ready: set[int] = set()
        self._preparing: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[TopicPartition] = set()
        self._phase: Phase = "starting"
        self._joined = False
        self._tick = clock.monotonic()
        self._group: asyncio.TaskGroup | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain: finish what is in hand, commit, leave the group.

        Raises FatalProduceError (in an exception group) when a custody produce can never be known.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._source.start(self)
                self._phase = "running"
                self._workers.open(group)
                poller = group.create_task(self._poll_forever())
                committer = group.create_task(self._committer.run())
                await stop.wait()
                self._phase = "draining"
                self._workers.close()
                poller.cancel()
                for partition in self._book.partitions:
                    self._buffers.drop(partition)
                abandoned = await self._workers.drain(self._book.partitions, self._settings.drain_deadline_s)
                committer.cancel()
                await self._committer.commit()
                for task in self._preparing.values():
                    task.cancel()
        finally:
            # However it ended: whoever leaves the group at once does not keep the others waiting.
            self._phase = "closed"
            await self._source.stop()
        self._emit(events.RuntimeStopped(abandoned=abandoned))

    def snapshot(self) -> dict[str, object]:
        """Return the state for the health page: phase, counts, seconds since the loop last turned."""
        return {
            "phase": self._phase,
            "assigned": len(self._book.partitions),
            "ready": self.is_ready,
            "in_hand": self._intake.in_hand,
            "bytes_in_hand": self._intake.bytes,
            "buffered": len(self._buffers),
            "loop_age_s": round(self._clock.monotonic() - self._tick, 3),
        }

    @property
    def is_ready(self) -> bool:
        """Whether the group has given us what it gives us and its state is restored."""
        numbers = {partition.partition for partition in self._book.partitions}
        return self._joined and self._phase == "running" and numbers <= self._ready

    async def on_assigned(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Begin the partitions where the group stands; their state is restored outside this call."""
        if self._phase in ("draining", "closed"):
            return  # a rebalance that comes while we leave: whoever is next begins them
        restored = 0
        for partition, (offset, metadata) in positions.items():
            done = unpack(metadata, offset)
            restored += len(done)
            self._book.assign(partition, offset, done)
        self._joined = True
        self._emit(events.PartitionsAssigned(partitions=len(positions), restored=restored))
        assert self._group is not None
        for number in sorted({partition.partition for partition in positions}):
            self._preparing[number] = self._group.create_task(self._prepare(number))
        self._room.set()

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Let the partitions go: what is in hand may end until the deadline, then commit."""
        revoked = [partition for partition in partitions if self._book.holds(partition)]
        for partition in revoked:
            self._buffers.drop(partition)
        for number in {partition.partition for partition in revoked}:
            self._ready.discard(number)
            if task := self._preparing.pop(number, None):
                task.cancel()
        abandoned = await self._workers.drain(revoked, self._settings.drain_deadline_s)
        await self._committer.commit()
        for partition in revoked:
            self._book.revoke(partition)
            self._stopped.discard(partition)
        for number in {partition.partition for partition in revoked}:
            self._service.release(number)
        self._emit(events.PartitionsRevoked(partitions=len(revoked), abandoned=abandoned))

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
        self._ready.add(number)
        self._preparing.pop(number, None)
        self._emit(events.PartitionPrepared(partition=number))
        self._room.set()

    async def _poll_forever(self) -> None:
        backoff = 0.1
        while True:
            self._tick = self._clock.monotonic()
            self._room.clear()
            wanted, full = self._wanted()
            try:
                if not wanted:
                    self._source.check()
                    await self._wait_for_room()
                else:
                    # Blocking on the empty partitions would keep the full ones waiting once they drain.
                    timeout_s = 0.0 if full else _POLL_S
                    records = await self._source.poll(wanted, max_records=_POLL_RECORDS, timeout_s=timeout_s)
                    self._take(records)
                    if full and not records:
                        await self._wait_for_room()
                backoff = 0.1
            except OffsetsLostError as error:
                self._stop_partitions(error)
            except BrokerError as error:
                self._emit(events.PollFailed(error=str(error)))
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF_S)
            self._buffers.wake(self._broker_clock.now_ms())
            self._workers.dispatch()

    def _wanted(self) -> tuple[list[TopicPartition], bool]:
        wanted, full = [], False
        for partition in self._book.partitions:
            if partition.partition not in self._ready or partition in self._stopped:
                continue
            if self._buffers.is_full(partition):
                # One that is full of what is not due, or held, nobody waits for.
                full = full or partition.topic not in _PATIENT
            elif self._book.tracker(partition).takes(_POLL_RECORDS):
                wanted.append(partition)
        return wanted, full

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S / 2):
                await self._room.wait()
        except TimeoutError:
            pass

    def _take(self, records: Iterable[Inbound]) -> None:
        by_partition: dict[TopicPartition, list[Entry]] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            # A rebalance may have begun while the poll was on its way: what it brought is left alone.
            if partition.partition not in self._ready or not self._book.holds(partition):
                continue
            epoch = self._book.receive(partition, record.offset)
            if epoch is not None:
                by_partition.setdefault(partition, []).append(Entry(partition, epoch, record))
        for partition, entries in by_partition.items():
            self._buffers.add(partition, entries)

    def _stop_partitions(self, error: OffsetsLostError) -> None:
        for (topic, number), (first_lost, first_left) in error.lost.items():
            self._stopped.add(TopicPartition(topic, number))
            self._emit(
                events.OffsetsLost(
                    topic=topic, partition=number, first_lost=first_lost, first_left=first_left
                )
            )
