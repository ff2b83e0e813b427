"""Topics on real brokers: the embedded one, one node of Apache Kafka, three of them."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support.kafka import Broker, local_tansu
from tidegate.clock import SystemClock
from tidegate.errors import BrokerError, ConfigurationError
from tidegate.kafka_admin import apply_topics, retention_ms, site_partitions
from tidegate.settings import KafkaSettings, Settings
from tidegate.topic_plan import TopicAction, TopicResult
from tidegate.topics import MAX_RECORD_BYTES, Topic, declare
from tidegate_cli.stack.broker_kafka import LocalKafka

CLOCK = SystemClock()


def settings(bootstrap: str, prefix: str, **kafka: int) -> Settings:
    """Return settings with few partitions: the broker is shared."""
    return Settings(
        kafka=KafkaSettings.model_validate(
            {"bootstrap": bootstrap, "prefix": prefix, "partitions": 2, **kafka}
        )
    )


def actions(results: tuple[TopicResult, ...]) -> set[TopicAction]:
    """Return what was done, as a set."""
    return {each.action for each in results}


async def create(bootstrap: str, *topics: NewTopic) -> None:
    """Create topics as a stranger would, and wait until they can be seen."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        await admin.create_topics(list(topics))
        while not {each.name for each in topics}.issubset(await admin.list_topics()):
            await CLOCK.sleep(0.02)
    finally:
        await admin.close()


async def check_create_and_recreate(bootstrap: str, prefix: str, **kafka: int) -> None:
    """Apply twice, beside each other and one after the other; then ask for the partition count."""
    wanted = settings(bootstrap, prefix, **kafka)
    first, second = await asyncio.gather(apply_topics(wanted), apply_topics(wanted))
    names = [f"{prefix}{spec.topic}" for spec in declare()]
    assert [each.name for each in first] == names
    assert actions(first) | actions(second) <= {TopicAction.CREATED, TopicAction.OK}
    for one, other in zip(first, second, strict=True):
        assert (one.action, other.action) != (TopicAction.CREATED, TopicAction.CREATED)
    assert actions(await apply_topics(wanted)) == {TopicAction.OK}
    assert await site_partitions(wanted) == 2


async def test_topics_are_created_once_on_the_embedded_broker(tansu: Broker, topic_prefix: str) -> None:
    """A second apply finds everything as declared (S2)."""
    await check_create_and_recreate(tansu.bootstrap, topic_prefix)


async def test_the_embedded_broker_cannot_be_mended_and_the_result_says_so(
    tansu: Broker, topic_prefix: str
) -> None:
    """A difference stays a difference where the broker has no such request."""
    await apply_topics(settings(tansu.bootstrap, topic_prefix))
    results = await apply_topics(settings(tansu.bootstrap, topic_prefix, outage_days=20), mend=True)
    # What is kept for ever is kept for as long as before.
    assert actions(results) == {TopicAction.DIFFERS, TopicAction.OK}
    assert {each.setting for result in results for each in result.differences} == {"retention.ms"}
    assert not any(result.mended for result in results)


async def test_how_long_topics_keep_their_records_is_read_from_the_broker(
    tansu: Broker, topic_prefix: str
) -> None:
    """What the broker says counts, not what is declared; for ever is -1 (C6)."""
    await apply_topics(settings(tansu.bootstrap, topic_prefix, outage_days=3))
    kept = await retention_ms(settings(tansu.bootstrap, topic_prefix))
    assert (kept["urls"], kept["budget"]) == (3 * 86_400_000, -1)


async def test_missing_topics_are_named(tansu: Broker, topic_prefix: str) -> None:
    """A service that starts too early learns what to run."""
    with pytest.raises(ConfigurationError, match=r"pages.*tidegate topics apply"):
        await site_partitions(settings(tansu.bootstrap, topic_prefix))


async def test_asking_for_missing_topics_does_not_make_them(tansu: Broker, topic_prefix: str) -> None:
    """The embedded broker makes what is asked for by name, so nothing is (S2)."""
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="missing"):
            await site_partitions(settings(tansu.bootstrap, topic_prefix))


async def test_a_group_joins_within_half_its_session_on_the_embedded_broker(
    tansu: Broker, topic_prefix: str
) -> None:
    """The short session time-out of the embedded stack is there for this: a join takes half of it."""
    await apply_topics(settings(tansu.bootstrap, topic_prefix))
    consumer = AIOKafkaConsumer(
        f"{topic_prefix}urls",
        bootstrap_servers=tansu.bootstrap,
        group_id=f"{topic_prefix}g",
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
    )
    begun = CLOCK.monotonic()
    await consumer.start()
    try:
        assert len(consumer.assignment()) == 2
        # It is a second; the rest is for a machine that does other things.
        assert CLOCK.monotonic() - begun < 10.0
    finally:
        await consumer.stop()


async def test_the_embedded_broker_ends_with_its_owner(tmp_path: Path) -> None:
    """It starts, answers, and is gone."""
    async with local_tansu(tmp_path) as broker:
        await apply_topics(settings(broker.bootstrap, ""))
    with pytest.raises(BrokerError, match=broker.bootstrap):
        await site_partitions(settings(broker.bootstrap, ""))


async def test_topics_are_created_once_on_apache_kafka(kafka: Broker, topic_prefix: str) -> None:
    """A second apply finds everything as declared (S2)."""
    await check_create_and_recreate(kafka.bootstrap, topic_prefix)


