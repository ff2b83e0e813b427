"""Header names that are no text, as other clients may send them: read on real brokers."""

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from support.hostile_producer import NAME, hostile_producer
from support.kafka import Broker
from support.runtime import until
from tidegate.clock import SystemClock
from tidegate.consume.kafka_batches import mend_batches
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.offsets import TopicPartition
from tidegate.kafka_admin import apply_topics
from tidegate.records import Inbound
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic

_ODD = r"\xff\xfe\x00\xc0\xaf\x80\xf5".replace(r"\x00", "\x00")
_URLS = TopicPartition(Topic.URLS, 0)


class _Member:
    """Takes note of having been given something."""

    def __init__(self) -> None:
        self.assigned = False

    async def on_assigned(self, positions: object) -> None:
        self.assigned = True

    async def on_revoked(self, partitions: object) -> None:
        self.assigned = False


@pytest.fixture(autouse=True)
def _mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend as a service's process does, and take it back."""
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    mend_batches()


@pytest.fixture(params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each real broker in turn."""
    found: Broker = request.getfixturevalue(request.param)
    return found


async def test_a_header_whose_name_is_no_text_holds_up_nothing(broker: Broker, topic_prefix: str) -> None:
    """The record arrives like all others, compressed or not, and so does what is around it (C8)."""
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix, partitions=1)
    await apply_topics(Settings(kafka=settings))
    for compression in (None, "gzip", "lz4"):
        async with hostile_producer(broker.bootstrap, linger_ms=50, compression_type=compression) as producer:
            batch = [
                await producer.send(topic_prefix + _URLS.topic, value, headers=headers, partition=0)
                for value, headers in (
                    (b"before", []),
                    (b"odd", [(NAME, b"v"), ("x", None)]),
                    (b"behind", []),
                )
            ]
            for future in batch:
                await future
    source, member = _source(settings), _Member()
    await source.start(member)
    try:
        await until(lambda: member.assigned, seconds=30)
        records: list[Inbound] = []
        while len(records) < 9:
            records += await source.poll([_URLS], max_records=100, timeout_s=1)
    finally:
        await source.stop()
    assert [record.offset for record in records] == list(range(9))
    assert [record.value for record in records] == [b"before", b"odd", b"behind"] * 3
    assert [dict(record.headers) for record in records] == [{}, {_ODD: b"v"}, {}] * 3
    read = [record async for record in KafkaReader(settings).read(_URLS.topic, 0)]
    assert [record.value for record in read] == [record.value for record in records]


def _source(settings: KafkaSettings) -> KafkaSource:
    return KafkaSource(
        settings,
        group="g",
        topics=[_URLS.topic],
        fetch_bytes=1 << 20,
        drain_deadline_s=2.0,
        clock=SystemClock(),
    )
