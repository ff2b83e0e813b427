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
from tidegate.consume.isolation import NARROW
from tidegate.consume.lanes import Entry, size_of
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.parts import assemble
from tidegate.consume.plan import Plan
from tidegate.consume.service import BatchSink, Service
from tidegate.consume.transport import Source
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
        sink: BatchSink,
        settings: RuntimeSettings,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
        tracing: Tracing | None = None,
        retention_ms: Mapping[str, int] | None = None,
    ) -> None:
        """Take the parts. ``retention_ms`` is how long each topic keeps its records, where that is known."""
        parts = assemble(
            plan=plan,
            service=service,
            source=source,
            sink=sink,
            settings=settings,
            clock=clock,
            broker_clock=broker_clock,
            emit=emit,
            tracing=tracing or NoTracing(),
            retention_ms=retention_ms or {},
        )
        self._source = source
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._parts = parts
        self._book = parts.book
        self._buffers = parts.buffers
        self._workers = parts.workers
        self._assignments = parts.assignments
        self._ready = parts.assignments.ready
        self._stopped = parts.assignments.stopped
        self._room = parts.room
        self._phase: Phase = "starting"
        self._tick = clock.monotonic()
        self._narrow_next = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain: finish what is in hand, commit, leave the group.

        Raises FatalProduceError (in an exception group) when a custody produce can never be known.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._assignments.open(group)
                joining = until_reached(
                    lambda: self._source.start(self._assignments), self._clock, self._emit
                )
                await unless(stop, joining)
                self._tick = self._clock.monotonic()
                self._phase = "running"
                self._workers.open(group)
                poller = group.create_task(self._poll_forever())
                committer = group.create_task(self._parts.committer.run())
                watcher = group.create_task(self._parts.watching.run())
                await stop.wait()
                self._phase = "draining"
                self._workers.close()
                poller.cancel()
                abandoned = await self._assignments.close()
                committer.cancel()
                watcher.cancel()
        except BaseExceptionGroup as errors:
            if errors.split(TidegateError)[1] is None:
                # It ends for a reason that it can name: no record is to be accused of it.
                await self._assignments.end_cleanly(self._book.partitions)
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
            # Scaling goes by this one, and a fetcher more would not help those that are only sent away.
            "in_hand": self._parts.intake.in_hand - self._parts.intake.passed,
            "passed_on": self._parts.intake.passed,
            "bytes_in_hand": self._parts.intake.bytes,
            "buffered": len(self._buffers),
            "held": len(self._parts.holds.held),
            "isolated": len(self._parts.isolating.partitions),
            "stuck": len(self._parts.alarms.stuck),
            "loop_lag_s": round(self._parts.lag.last_s, 3),
            "loop_age_s": round(self._clock.monotonic() - turned_at, 3),
        }

    @property
    def is_ready(self) -> bool:
        """Whether the group has given us what it gives us and its state is restored."""
        return self._phase == "running" and self._assignments.all_ready

    async def _poll_forever(self) -> None:
        backoff, apart = 0.1, 0
        while True:
            self._tick = self._clock.monotonic()
            self._room.clear()
            wanted, full, narrow = self._wanted()
            try:
                if not wanted:
                    self._source.check()
                    await self._wait_for_room()
                else:
                    # Blocking on the empty partitions would keep the full ones waiting once they drain.
                    timeout_s = 0.0 if full or apart or narrow else _POLL_S
                    most = NARROW if narrow else _POLL_RECORDS
                    if apart:
                        # One that cannot be read must not keep the others from being read.
                        wanted, apart = [wanted[apart % len(wanted)]], apart - 1
                    records = await self._source.poll(wanted, max_records=most, timeout_s=timeout_s)
                    await self._take(records)
                    if full and not records:
                        await self._wait_for_room()
                backoff = 0.1
            except OffsetsLostError as error:
                self._stop_partitions(error)
            except BrokerError as error:
                self._emit(events.PollFailed(error=str(error)))
                apart = apart or 2 * len(wanted)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF_S)
            self._buffers.wake(self._broker_clock.now_ms())
            self._workers.dispatch()

    def _wanted(self) -> tuple[list[TopicPartition], bool, bool]:
        """Return the partitions to ask, whether others are full, and whether few records are to be asked for.

        Those that need care after a crash are asked every other time, by themselves: one of them that is idle
        would otherwise make all polls small for as long as it is.
        """
        wanted: list[TopicPartition] = []
        narrow: list[TopicPartition] = []
        full = False
        for partition in self._book.partitions:
            if partition.partition not in self._ready or partition in self._stopped:
                continue
            if self._buffers.is_full(partition):
                # One that is full of what is not due, or held, nobody waits for.
                full = full or (partition.topic not in _PATIENT and partition not in self._parts.holds.held)
            elif self._book.takes(partition, _POLL_RECORDS):
                (narrow if self._book.suspicion(partition).is_narrow else wanted).append(partition)
        self._narrow_next = bool(narrow) and not self._narrow_next
        return (narrow, full, True) if self._narrow_next else (wanted, full, False)

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S / 2):
                await self._room.wait()
        except TimeoutError:
            pass

    async def _take(self, records: Iterable[Inbound]) -> None:
        """Let these records wait for their turn. The first of a partition is told of in a commit before."""
        by_partition: dict[TopicPartition, list[Inbound]] = {}
        partition = TopicPartition("", -1)
        for record in records:
            if record.partition != partition.partition or record.topic != partition.topic:
                partition = TopicPartition(record.topic, record.partition)
                by_partition.setdefault(partition, [])
            by_partition[partition].append(record)
        if not await self._assignments.begin(by_partition):
            return
        for partition, arrived in by_partition.items():
            # A rebalance may have begun while the poll was on its way: what it brought is left alone.
            if partition.partition not in self._ready or not self._book.holds(partition):
                continue
            entries = []
            for record in arrived:
                epoch = self._book.receive(partition, record.offset)
                if epoch is not None:
                    entries.append(Entry(partition, epoch, record, size_of(record)))
            self._buffers.add(partition, entries)

    def _stop_partitions(self, error: OffsetsLostError) -> None:
        for (topic, number), (first_lost, first_left) in error.lost.items():
            self._stopped.add(TopicPartition(topic, number))
            self._emit(
                events.OffsetsLost(
                    topic=topic, partition=number, first_lost=first_lost, first_left=first_left
                )
            )
