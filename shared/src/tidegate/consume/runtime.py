"""The loop: poll, hand out, act on outcomes, commit. One consumer per process.

What holds it together (delivery.md C):

- A record is in hand from the moment a slot takes it; slots and bytes in hand are bounded, and what
  waits before them is too. Full means that partitions are not asked, never that something is dropped.
- An outcome is acted on here and nowhere else: what it produces is acknowledged by the broker before the
  offset is finished, and only finished offsets are committed.
- A produce is never timed out (C5). If its fate cannot be known the process ends, and the next owner
  redoes the job; identities make the two copies one.
- A rebalance gives work in hand until the drain deadline, commits, and lets go. What it cuts off is not
  finished, so it is redone by whoever is next. Restoring state runs outside the rebalance (M6).

Rejected: pausing partitions (it throws prefetched records away), and a task per record (a worker that
goes on to the next record itself costs a third).
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Generic, Literal, TypeVar

from tidegate.clock import BrokerClock, Clock
from tidegate.consume import delays
from tidegate.consume import runtime_events as events
from tidegate.consume.attempt import attempt
from tidegate.consume.done_set import unpack
from tidegate.consume.handler_deadline import HandlerDeadline
from tidegate.consume.intake import Intake, Valved
from tidegate.consume.lanes import HALF_FULL, Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.consume.plan import Plan
from tidegate.consume.service import Service, Sink, Work
from tidegate.consume.settling import Settlement, delayed, settle
from tidegate.consume.transport import Position, Source
from tidegate.errors import BrokerError, CommitRefusedError, OffsetsLostError, RecordError
from tidegate.events import Emit
from tidegate.outcome import Dead, Done, ErrorClass, Outcome
from tidegate.records import Inbound, Job
from tidegate.salvage import unread_job
from tidegate.settings import RuntimeSettings
from tidegate.topics import DELAYS, HELD
from tidegate.tracing import NoTracing, Tracing, traced

P = TypeVar("P")

_PATIENT = frozenset({*DELAYS, *HELD.values()})
_POLL_RECORDS = 256
_POLL_S = 0.1
_CANCEL_S = 2.0
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
        self._plan = plan
        self._service = service
        self._source = source
        self._sink = sink
        self._settings = settings
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._tracing = tracing or NoTracing()
        self._intake = Intake(
            plan,
            window=settings.window or plan.window,
            window_bytes=settings.window_bytes,
            valve=service.valve if isinstance(service, Valved) else None,
            emit=emit,
        )
        self._deadline = HandlerDeadline(plan.deadline_s)
        self._book = OffsetBook()
        self._buffers = Buffers(plan.reserved)
        self._ready: set[int] = set()
        self._preparing: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[TopicPartition] = set()
        self._active: dict[asyncio.Task[None], Entry] = {}
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._commit_lock = asyncio.Lock()
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
                poller = group.create_task(self._poll_forever())
                committer = group.create_task(self._commit_forever())
                await stop.wait()
                self._phase = "draining"
                poller.cancel()
                for partition in self._book.partitions:
                    self._buffers.drop(partition)
                abandoned = await self._drain(self._book.partitions)
                committer.cancel()
                await self._commit()
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
        abandoned = await self._drain(revoked)
        await self._commit()
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

    async def _drain(self, partitions: Iterable[TopicPartition]) -> int:
        """Wait for work in hand of these partitions; cut off the rest at the deadline and count it."""
        going = set(partitions)

        def left() -> list[asyncio.Task[None]]:
            return [task for task, entry in self._active.items() if entry.partition in going]

        try:
            async with asyncio.timeout(self._settings.drain_deadline_s):
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
            self._dispatch()

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

    def _next(self) -> Entry | None:
        """Take a slot and the record that is to have it; None when either is missing."""
        if self._phase != "running":
            return None
        entry = self._intake.next(self._buffers)
        if entry is None:
            return None
        if self._buffers.size(entry.partition) in (0, HALF_FULL):
            self._room.set()
        return entry

    def _dispatch(self) -> None:
        assert self._group is not None
        while (entry := self._next()) is not None:
            task = self._group.create_task(self._worker(entry))
            self._active[task] = entry

    async def _worker(self, first: Entry) -> None:
        """Hold a slot and handle record after record until none waits for it."""
        task = asyncio.current_task()
        assert task is not None
        entry: Entry | None = first
        try:
            while entry is not None:
                self._active[task] = entry
                try:
                    await self._handle(entry)
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
            self._emit(events.ResultStale(topic=topic, partition=number, offset=entry.record.offset))

    async def _handle(self, entry: Entry) -> None:
        record = entry.record
        with self._tracing.handling(record) as trace:
            job: Job | None = None
            outcome: Outcome
            try:
                work = self._service.decode(record)
                job = work.job
                left_s = self._left_to_wait(work)
                if left_s > 0:
                    outcome = Done((delayed(job.original, job.state, left_s),))
                else:
                    outcome = await attempt(
                        self._service,
                        work,
                        self._plan,
                        self._deadline,
                        clock=self._clock,
                        emit=self._emit,
                    )
            except RecordError as error:
                job = error.job or job or unread_job(record)
                outcome = Dead(reason=error.reason, error_class=ErrorClass.BAD_INPUT, message=error.message)
            await self._perform(job, outcome, trace)

    def _left_to_wait(self, work: Work[P]) -> float:
        """A wait longer than its class goes on through another one, at no attempt (T2)."""
        if work.record.topic not in DELAYS:
            return 0.0
        return delays.remaining_s(work.job.state, self._broker_clock.now_ms())

    async def _perform(self, job: Job, outcome: Outcome, trace: bytes | None) -> None:
        """Produce what the outcome asks for, one after the other, each acknowledged (C5)."""
        if isinstance(outcome, Done) and not outcome.outgoing:
            return
        try:
            await self._produce(settle(job, outcome, self._plan, self._broker_clock.now_ms()), trace)
        except RecordError as error:
            # Too large for its topic: only a dead letter, which is cut to fit, can take it.
            dead = Dead(reason=error.reason, error_class=ErrorClass.REFUSED, message=error.message)
            await self._produce(settle(job, dead, self._plan, self._broker_clock.now_ms()), trace)

    async def _produce(self, settlement: Settlement, trace: bytes | None) -> None:
        for outgoing in settlement.outgoing:
            await self._sink.send(traced(outgoing, trace))
        if settlement.event is not None:
            self._emit(settlement.event)

    async def _commit_forever(self) -> None:
        while True:
            await self._clock.sleep(self._settings.commit_interval_s)
            await self._commit()

    async def _commit(self) -> None:
        async with self._commit_lock:
            commits = self._book.commits()
            if not commits:
                return
            try:
                await self._source.commit(commits)
            except CommitRefusedError as error:
                self._emit(events.CommitRefused(error=str(error)))
            else:
                self._book.committed(commits)
