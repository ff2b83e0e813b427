"""Reading a whole partition outside the consumer group: how a journal is restored (M6)."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError

from tidegate.consume.kafka_batches import mend_batches
from tidegate.consume.kafka_connection import close_quietly
from tidegate.consume.kafka_follower import KafkaFollower
from tidegate.consume.kafka_record import inbound
from tidegate.errors import BrokerError
from tidegate.kafka_security import connection_options
from tidegate.records import Inbound
from tidegate.settings import KafkaSettings


class KafkaReader:
    """Reads partitions from their start to the end captured at the call, or follows them for ever."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def follow(self, topic: str, partition: int, offset: int) -> AsyncGenerator[Sequence[Inbound], None]:
        """Yield what comes from ``offset`` on, as ``KafkaFollower`` does."""
        return KafkaFollower(self._settings).follow(topic, partition, offset)

    def read(self, topic: str, partition: int) -> AsyncIterator[Inbound]:
        """Yield the records that were there at the call. A tombstone has an empty value.

        Raises BrokerError where the broker does not answer.
        """
        return self._read((topic,), partition, last=None)

    def tails(self, topics: Sequence[str], partition: int, last: int) -> AsyncIterator[Inbound]:
        """Yield the last records of one partition number of several topics, ``last`` of each at least.

        Fewer where there are fewer. Raises BrokerError where the broker does not answer.
        """
        return self._read(topics, partition, last=last)

    async def _read(self, topics: Sequence[str], partition: int, last: int | None) -> AsyncIterator[Inbound]:
        logical = {KafkaPartition(self._settings.prefix + topic, partition): topic for topic in topics}
        consumer = AIOKafkaConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
        )
        try:
            await consumer.start()
            consumer.assign(list(logical))
            ends = await consumer.end_offsets(list(logical))
            firsts = await consumer.beginning_offsets(list(logical))
            for where, first in firsts.items():
                consumer.seek(where, first if last is None else max(first, ends[where] - last))
            left = list(logical)
            while left := [where for where in left if await consumer.position(where) < ends[where]]:
                # What came after the call is handed out too: the embedded broker names the last batch's
                # first offset + 1 as the end, and the rest of that batch must not be missed.
                for where, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                    for record in records:
                        yield inbound(logical[where], record)
        except UnicodeDecodeError as error:
            mend_batches()
            raise BrokerError(f"{topics[0]}[{partition}] must be read again: {error!r}") from error
        except KafkaError as error:
            raise BrokerError(f"{topics[0]}[{partition}] cannot be read: {error!r}") from error
        finally:
            await close_quietly(consumer.stop)
