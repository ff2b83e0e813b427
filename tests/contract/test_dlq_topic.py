"""Single records of ``dead-letter`` by their offsets, on the embedded broker and on Apache Kafka."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.kafka_admin import apply_topics
from tidegate.outcome import Outgoing
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic
from tidegate_cli.dlq.topic import DeadLetterTopic, dead_letter_topic

CLOCK = SystemClock()
COUNT = 1_000


@pytest.fixture(params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def settings(request: pytest.FixtureRequest, topic_prefix: str) -> KafkaSettings:
    """Each broker in turn."""
    bootstrap = request.getfixturevalue(request.param).bootstrap
    return KafkaSettings(
        bootstrap=bootstrap, prefix=topic_prefix, partitions=2, idempotent=request.param == "kafka"
    )


@pytest_asyncio.fixture
async def topic(settings: KafkaSettings) -> AsyncIterator[DeadLetterTopic]:
    """The topic with a thousand records on one partition and a large one on the other."""
    await apply_topics(Settings(kafka=settings))
    sink = KafkaSink(settings, clock=CLOCK, broker_clock=BrokerClock(CLOCK), emit=lambda _: None)
    await sink.start(2)
    try:
        producer = sink._producer
        pending = [
            await producer.send(
                settings.prefix + Topic.DEAD_LETTER, b"%d" % n, partition=0, headers=[("n", b"%d" % n)]
            )
            for n in range(COUNT)
        ]
        for each in pending:
            await each
        large = Outgoing(topic=Topic.DEAD_LETTER, site="s", value=b"x" * (5 << 20), partition=1)
        await sink.send(large)
        await sink.send(large)
    finally:
        await sink.stop()
    async with dead_letter_topic(settings, CLOCK) as found:
        yield found


async def test_the_records_at_some_offsets_are_read_and_no_others(topic: DeadLetterTopic) -> None:
    """Near and far, the first and the last, from the middle of a batch; what is beyond the end is None."""
    wanted = [0, 1, 7, 199, 200, 450, 451, 998, 999]
    seen = [
        (offset, record and (record.offset, record.value, record.headers["n"]))
        async for offset, record in topic.read(0, [*reversed(wanted), 7, 1_000, 5_000])
    ]
    expected = [(n, (n, b"%d" % n, b"%d" % n)) for n in wanted]
    assert seen == [*expected, (1_000, None), (5_000, None)]


async def test_partitions_are_read_one_after_the_other(topic: DeadLetterTopic) -> None:
    """And again; a record may be larger than a fetch."""
    for _ in range(2):
        large = [record async for _, record in topic.read(1, [0, 1])]
        assert [len(record.value) for record in large if record] == [5 << 20, 5 << 20]
        small = [record async for _, record in topic.read(0, [500])]
        assert [record.value for record in small if record] == [b"500"]
