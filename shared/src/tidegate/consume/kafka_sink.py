"""Producing on Kafka, by aiokafka: acknowledged by all replicas, never timed out."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from tidegate.clock import BrokerClock, Clock
from tidegate.consume.deadlines import FLUSH_S
from tidegate.consume.kafka_connection import cancelled_by_somebody, close_quietly
from tidegate.consume.runtime_events import ProduceRetried
from tidegate.consume.service import Ack
from tidegate.errors import BrokerError, FatalProduceError, RecordError
from tidegate.events import Emit
from tidegate.kafka_security import connection_options
from tidegate.outcome import Outgoing, Reason
from tidegate.settings import KafkaSettings
from tidegate.sites import partition_of
from tidegate.topics import MAX_RECORD_BYTES

_LOG_APPEND_TIME = 1
_LONGEST_BACKOFF_S = 3.0  # a broker that is back is to be noticed soon


class KafkaSink:
    """The one producer of a process. Safe to share between tasks."""

    def __init__(
        self, settings: KafkaSettings, *, clock: Clock, broker_clock: BrokerClock, emit: Emit
    ) -> None:
        self._prefix = settings.prefix
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._partitions = 0
        self._producer = AIOKafkaProducer(
            **connection_options(settings),
            acks="all",
            enable_idempotence=settings.idempotent,
            linger_ms=5,
            max_batch_size=256 * 1024,
            max_request_size=MAX_RECORD_BYTES,
        )

    async def start(self, partitions: int) -> None:
        """Connect. ``partitions`` is the count of every site-keyed topic."""
        self._partitions = partitions
        try:
            await self._producer.start()
        except KafkaError as error:
            await close_quietly(self._producer.stop)
            raise BrokerError(f"no broker takes our records: {error!r}") from error

    async def stop(self) -> None:
        """Flush what is on its way and disconnect; this ends after a while in any case.

        With idempotence no batch expires: while the broker is away a flush waits for it.
        """
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._producer.stop()
        except TimeoutError:
            # What was not acknowledged is not finished either, and is redone.
            return

    async def send(self, record: Outgoing) -> Ack:
        """Produce and wait for the acknowledgement, however long the broker is away (C5).

        Raises RecordError where the record can never fit, FatalProduceError where its fate is unknown for
        good and the process must end.
        """
        partition = self._partition(record)
        key, headers = _key(record), list(record.headers)

        async def produce() -> Any:
            topic = self._prefix + record.topic
            return await self._producer.send_and_wait(
                topic, record.value, key=key, partition=partition, headers=headers
            )

        done = await self._acknowledged(produce, record.topic, len(record.value or b""))
        return Ack(done.partition, done.offset, done.timestamp)

    async def send_batch(self, records: Sequence[Outgoing]) -> None:
        """Produce records, each partition's in their order, and wait until all are acknowledged (C5).

        Raises RecordError where one can never fit, and FatalProduceError as ``send`` does.
        """
        places: dict[tuple[str, int], list[Outgoing]] = {}
        for record in records:
            places.setdefault((record.topic, self._partition(record)), []).append(record)
        if len(places) == 1:
            await self._send_place(*places.popitem())
            return
        try:
            async with asyncio.TaskGroup() as group:
                for place, some in places.items():
                    group.create_task(self._send_place(place, some))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _send_place(self, place: tuple[str, int], records: Sequence[Outgoing]) -> None:
        topic, partition = place
        sent = 0
        while sent < len(records):
            left, count = records[sent:], 0

            async def produce(left: Sequence[Outgoing] = left) -> Any:
                nonlocal count
                # A batch goes once: each try needs one of its own.
                batch, count = self._producer.create_batch(), 0
                for record in left:
                    taken = batch.append(
                        timestamp=None, key=_key(record), value=record.value, headers=list(record.headers)
                    )
                    if taken is None:
                        break
                    count += 1
                batch.close()
                return await (
                    await self._producer.send_batch(batch, self._prefix + topic, partition=partition)
                )

            await self._acknowledged(produce, topic, max(len(record.value or b"") for record in left))
            sent += count

    def _partition(self, record: Outgoing) -> int:
        if record.partition is not None:
            return record.partition
        return partition_of(record.site.encode(), self._partitions)

    async def _acknowledged(self, produce: Callable[[], Awaitable[Any]], topic: str, size: int) -> Any:
        """Produce until the broker has it; return what it says. ``size`` is that of the largest value."""
        wait = 0.2
        while True:
            sent_ms = self._clock.wall_ms()
            try:
                done = await produce()
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                raise RecordError(
                    Reason.BODY_TOO_LARGE, f"A record of {size} bytes does not fit {topic}."
                ) from error
            except asyncio.CancelledError as error:
                if cancelled_by_somebody():
                    raise
                raise FatalProduceError(f"{topic}: the client gave up waiting") from error
            except KafkaError as error:
                # A time-out is neither success nor failure: sent again, two copies become one outcome.
                if not (isinstance(error, KafkaTimeoutError) or error.retriable):
                    raise FatalProduceError(f"{topic}: {error!r}") from error
                self._emit(ProduceRetried(topic=topic, error=type(error).__name__))
                await self._clock.sleep(wait)
                wait = min(wait * 2, _LONGEST_BACKOFF_S)
            else:
                if done.timestamp_type == _LOG_APPEND_TIME:
                    self._broker_clock.observe(sent_ms, done.timestamp)
                return done


def _key(record: Outgoing) -> bytes:
    return record.site.encode() if record.key is None else record.key
