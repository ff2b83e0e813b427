"""Following a partition outside the consumer group: everything from an offset on, as it comes.

This is how a log is read that everybody needs whole: the budget's ledger, the states of runs.
"""

from collections.abc import AsyncGenerator, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from tidegate.consume.kafka_batches import mend_batches
from tidegate.consume.kafka_connection import close_quietly
from tidegate.consume.kafka_record import inbound
from tidegate.errors import BrokerError, OffsetsLostError
from tidegate.kafka_security import connection_options
from tidegate.records import Inbound
from tidegate.settings import KafkaSettings

_POLL_MS = 1000
# Apache Kafka answers a waiting fetch when a record comes. The embedded broker, which is the one without an
# idempotent producer, looks again only when about half of the wait is over.
_WAIT_MS, _EMBEDDED_WAIT_MS = 500, 60
_MOST_RECORDS = 1000


class KafkaFollower:
    """Follows partitions; each call has a connection of its own."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def follow(
        self, topic: str, partition: int, offset: int
    ) -> AsyncGenerator[Sequence[Inbound], None]:
        """Yield the records from ``offset`` on, in batches, for ever; an empty one about every second.

        Close it (``contextlib.aclosing``) to end it. Raises OffsetsLostError where the record at ``offset``
        is gone or was never there, BrokerError for what may pass: then follow again from where it ended.
        """
        where = KafkaPartition(self._settings.prefix + topic, partition)
        consumer = AIOKafkaConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_WAIT_MS if self._settings.idempotent else _EMBEDDED_WAIT_MS,
            max_partition_fetch_bytes=1 << 20,
        )
        try:
            await consumer.start()
            consumer.assign([where])
            first = (await consumer.beginning_offsets([where]))[where]
            if first > offset:
                raise OffsetsLostError({(topic, partition): (offset, first)})
            consumer.seek(where, offset)
            while True:
                batches = await consumer.getmany(where, timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
                yield [inbound(topic, record) for record in batches.get(where, ())]
        except OffsetOutOfRangeError as error:
            raise OffsetsLostError({(topic, partition): (offset, -1)}) from error
        except UnicodeDecodeError as error:
            mend_batches()
            raise BrokerError(f"{topic}[{partition}] must be read again: {error!r}") from error
        except KafkaError as error:
            raise BrokerError(f"{topic}[{partition}] cannot be followed: {error!r}") from error
        finally:
            await close_quietly(consumer.stop)
