"""How far each consumer group is on each topic, asked of the broker."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from tidegate.backlog import Clients, committed, connected
from tidegate.errors import BrokerError
from tidegate.kafka_admin import cluster
from tidegate.settings import KafkaSettings
from tidegate.topics import Topic

GROUPS = ("fetcher", "solver", "storer")
_TIMEOUT_S = 20.0
_FETCHES = 15


class TopicLag(msgspec.Struct, frozen=True, kw_only=True):
    """One topic: ``lags`` maps a group that has read it to the records it has not committed yet."""

    name: str
    partitions: int
    records: int
    lags: dict[str, int] = {}


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer group; ``members`` None where the broker does not say."""

    name: str
    state: str
    members: int | None


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a partition begins and ends, and what each group has committed there."""

    begin: int
    end: int
    committed: dict[str, int] = {}


def lags_of(positions: Mapping[tuple[str, int], Position], order: Iterable[str]) -> tuple[TopicLag, ...]:
    """Add partitions up by topic, in the order given. Pure.

    A partition on which a group has committed nothing counts whole, but only where the group has committed
    somewhere on the topic: other groups do not read it.
    """
    by_topic: dict[str, list[Position]] = defaultdict(list)
    for (topic, _), position in positions.items():
        by_topic[topic].append(position)
    result = []
    for topic in order:
        found = by_topic.get(topic)
        if not found:
            continue
        groups = sorted({group for position in found for group in position.committed})
        lags = {
            group: sum(max(0, p.end - max(p.begin, p.committed.get(group, p.begin))) for p in found)
            for group in groups
        }
        records = sum(position.end - position.begin for position in found)
        result.append(TopicLag(name=topic, partitions=len(found), records=records, lags=lags))
    return tuple(result)


async def read_lag(kafka: KafkaSettings) -> tuple[tuple[TopicLag, ...], tuple[GroupState, ...]]:
    """Ask the broker. Raises BrokerError where it cannot be reached."""
    try:
        async with asyncio.timeout(_TIMEOUT_S * 2), connected(kafka, _TIMEOUT_S) as clients:
            return await _read(clients, kafka)
    except (KafkaError, OSError, TimeoutError) as error:
        what = str(error) or type(error).__name__
        raise BrokerError(f"Kafka at {kafka.bootstrap} cannot be asked: {what}") from error


async def _read(
    clients: Clients, kafka: KafkaSettings
) -> tuple[tuple[TopicLag, ...], tuple[GroupState, ...]]:
    admin, consumer = clients
    listed = (await cluster(admin))["topics"]
    names = [kafka.prefix + topic for topic in Topic]
    counts = {each["topic"]: len(each["partitions"]) for each in listed if each["topic"] in names}
    partitions = [TopicPartition(name, n) for name, count in counts.items() for n in range(count)]
    if not partitions:
        return (), ()
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if not kafka.idempotent:
        ends |= await _fetched_ends(consumer, {p: ends[p] for p in partitions if ends[p] > begins[p]})
    offsets: dict[TopicPartition, dict[str, int]] = defaultdict(dict)
    states = []
    for group in GROUPS:
        states.append(await _group(admin, kafka.prefix, group))
        for partition, found in (await committed(clients, kafka.prefix + group, partitions)).items():
            offsets[partition][group] = found.offset
    positions = {
        (p.topic, p.partition): Position(begin=begins[p], end=ends[p], committed=offsets[p])
        for p in partitions
    }
    return lags_of(positions, names), tuple(states)


async def _fetched_ends(consumer: Any, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return the ends that fetches name.

    The embedded broker, which is the one without an idempotent producer, names the first offset of the last
    batch + 1 where it is asked for the end; with a fetch it says the truth.
    """
    consumer.assign(list(ends))
    for partition, end in ends.items():
        consumer.seek(partition, end - 1)
    for _ in range(_FETCHES):
        if all(consumer.highwater(partition) is not None for partition in ends):
            break
        await consumer.getmany(timeout_ms=200)
    return {partition: max(end, consumer.highwater(partition) or 0) for partition, end in ends.items()}


async def _group(admin: Any, prefix: str, group: str) -> GroupState:
    try:
        answers = await admin.describe_consumer_groups([prefix + group])
        description = answers[0].groups[0]
    except (KafkaError, IndexError):
        return GroupState(name=group, state="unknown", members=None)
    state, members = description[2] or "none", len(description[5])
    return GroupState(name=group, state=state.lower(), members=members)
