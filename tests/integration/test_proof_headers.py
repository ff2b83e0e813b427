"""Header names that are no text, as other clients may send them: read on real brokers."""

import asyncio
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from support.hostile_producer import NAME, hostile_producer
from support.kafka import Broker
from support.runtime import until
from tidegate.clock import SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.offsets import TopicPartition
from tidegate.errors import BrokerError
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
    """Begin as a process does that has not met one yet, and end so."""
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)


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
        await until(lambda: member.assigned, seconds=60)
        records: list[Inbound] = []
        async with asyncio.timeout(60):
            while len(records) < 9:
                records += await _polled(source, [_URLS])
    finally:
        await source.stop()
    assert [record.offset for record in records] == list(range(9))
    assert [record.value for record in records] == [b"before", b"odd", b"behind"] * 3
    assert [dict(record.headers) for record in records] == [{}, {_ODD: b"v"}, {}] * 3
    read = [record async for record in KafkaReader(settings).read(_URLS.topic, 0)]
    assert [record.value for record in read] == [record.value for record in records]


class _Unreadable:
    """A batch whose checksum is wrong when it is read for the first time."""

    left = 1

    def __init__(self, data: bytes) -> None:
        self._records: Any = MemoryRecords(data)
        self._bad = b"unreadable" in data and self.left > 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> Any:
        if self._bad:
            type(self).left -= 1
            raise CorruptRecordException("Invalid CRC")
        return self._records.next_batch()


async def test_a_batch_that_cannot_be_read_takes_nothing_of_other_partitions_along(
    broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failed poll had taken from them comes again, so that no commit can pass it (C5)."""
    monkeypatch.setattr(_Unreadable, "left", 1)
    monkeypatch.setattr(fetcher, "MemoryRecords", _Unreadable)
    settings = KafkaSettings(bootstrap=broker.bootstrap, prefix=topic_prefix, partitions=3)
    await apply_topics(Settings(kafka=settings))
    async with hostile_producer(broker.bootstrap) as producer:
        for number, value in enumerate((b"one", b"unreadable", b"three")):
            await producer.send_and_wait(topic_prefix + _URLS.topic, value, partition=number)
    source, member = _source(settings), _Member()
    await source.start(member)
    wanted = [TopicPartition(Topic.URLS, number) for number in range(3)]
    values: set[bytes] = set()
    try:
        await until(lambda: member.assigned, seconds=60)
        # All three are fetched before the first poll asks for them, so that it meets them together.
        await asyncio.sleep(1)  # noqa: TID251 -- a real broker, real time
        async with asyncio.timeout(60):
            while len(values) < 3:
                values |= {record.value for record in await _polled(source, wanted)}
    finally:
        await source.stop()
    assert values == {b"one", b"unreadable", b"three"}
    assert _Unreadable.left == 0


async def _polled(source: KafkaSource, wanted: list[TopicPartition]) -> list[Inbound]:
    """Poll as the runtime does: what may pass is waited out."""
    try:
        return await source.poll(wanted, max_records=100, timeout_s=0.5)
    except BrokerError:
        await asyncio.sleep(0.1)  # noqa: TID251 -- a real broker, real time
        return []


def _source(settings: KafkaSettings) -> KafkaSource:
    return KafkaSource(
        settings,
        group="g",
        topics=[_URLS.topic],
        fetch_bytes=1 << 20,
        drain_deadline_s=2.0,
        clock=SystemClock(),
    )
