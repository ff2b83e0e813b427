"""Looks for a job among the records that no service has finished yet, outside of every consumer group."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError
from tidegate.backlog import GroupOffset, committed, connected
from tidegate.clock import Clock
from tidegate.consume.kafka_connection import close_quietly
from tidegate.consume.kafka_record import inbound
from tidegate.errors import BrokerError
from tidegate.kafka_admin import cluster
from tidegate.kafka_security import connection_options
from tidegate.records import JobState
from tidegate.settings import KafkaSettings
from tidegate.topics import DELAYS, HELD, LANES, Topic

from tidegate_cli.jobs.identity import identity_of

# Who reads what. A job is always on one of these topics, or has its outcome.
READERS: Mapping[Topic, str] = {
    **dict.fromkeys((*LANES.values(), *HELD.values(), *DELAYS, Topic.CAPTCHA_SOLUTIONS), "fetcher"),
    Topic.CAPTCHA_REQUESTS: "solver",
    Topic.PAGES: "storer",
    Topic.DEAD_LETTER: "storer",
}
MOST_RECORDS = 200_000
MOST_S = 20.0
_REQUEST_S = 10.0
_QUIET_MS = 300


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the job; ``at_ms`` is its append time. It waits, or is in hand, unless ``done``."""

    run: str
    id: str
    topic: str
    partition: int
    offset: int
    at_ms: int
    done: bool
    trace: bytes | None = None
    state: JobState | None = None


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, oldest first; ``whole`` unless the search was cut off by its bounds."""

    sightings: tuple[Sighting, ...]
    whole: bool


async def search(kafka: KafkaSettings, job_id: str, run: str | None, clock: Clock) -> Search:
    """Read what lies above the groups' commits, at most so many records and seconds. Raises BrokerError."""
    try:
        async with _reading(kafka) as (consumer, starts, offsets):
            return await _search(consumer, starts, offsets, kafka=kafka, wanted=(job_id, run), clock=clock)
    except (KafkaError, OSError, TimeoutError) as error:
        what = str(error) or type(error).__name__
        raise BrokerError(f"Kafka at {kafka.bootstrap} cannot be asked: {what}") from error


@asynccontextmanager
async def _reading(
    kafka: KafkaSettings,
) -> AsyncIterator[tuple[Any, dict[KafkaPartition, int], dict[KafkaPartition, GroupOffset]]]:
    """Yield a consumer, where to begin on each partition, and what the groups have committed."""
    async with connected(kafka, _REQUEST_S) as clients:
        listed = (await cluster(clients.admin))["topics"]
        counts = {each["topic"]: len(each["partitions"]) for each in listed}
        offsets: dict[KafkaPartition, GroupOffset] = {}
        partitions: list[KafkaPartition] = []
        for group in dict.fromkeys(READERS.values()):
            mine = [
                KafkaPartition(kafka.prefix + topic, number)
                for topic, reader in READERS.items()
                if reader == group
                for number in range(counts.get(kafka.prefix + topic, 0))
            ]
            partitions += mine
            offsets |= await committed(clients, kafka.prefix + group, mine)
        begins = await clients.consumer.beginning_offsets(partitions) if partitions else {}
    starts = {p: max(begins[p], offsets[p].offset if p in offsets else 0) for p in partitions}
    consumer = AIOKafkaConsumer(
        **connection_options(kafka),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1 << 18,
    )
    try:
        await consumer.start()
        yield consumer, starts, offsets
    finally:
        await close_quietly(consumer.stop)


async def _search(
    consumer: Any,
    starts: dict[KafkaPartition, int],
    offsets: dict[KafkaPartition, GroupOffset],
    *,
    kafka: KafkaSettings,
    wanted: tuple[str, str | None],
    clock: Clock,
) -> Search:
    job_id, run = wanted
    if not starts:
        return Search(sightings=(), whole=True)
    ends = await consumer.end_offsets(list(starts))
    consumer.assign(list(starts))
    for partition, start in starts.items():
        consumer.seek(partition, start)
    left = dict(starts)
    found, seen, until = [], 0, clock.monotonic() + MOST_S
    while left and seen < MOST_RECORDS and clock.monotonic() < until:
        batches = await consumer.getmany(*left, timeout_ms=_QUIET_MS, max_records=2_000)
        for partition, records in batches.items():
            done = set(offsets[partition].above) if partition in offsets else set()
            for record in records:
                one = inbound(partition.topic.removeprefix(kafka.prefix), record)
                who = identity_of(one)
                if who.id == job_id and run in (None, who.run):
                    found.append(
                        Sighting(
                            run=who.run,
                            id=who.id,
                            topic=one.topic,
                            partition=one.partition,
                            offset=one.offset,
                            at_ms=one.timestamp_ms,
                            done=one.offset in done,
                            trace=one.headers.get("traceparent"),
                            state=who.state,
                        )
                    )
            seen += len(records)
            left[partition] = records[-1].offset + 1
        # A quiet poll ends it only where the end is reached: the embedded broker names one that is too low.
        if not batches:
            left = {partition: at for partition, at in left.items() if at < ends[partition]}
    found.sort(key=lambda sighting: sighting.at_ms)
    return Search(sightings=tuple(found), whole=not left)
