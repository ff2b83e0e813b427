"""How far a consumer group is behind on a topic, and since when, asked of the broker.

What counts as done: what is committed, and what the commit's metadata says is done above it. One slow record
at the head of a partition then hides nothing of what was done behind it. What is unread: what lies above the
last one done; a record in hand that is the last of its partition cannot be told from one nobody has seen.

The embedded broker drops the metadata and, asked for the end, names the last batch's first offset + 1, which
may lie below what is committed: there a group looks less far behind than it is, by a batch a partition.

A reading that fails is none: whoever asked keeps the last one and decides for how long it is worth anything.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IllegalStateError, KafkaError

from tidegate.consume.done_set import unpack
from tidegate.consume.kafka_connection import cancelled_by_somebody, close_quietly
from tidegate.consume.kafka_offsets import group_offsets
from tidegate.errors import BrokerError
from tidegate.kafka_security import connection_options
from tidegate.settings import KafkaSettings

_READ_TIMEOUT_S = 10.0
_HEADS_TIMEOUT_S = 3.0
_CLOSE_TIMEOUT_S = 5.0
_HEAD_BYTES = 16_384  # a broker sends one batch at least, however large


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One reading, summed over the partitions: offsets at the end, and those of them that are done.

    ``unread_ms`` is the append time of the first unread record, by partition; only where it was asked for,
    there is one, and the broker handed it out.
    """

    end: int
    done: int
    unread_ms: Mapping[int, int] = {}


class Backlog(Protocol):
    """Reads standings, for one caller at a time."""

    async def read(self, topic: str, group: str, *, unread: bool = False) -> Standing:
        """Return where a group stands on a topic. Raises BrokerError."""
        ...


class NoBacklog:
    """Nothing lies anywhere: for tests without a broker."""

    async def read(
        self,
        topic: str,  # noqa: ARG002 -- takes what the real one takes
        group: str,  # noqa: ARG002 -- the same
        *,
        unread: bool = False,  # noqa: ARG002 -- the same
    ) -> Standing:
        """Return nothing."""
        return Standing(end=0, done=0)


class GroupOffset(NamedTuple):
    """What a group has committed: the next offset to read, and those above it that are done, ascending."""

    offset: int
    above: list[int]


class Clients(NamedTuple):
    """Two clients of aiokafka that belong to no group; the consumer asks for offsets and single records."""

    admin: Any
    consumer: Any


@asynccontextmanager
async def connected(settings: KafkaSettings, timeout_s: float) -> AsyncIterator[Clients]:
    """Yield connected clients whose requests end after ``timeout_s``. Raises KafkaError."""
    options = {**connection_options(settings), "request_timeout_ms": int(timeout_s * 1000)}
    clients = Clients(
        AIOKafkaAdminClient(**options),
        AIOKafkaConsumer(
            **options,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_HEAD_BYTES,
            fetch_max_wait_ms=100,
        ),
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(close_quietly, clients.admin.close)
        stack.push_async_callback(close_quietly, clients.consumer.stop)
        await clients.admin.start()
        await clients.consumer.start()
        yield clients


async def committed(
    clients: Clients, group: str, partitions: Iterable[KafkaPartition]
) -> dict[KafkaPartition, GroupOffset]:
    """Return what a group, by its full name, has committed, where it has. Raises KafkaError."""
    found = await group_offsets(clients.admin, group, partitions)
    return {
        partition: GroupOffset(commit.offset, unpack(commit.metadata, commit.offset))
        for partition, commit in found.items()
        if commit.offset >= 0
    }


class KafkaBacklog:
    """Keeps its connections from reading to reading, and makes new ones after a failure."""

    def __init__(self, settings: KafkaSettings, partitions: int) -> None:
        """Connect at the first reading. ``partitions`` is the count of the site-keyed topics."""
        self._settings = settings
        self._partitions = partitions
        self._stack = AsyncExitStack()
        self._clients: Clients | None = None
        self._heads: dict[KafkaPartition, tuple[int, int]] = {}

    async def read(self, topic: str, group: str, *, unread: bool = False) -> Standing:
        """Return where a group stands on a topic. Raises BrokerError, after ten seconds at the latest."""
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                return await self._read(self._settings.prefix + topic, self._settings.prefix + group, unread)
        except (KafkaError, IllegalStateError, OSError, TimeoutError) as error:
            await self.stop()
            raise BrokerError(f"the lag of {group} on {topic} cannot be read: {error!r}") from error
        except asyncio.CancelledError as error:
            if cancelled_by_somebody():
                raise
            await self.stop()
            raise BrokerError(f"the lag of {group} on {topic} cannot be read: the client gave up") from error

    async def stop(self) -> None:
        """Close the connections; a close that hangs is left alone."""
        stack, self._stack, self._clients = self._stack, AsyncExitStack(), None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await stack.aclose()

    async def _read(self, topic: str, group: str, unread: bool) -> Standing:
        if self._clients is None:
            self._clients = await self._stack.enter_async_context(connected(self._settings, _READ_TIMEOUT_S))
        clients = self._clients
        partitions = [KafkaPartition(topic, number) for number in range(self._partitions)]
        found = await committed(clients, group, partitions)
        fresh = [partition for partition in partitions if partition not in found]
        if fresh:
            begins = await clients.consumer.beginning_offsets(fresh)
            found |= {partition: GroupOffset(begins[partition], []) for partition in fresh}
        # Asked after the commits: what is committed was there before.
        ends = await clients.consumer.end_offsets(partitions)
        done = {partition: found[partition].offset + len(found[partition].above) for partition in partitions}
        heads = {}
        if unread:
            first = {p: (found[p].above[-1] + 1 if found[p].above else found[p].offset) for p in partitions}
            heads = await self._times({p: offset for p, offset in first.items() if offset < ends[p]})
        return Standing(
            end=sum(max(ends[partition], done[partition]) for partition in partitions),
            done=sum(done.values()),
            unread_ms={partition.partition: at_ms for partition, at_ms in heads.items()},
        )

    async def _times(self, heads: dict[KafkaPartition, int]) -> dict[KafkaPartition, int]:
        """Return the append times of the first records from these offsets on; asked once for each offset."""
        known = {p: seen for p, seen in self._heads.items() if heads.get(p) == seen[0]}
        wanted = {p: offset for p, offset in heads.items() if p not in known}
        if wanted:
            known |= await self._fetch(wanted)
        self._heads = known
        return {partition: at_ms for partition, (_, at_ms) in known.items()}

    async def _fetch(self, wanted: dict[KafkaPartition, int]) -> dict[KafkaPartition, tuple[int, int]]:
        assert self._clients is not None
        consumer, left = self._clients.consumer, dict(wanted)
        found: dict[KafkaPartition, tuple[int, int]] = {}
        consumer.assign(list(wanted))
        for partition, offset in wanted.items():
            consumer.seek(partition, offset)
        try:
            async with asyncio.timeout(_HEADS_TIMEOUT_S):
                while left:
                    batches = await consumer.getmany(*left, timeout_ms=500, max_records=1)
                    for partition, records in batches.items():
                        found[partition] = (left.pop(partition), records[0].timestamp)
                        # Paused, it is not fetched ahead; nobody wants to know the next one.
                        consumer.pause(partition)
        except TimeoutError:
            pass  # the others are known
        finally:
            if left:
                consumer.pause(*left)
        return found
