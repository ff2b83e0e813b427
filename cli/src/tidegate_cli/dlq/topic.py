"""Reads single records of the topic ``dead-letter`` by their offsets, outside of every consumer group."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord
from tidegate.clock import Clock
from tidegate.errors import BrokerError
from tidegate.kafka_security import connection_options
from tidegate.records import Inbound
from tidegate.settings import KafkaSettings
from tidegate.topics import Topic

_NEAR_RECORDS = 200
_ANSWER_S = 30.0
_BEYOND_THE_END_S = 2.0

_Record = ConsumerRecord[bytes | None, bytes | None]


class DeadLetterTopic:
    """The topic, for one reader at a time."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str, clock: Clock) -> None:
        self._consumer = consumer
        self._name = prefix + Topic.DEAD_LETTER
        self._clock = clock

    async def read(self, partition: int, offsets: Iterable[int]) -> AsyncIterator[tuple[int, Inbound | None]]:
        """Yield each offset, ascending, with its record; None where retention has taken it.

        Raises BrokerError where the broker does not answer.
        """
        where = KafkaPartition(self._name, partition)
        try:
            async for offset, record in self._read(where, deque(sorted(set(offsets)))):
                yield offset, None if record is None else _inbound(record)
        except KafkaError as error:
            raise BrokerError(f"{self._name}[{partition}] cannot be read: {error!r}") from error

    async def _read(
        self, where: KafkaPartition, todo: deque[int]
    ) -> AsyncIterator[tuple[int, _Record | None]]:
        first = (await self._consumer.beginning_offsets([where]))[where]
        end = (await self._consumer.end_offsets([where]))[where]
        self._consumer.assign([where])
        while todo and todo[0] < first:
            yield todo.popleft(), None
        position: int | None = None
        while todo:
            wanted = todo[0]
            if position is None or not position <= wanted <= position + _NEAR_RECORDS:
                self._consumer.seek(where, wanted)
            # The end is asked by reading: the embedded broker names one that is too low.
            records = await self._poll(where, _ANSWER_S if wanted < end else _BEYOND_THE_END_S)
            if not records:
                if records is not None and wanted < end:
                    raise BrokerError(f"{where.topic}[{where.partition}] gives no records at {wanted}.")
                break
            position = records[-1].offset + 1
            for record in records:
                while todo and todo[0] < record.offset:
                    yield todo.popleft(), None
                if todo and todo[0] == record.offset:
                    yield todo.popleft(), record
        # Beyond the end, or the log was cut meanwhile.
        for offset in todo:
            yield offset, None

    async def _poll(self, where: KafkaPartition, timeout_s: float) -> list[_Record] | None:
        """Return the next records, none when none came in time, None where the position is out of range."""
        until = self._clock.monotonic() + timeout_s
        while (left_s := until - self._clock.monotonic()) > 0:
            try:
                batches = await self._consumer.getmany(
                    where, timeout_ms=int(min(left_s, 1) * 1000), max_records=_NEAR_RECORDS
                )
            except OffsetOutOfRangeError:
                return None
            if batches.get(where):
                return batches[where]
        return []


@asynccontextmanager
async def dead_letter_topic(kafka: KafkaSettings, clock: Clock) -> AsyncIterator[DeadLetterTopic]:
    """Connect. Raises BrokerError where the brokers cannot be reached."""
    consumer = AIOKafkaConsumer(
        **connection_options(kafka),
        client_id="tidegate-dlq",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=1 << 20,
    )
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await consumer.stop()
        raise BrokerError(f"Kafka at {kafka.bootstrap} cannot be reached: {error}") from error
    try:
        yield DeadLetterTopic(consumer, kafka.prefix, clock)
    finally:
        await consumer.stop()


def _inbound(record: _Record) -> Inbound:
    return Inbound(
        topic=Topic.DEAD_LETTER,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value or b"",
        headers=dict(record.headers),
    )
