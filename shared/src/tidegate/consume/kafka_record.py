"""What aiokafka hands out, as our own record."""

from aiokafka import ConsumerRecord

from tidegate.records import Inbound


def inbound(topic: str, record: ConsumerRecord[bytes | None, bytes | None]) -> Inbound:
    """Return a consumed record under its logical topic. A tombstone has an empty value.

    A header without a value, which Kafka allows and anybody may send, is no header: it says nothing, and
    every reader of headers counts on bytes.
    """
    return Inbound(
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value or b"",
        headers={name: value for name, value in record.headers if value is not None},
    )
