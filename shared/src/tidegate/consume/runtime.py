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
from tidegate.consume.alarms import Alarms, LoopLag
from tidegate.consume.committing import Committer
from tidegate.consume.done_set import note_of, unpack
from tidegate.consume.fault_limit import FaultLimit, Holds
from tidegate.consume.handling import Handling
from tidegate.consume.intake import Intake, Valved
from tidegate.consume.isolating import Isolating
from tidegate.consume.isolation import NARROW, IsolationPolicy, suspicion_of
from tidegate.consume.lanes import Buffers, Entry
from tidegate.consume.offsets import OffsetBook, TopicPartition
from tidegate.consume.plan import Plan
from tidegate.consume.service import Service, Sink
from tidegate.consume.transport import Position, Source
from tidegate.consume.watching import Watching
from tidegate.consume.workers import Workers
from tidegate.errors import BrokerError, OffsetsLostError, TidegateError
from tidegate.events import Emit
from tidegate.patience import unless, until_reached
from tidegate.records import Inbound
from tidegate.settings import RuntimeSettings
from tidegate.topics import DELAYS, HELD
from tidegate.tracing import NoTracing, Tracing

P = TypeVar("P")

_PATIENT = frozenset({*DELAYS, *HELD.values()})
_POLL_RECORDS = 256
_POLL_S = 0.1
_LONGEST_BACKOFF_S = 5.0  # a broker that is back is to be noticed soon

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
        retention_ms: Mapping[str, int] | None = None,
    ) -> None:
        """Take the parts. ``retention_ms`` is how long each topic keeps its records, where that is known."""
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
            limit=FaultLimit(settings.own_faults, settings.own_faults_window_s),
        )
        self._book = OffsetBook()
        self._buffers = Buffers(plan.reserved)
        self._room = asyncio.Event()
        self._committer = Committer(
            self._book, source, interval_s=settings.commit_interval_s, clock=clock, emit=emit
        )
        self._policy = IsolationPolicy(
            crashes=settings.crashes_before_isolation, crashes_alone=settings.crashes_alone
        )
        self._isolating = Isolating(
            book=self._book,
            buffers=self._buffers,
            committer=self._committer,
            policy=self._policy,
            clock=clock,
            emit=emit,
        )
        self._holds = Holds(settings.hold_pause_s)
        self._workers = Workers(
            book=self._book,
            buffers=self._buffers,
            intake=self._intake,
            handling=self._handling,
            isolating=self._isolating,
            holds=self._holds,
            room=self._room,
            clock=clock,
            emit=emit,
        )
        self._alarms = Alarms(
            stuck_after_s=settings.stuck_after_s + (plan.deadline_s or 0.0), retention_ms=retention_ms or {}
        )
        self._lag = LoopLag(settings.loop_lag_s)
        self._watching = Watching(
            book=self._book,
            buffers=self._buffers,
            in_hand=lambda: self._workers.in_hand,
            alarms=self._alarms,
            lag=self._lag,
            clock=clock,
            broker_clock=broker_clock,
            emit=emit,
        )
        self._ready: set[int] = set()
        self._preparing: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[TopicPartition] = set()
        self._phase: Phase = "starting"
        self._joined = False
        self._assignments = 0
        self._tick = clock.monotonic()
        self._group: asyncio.TaskGroup | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain: finish what is in hand, commit, leave the group.

        Raises FatalProduceError (in an exception group) when a custody produce can never be known.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                joining = until_reached(lambda: self._source.start(self), self._clock, self._emit)
                await unless(stop, joining)
                self._tick = self._clock.monotonic()
                self._phase = "running"
                self._workers.open(group)
                poller = group.create_task(self._poll_forever())
                committer = group.create_task(self._committer.run())
                watcher = group.create_task(self._watching.run())
                await stop.wait()
                self._phase = "draining"
                self._workers.close()
                poller.cancel()
                abandoned = await self._let_go(self._book.partitions)
                committer.cancel()
                watcher.cancel()
                for task in self._preparing.values():
                    task.cancel()
        except BaseExceptionGroup as errors:
            if errors.split(TidegateError)[1] is None:
                # It ends for a reason that it can name: no record is to be accused of it.
                await self._end_cleanly(self._book.partitions)
            raise
        finally:
            # However it ended: whoever leaves the group at once does not keep the others waiting.
            self._phase = "closed"
            await self._source.stop()
        self._emit(events.RuntimeStopped(abandoned=abandoned))

    def snapshot(self) -> dict[str, object]:
        """Return the state for the health page: phase, counts, seconds since the loop last turned."""
        turned_at = self._clock.monotonic() if self._phase == "starting" else self._tick
        return {
            "phase": self._phase,
            "assigned": len(self._book.partitions),
            "ready": self.is_ready,
            "in_hand": self._intake.in_hand,
            "bytes_in_hand": self._intake.bytes,
            "buffered": len(self._buffers),
            "held": len(self._holds.held),
            "isolated": len(self._isolating.partitions),
            "stuck": len(self._alarms.stuck),
            "loop_lag_s": round(self._lag.last_s, 3),
            "loop_age_s": round(self._clock.monotonic() - turned_at, 3),
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
            suspicion = suspicion_of(note_of(metadata, offset)).taken_over(self._policy)
            self._book.assign(partition, offset, done, suspicion)
            self._isolating.begin(partition)
        self._assignments += 1
        self._joined = True
        self._emit(events.PartitionsAssigned(partitions=len(positions), restored=restored))
        assert self._group is not None
        for number in sorted({partition.partition for partition in positions}):
            self._preparing[number] = self._group.create_task(self._prepare(number))
        self._room.set()

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Let the partitions go: what is in hand may end until the deadline, then commit."""
        revoked = [partition for partition in partitions if self._book.holds(partition)]
        for number in {partition.partition for partition in revoked}:
            self._ready.discard(number)
            if task := self._preparing.pop(number, None):
                task.cancel()
        self._joined = False
        abandoned = await self._let_go(revoked)
        for partition in revoked:
            self._book.revoke(partition)
            self._stopped.discard(partition)
        for number in {partition.partition for partition in revoked}:
            self._service.release(number)
        self._emit(events.PartitionsRevoked(partitions=len(revoked), abandoned=abandoned))

    async def _let_go(self, partitions: Iterable[TopicPartition]) -> int:
        """Begin nothing more of these, give what is in hand its time, commit; return what was cut off."""
        going = tuple(partitions)
        for partition in going:
            self._buffers.drop(partition)
            self._isolating.end(partition)
            self._holds.drop(partition)
        abandoned = await self._workers.drain(going, self._settings.drain_deadline_s)
        for partition in going:
            self._buffers.drop(partition)  # what came back to wait meanwhile
        await self._end_cleanly(going)
        return abandoned

    async def _end_cleanly(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._book.suspect(partition, self._book.suspicion(partition).ended())
        await self._committer.commit()

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
            wanted, full, most = self._wanted()
            try:
                if not wanted:
                    self._source.check()
                    await self._wait_for_room()
                else:
                    # Blocking on the empty partitions would keep the full ones waiting once they drain.
                    timeout_s = 0.0 if full else _POLL_S
                    records = await self._source.poll(wanted, max_records=most, timeout_s=timeout_s)
                    await self._take(records)
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

    def _wanted(self) -> tuple[list[TopicPartition], bool, int]:
        """Return the partitions to ask, whether others are full, and how many records to ask for at most."""
        wanted, full, most = [], False, _POLL_RECORDS
        for partition in self._book.partitions:
            if partition.partition not in self._ready or partition in self._stopped:
                continue
            if self._buffers.is_full(partition):
                # One that is full of what is not due, or held, nobody waits for.
                full = full or (partition.topic not in _PATIENT and partition not in self._holds.held)
            elif self._book.takes(partition, _POLL_RECORDS):
                wanted.append(partition)
                if self._book.suspicion(partition).is_narrow:
                    most = NARROW
        return wanted, full, most

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S / 2):
                await self._room.wait()
        except TimeoutError:
            pass

    async def _take(self, records: Iterable[Inbound]) -> None:
        """Let these records wait for their turn. The first of a partition is told of in a commit before."""
        by_partition: dict[TopicPartition, list[Inbound]] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            by_partition.setdefault(partition, []).append(record)
        if not await self._begin(by_partition):
            return
        for partition, arrived in by_partition.items():
            # A rebalance may have begun while the poll was on its way: what it brought is left alone.
            if partition.partition not in self._ready or not self._book.holds(partition):
                continue
            entries = []
            for record in arrived:
                epoch = self._book.receive(partition, record.offset)
                if epoch is not None:
                    entries.append(Entry(partition, epoch, record))
            self._buffers.add(partition, entries)

    async def _begin(self, partitions: Iterable[TopicPartition]) -> bool:
        """Commit that records of these are handed out; False where a new assignment came meanwhile."""
        fresh = [
            partition
            for partition in partitions
            if self._book.holds(partition) and not self._book.suspicion(partition).begun
        ]
        if not fresh:
            return True
        assignments = self._assignments
        for partition in fresh:
            self._book.suspect(partition, self._book.suspicion(partition).began())
        # Where it is refused a crash goes uncounted, which is all.
        await self._committer.commit()
        return assignments == self._assignments

    def _stop_partitions(self, error: OffsetsLostError) -> None:
        for (topic, number), (first_lost, first_left) in error.lost.items():
            self._stopped.add(TopicPartition(topic, number))
            self._emit(
                events.OffsetsLost(
                    topic=topic, partition=number, first_lost=first_lost, first_left=first_left
                )
            )
