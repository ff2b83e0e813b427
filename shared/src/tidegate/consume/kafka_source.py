"""A member of a consumer group on Kafka, by aiokafka. The traps it steps around are named where they are."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from tidegate.clock import Clock
from tidegate.consume.deadlines import CLOSE_S, COMMIT_S, heartbeat_s, rebalance_timeout_s
from tidegate.consume.kafka_batches import mend_batches
from tidegate.consume.kafka_connection import cancelled_by_somebody, close_quietly
from tidegate.consume.kafka_offsets import group_offsets
from tidegate.consume.kafka_record import inbound
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.transport import Listener, Position
from tidegate.errors import BrokerError, CommitRefusedError, OffsetsLostError, RebalanceError
from tidegate.kafka_security import connection_options
from tidegate.records import Inbound
from tidegate.settings import KafkaSettings

# Records that sit in the log for days must not make a member leave: a watchdog of our own looks at the
# loop instead (C8).
_FOREVER_MS = 2**31 - 1
_JOIN_AGAIN_S = 1.0


class KafkaSource:
    """Polls, commits and hears of rebalances under logical topic names."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        topics: Iterable[str],
        fetch_bytes: int,
        drain_deadline_s: float,
        clock: Clock,
    ) -> None:
        self._group = settings.prefix + group
        self._clock = clock
        self._physical = {topic: settings.prefix + topic for topic in topics}
        self._logical = {physical: topic for topic, physical in self._physical.items()}
        # A poll names hundreds of partitions, mostly the same ones.
        self._named: dict[TopicPartition, KafkaPartition] = {}
        self._admin = AIOKafkaAdminClient(**connection_options(settings))
        session_s = settings.session_timeout_s
        self._make: Callable[[], AIOKafkaConsumer] = lambda: AIOKafkaConsumer(
            **connection_options(settings),
            group_id=self._group,
            enable_auto_commit=False,
            # Without a commit the start is set explicitly; a position that is gone is an alarm (C6).
            auto_offset_reset="none",
            # One owner for a site's lanes, solutions and sessions; round-robin gives none (S1).
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=int(session_s * 1000),
            heartbeat_interval_ms=int(heartbeat_s(session_s) * 1000),
            # Its default is the session time-out, which would evict a member that is still draining.
            rebalance_timeout_ms=int(rebalance_timeout_s(drain_deadline_s, session_s) * 1000),
            max_poll_interval_ms=_FOREVER_MS,
            max_partition_fetch_bytes=fetch_bytes,
            fetch_max_wait_ms=250,
            isolation_level="read_committed",
        )
        self._consumer = self._make()
        self._failure: BaseException | None = None
        self._untaken: KafkaError | None = None
        # The next offset to hand out of each partition.
        self._next: dict[KafkaPartition, int] = {}
        self._assignments = 0
        self._joining_at = self._member_at = -math.inf

    async def start(self, listener: Listener) -> None:
        """Connect and join; the first assignment comes by the listener.

        Raises BrokerError where that fails; it may be called again then.
        """
        try:
            await self._admin.start()
            self._consumer.subscribe(list(self._physical.values()), listener=_Rebalances(self, listener))
            await self._consumer.start()
        except KafkaError as error:
            # A consumer starts once.
            await close_quietly(self._consumer.stop)
            self._consumer, self._failure = self._make(), None
            raise BrokerError(f"the group {self._group} cannot be joined: {error!r}") from error
        self._watch_heartbeats()

    def membership_age_s(self) -> float:
        """Return seconds since a moment at which the group certainly counted us in; infinite before.

        It is when a heartbeat was sent that was answered well, or a join begun that was. The group gives our
        partitions away the session time-out after such a moment at the earliest, whatever we have heard:
        while the broker is away, or the network, we hear of it last (M3).
        """
        return self._clock.monotonic() - self._member_at

    def _watch_heartbeats(self) -> None:
        coordinator: Any = self._consumer._coordinator  # noqa: SLF001 -- heartbeats are told of nowhere else
        heartbeat = coordinator._do_heartbeat  # noqa: SLF001

        async def watched() -> bool:
            sent_at = self._clock.monotonic()
            answered_well = bool(await heartbeat())
            if answered_well:
                self._member_at = max(self._member_at, sent_at)
            return answered_well

        coordinator._do_heartbeat = watched  # noqa: SLF001

    async def poll(
        self, partitions: Iterable[TopicPartition], *, max_records: int, timeout_s: float
    ) -> list[Inbound]:
        """Return what has been fetched of these partitions; ask the broker for nothing else."""
        self.check()
        wanted = [self._named.get(partition) or self._name(partition) for partition in partitions]
        begun = self._assignments
        # getmany() of no partitions means all of them (C8).
        assert wanted
        try:
            batches = await self._consumer.getmany(
                *wanted, timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except OffsetOutOfRangeError as error:
            raise await self._lost(error) from error
        except NoOffsetForPartitionError:
            # The fetcher ran ahead of the explicit start position; the next poll has it.
            return []
        except UnicodeDecodeError as error:
            mend_batches()
            self._go_back(wanted)
            raise BrokerError(f"a header's name is no text: {error!r}") from error
        except (KafkaError, IllegalStateError) as error:
            self._go_back(wanted)
            raise BrokerError(repr(error)) from error
        if begun != self._assignments:
            self._put_back(batches)
            return []
        for partition, records in batches.items():
            self._next[partition] = records[-1].offset + 1
        return [
            inbound(self._logical[record.topic], record) for records in batches.values() for record in records
        ]

    def _name(self, partition: TopicPartition) -> KafkaPartition:
        topic, number = partition
        named = self._named[partition] = KafkaPartition(self._physical[topic], number)
        return named

    def _put_back(
        self, batches: Mapping[KafkaPartition, list[ConsumerRecord[bytes | None, bytes | None]]]
    ) -> None:
        """Go back to before these records: a rebalance came while the poll was on its way.

        getmany() waits a rebalance out and then returns what the new assignment brought, and the position
        is behind it. Whoever asked knows nothing of that assignment yet and would leave the records alone.
        """
        for partition, records in batches.items():
            # Where it is not ours any more there is no position, and nothing to go back to.
            with contextlib.suppress(IllegalStateError):
                self._consumer.seek(partition, records[0].offset)

    def _go_back(self, partitions: Iterable[KafkaPartition]) -> None:
        """Go back to what was not handed out: the poll failed.

        getmany() takes from one partition after the other and moves their positions; where a batch of one
        cannot be read, what it had taken from the others is in nobody's hands, and a commit would pass it.
        """
        for partition in partitions:
            if partition in self._next:
                with contextlib.suppress(IllegalStateError):
                    self._consumer.seek(partition, self._next[partition])

    async def _lost(self, error: OffsetOutOfRangeError) -> OffsetsLostError:
        positions: dict[KafkaPartition, int] = error.args[0]
        try:
            first = await self._consumer.beginning_offsets(list(positions))
        except KafkaError as unknown:
            # It is asked for again with the next poll, which meets the same gap.
            raise BrokerError(repr(unknown)) from unknown
        return OffsetsLostError(
            {
                (self._logical[partition.topic], partition.partition): (offset, first[partition])
                for partition, offset in positions.items()
            }
        )

    async def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Commit under a time limit; a commit without an answer is unknown, hence refused."""
        offsets = {
            KafkaPartition(self._physical[topic], number): OffsetAndMetadata(commit.offset, commit.metadata)
            for (topic, number), commit in commits.items()
        }
        try:
            # aiokafka repeats a commit for ever on errors that may pass.
            async with asyncio.timeout(COMMIT_S):
                await self._consumer.commit(offsets)
        except TimeoutError as error:
            raise CommitRefusedError(f"no answer within {COMMIT_S:.0f} s") from error
        except asyncio.CancelledError as error:
            if cancelled_by_somebody():
                raise
            raise CommitRefusedError("the client gave up waiting") from error
        except (KafkaError, IllegalStateError) as error:
            raise CommitRefusedError(repr(error)) from error

    async def stop(self) -> None:
        """Leave the group; LeaveGroup itself may hang, so this ends after a while in any case."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await close_quietly(self._consumer.stop)
                await close_quietly(self._admin.close)
        except TimeoutError:
            # The broker will notice by the session time-out; there is nothing left to lose.
            return

    async def assigned(self, partitions: Iterable[KafkaPartition], listener: Listener) -> None:
        """Set every position explicitly before the first fetch, then hand the partitions over."""
        self._assignments += 1
        self._member_at = self._joining_at
        wanted = list(partitions)
        if not wanted:
            await listener.on_assigned({})
            return
        # Paused and with a position, a partition is neither fetched nor reset while we look.
        self._consumer.pause(*wanted)
        for partition in wanted:
            self._consumer.seek(partition, 0)
        positions, fresh = await self._positions(wanted)
        self._next = {partition: position.offset for partition, position in positions.items()}
        for partition, position in positions.items():
            self._consumer.seek(partition, position.offset)
        if fresh:
            # A group without a commit confuses every reader of its lag.
            await self._consumer.commit(
                {partition: OffsetAndMetadata(positions[partition].offset, "") for partition in fresh}
            )
        await listener.on_assigned(
            {
                TopicPartition(self._logical[partition.topic], partition.partition): position
                for partition, position in positions.items()
            }
        )
        self._consumer.resume(*wanted)
        self._untaken = None

    async def _positions(
        self, wanted: list[KafkaPartition]
    ) -> tuple[dict[KafkaPartition, Position], list[KafkaPartition]]:
        committed = await self._committed(wanted)
        fresh = [p for p in wanted if committed[p].offset < 0]
        first = await self._consumer.beginning_offsets(fresh) if fresh else {}
        positions = {
            p: Position(first[p], "") if p in first else Position(committed[p].offset, committed[p].metadata)
            for p in wanted
        }
        return positions, fresh

    async def _committed(self, wanted: list[KafkaPartition]) -> dict[KafkaPartition, OffsetAndMetadata]:
        """Ask for commits with their metadata; a coordinator that is moving gets a few tries."""
        for wait_s in (0.1, 0.3, 1.0, 2.0, 4.0, None):
            try:
                offsets = await group_offsets(self._admin, self._group, wanted)
            except KafkaError as error:
                if wait_s is None or not error.retriable:
                    raise
                await self._clock.sleep(wait_s)
            else:
                return offsets
        raise AssertionError  # the last try returns or raises

    async def revoked(self, partitions: Iterable[KafkaPartition], listener: Listener) -> None:
        """Pass a revocation on under logical names."""
        self._assignments += 1
        await listener.on_revoked([TopicPartition(self._logical[p.topic], p.partition) for p in partitions])
        self._joining_at = self._clock.monotonic()

    def fail(self, error: BaseException) -> None:
        """Keep what went wrong in a callback: aiokafka would only log it."""
        self._failure = error

    async def join_again(self, error: KafkaError) -> None:
        """Ask for another assignment: the broker did not say where this one begins, or had moved on.

        A leader or coordinator that fails over does that. Nobody was told of the assignment, nothing of it
        is read, and the next one begins with everything being revoked.
        """
        self._untaken = error
        await self._clock.sleep(_JOIN_AGAIN_S)
        coordinator: Any = self._consumer._coordinator  # noqa: SLF001 -- nothing public asks for it
        coordinator.request_rejoin()

    def check(self) -> None:
        """Raise what went wrong in a rebalance: RebalanceError for good, BrokerError for what may pass."""
        if self._failure is not None:
            raise RebalanceError(repr(self._failure)) from self._failure
        if self._untaken is not None:
            error, self._untaken = self._untaken, None
            raise BrokerError(f"an assignment was not taken up, the group is joined again: {error!r}")


class _Rebalances(ConsumerRebalanceListener):
    def __init__(self, source: KafkaSource, listener: Listener) -> None:
        self._source = source
        self._listener = listener

    async def on_partitions_assigned(self, assigned: set[KafkaPartition]) -> None:
        try:
            await self._source.assigned(assigned, self._listener)
        except KafkaError as error:
            await self._source.join_again(error)
        except Exception as error:  # noqa: BLE001 -- judged by the next check
            self._source.fail(error)

    async def on_partitions_revoked(self, revoked: set[KafkaPartition]) -> None:
        try:
            await self._source.revoked(revoked, self._listener)
        except Exception as error:  # noqa: BLE001 -- judged by the next check
            self._source.fail(error)