async def test_apache_kafka_is_mended_without_touching_what_others_set(
    kafka: Broker, topic_prefix: str
) -> None:
    """Altering replaces all of a topic's own settings, so those of an operator are sent along."""
    pages = NewTopic(f"{topic_prefix}pages", 2, 1, topic_configs={"segment.bytes": "33554432"})
    await create(kafka.bootstrap, pages)
    wanted = settings(kafka.bootstrap, topic_prefix)
    before = {each.name: each for each in await apply_topics(wanted)}
    assert before[pages.name].action is TopicAction.DIFFERS
    after = {each.name: each for each in await apply_topics(wanted, mend=True)}
    assert after[pages.name].action is TopicAction.MENDED
    assert after[pages.name].mended == before[pages.name].differences
    assert actions(await apply_topics(wanted)) == {TopicAction.OK}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        await admin.start()
        config = await _settings_of(admin, pages.name)
    finally:
        await admin.close()
    assert config["segment.bytes"] == "33554432"
    assert config["message.timestamp.type"] == "LogAppendTime"


async def _settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    resource = answer.to_object()["resources"][0]
    return {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}


async def test_unequal_partition_counts_are_refused(kafka: Broker, topic_prefix: str) -> None:
    """Nothing is created into a muddle (S2)."""
    odd = (NewTopic(f"{topic_prefix}{topic}", count, 1) for topic, count in (("urls", 2), ("pages", 3)))
    await create(kafka.bootstrap, *odd)
    with pytest.raises(ConfigurationError, match=r"pages 3, .*urls 2"):
        await apply_topics(settings(kafka.bootstrap, topic_prefix))


async def test_new_topics_join_the_partition_count_of_old_ones(kafka: Broker, topic_prefix: str) -> None:
    """The others decide, and the setting that disagrees is reported (S2)."""
    await create(kafka.bootstrap, NewTopic(f"{topic_prefix}urls", 3, 1))
    wanted = settings(kafka.bootstrap, topic_prefix)
    await apply_topics(wanted, mend=True)
    assert await site_partitions(wanted) == 3
    done = {each.name: each.action for each in await apply_topics(wanted)}
    for spec in declare():
        expected = TopicAction.DIFFERS if spec.site_keyed else TopicAction.OK
        assert done[f"{topic_prefix}{spec.topic}"] is expected, spec.topic


async def test_more_in_sync_replicas_than_replicas_are_refused(kafka: Broker, topic_prefix: str) -> None:
    """A cluster on which nothing could be produced is not set up."""
    with pytest.raises(ConfigurationError, match="MIN_INSYNC_REPLICAS=2 is more than"):
        await apply_topics(settings(kafka.bootstrap, topic_prefix, min_insync_replicas=2))


async def test_the_largest_record_fits(kafka: Broker, topic_prefix: str) -> None:
    """The ladder of sizes holds on a real broker up to its top (C9)."""
    await apply_topics(settings(kafka.bootstrap, topic_prefix))
    topic = f"{topic_prefix}{Topic.DEAD_LETTER}"
    value = bytes(MAX_RECORD_BYTES - 1024)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=2 * MAX_RECORD_BYTES)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    try:
        await producer.start()
        await consumer.start()
        await producer.send_and_wait(topic, value, partition=0)
        consumer.assign([TopicPartition(topic, 0)])
        record = await asyncio.wait_for(consumer.getone(), 30)
        assert record.value == value
    finally:
        await producer.stop()
        await consumer.stop()


async def test_three_nodes_hold_replicated_topics(kafka_cluster: LocalKafka, topic_prefix: str) -> None:
    """Custody topics have three replicas, two of which must have a record (C6)."""
    await check_create_and_recreate(
        kafka_cluster.bootstrap, topic_prefix, replication=3, min_insync_replicas=2
    )


async def test_a_killed_node_loses_no_acknowledged_record(
    kafka_cluster: LocalKafka, topic_prefix: str
) -> None:
    """An idempotent producer with acks=all goes on through the death of a broker and its return (C5, C6)."""
    wanted = settings(kafka_cluster.bootstrap, topic_prefix, replication=3, min_insync_replicas=2)
    await apply_topics(wanted)
    topic = f"{topic_prefix}{Topic.URLS}"
    acknowledged: list[int] = []
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_cluster.bootstrap, enable_idempotence=True, acks="all", linger_ms=5
    )
    await producer.start()
    try:

        async def produce(numbers: range) -> None:
            for number in numbers:
                await producer.send_and_wait(topic, str(number).encode(), partition=number % 2)
                acknowledged.append(number)

        async with asyncio.TaskGroup() as group:
            for first in range(8):
                group.create_task(produce(range(first, 1200, 8)))
            while len(acknowledged) < 200:
                await CLOCK.sleep(0.01)
            await kafka_cluster.kill(2)
            assert not kafka_cluster.running(2)
    finally:
        await producer.stop()
    await kafka_cluster.start_node(2)
    assert sorted(acknowledged) == list(range(1200))
    assert sorted(await _read(kafka_cluster.bootstrap, topic)) == list(range(1200))


async def _read(bootstrap: str, topic: str) -> list[int]:
    """Return all numbers on a topic of two partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        parts = [TopicPartition(topic, number) for number in range(2)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        values: list[int] = []
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                values.extend(int(record.value or b"") for record in records)
        return values
    finally:
        await consumer.stop()
