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

    async def read(self, topic: str, partition: int) -> AsyncIterator[Inbound]:
        """Yield the records that were there at the call. A tombstone has an empty value.

        Raises BrokerError where the broker does not answer.
        """
        where = KafkaPartition(self._settings.prefix + topic, partition)
        consumer = AIOKafkaConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
        )
        try:
            await consumer.start()
            consumer.assign([where])
            end = (await consumer.end_offsets([where]))[where]
            await consumer.seek_to_beginning(where)
            while await consumer.position(where) < end:
                batches = await consumer.getmany(where, timeout_ms=500)
                # What came after the call is handed out too: the embedded broker names the last batch's
                # first offset + 1 as the end, and the rest of that batch must not be missed.
                for record in batches.get(where, ()):
                    yield inbound(topic, record)
        except UnicodeDecodeError as error:
            mend_batches()
            raise BrokerError(f"{topic}[{partition}] must be read again: {error!r}") from error
        except KafkaError as error:
            raise BrokerError(f"{topic}[{partition}] cannot be read: {error!r}") from error
        finally:
            await close_quietly(consumer.stop)
