"""What aiokafka hands out becomes our own record."""

from aiokafka import ConsumerRecord
from tidegate.consume.kafka_record import inbound
from tidegate.records import HEADER_TRACE, job_state
from tidegate.tracing import parse_traceparent


def test_a_header_without_a_value_stops_nobody() -> None:
    """Kafka allows it and anybody may produce it: bad input never stops a service."""
    headers = ((HEADER_TRACE, None), ("tidegate-job", None), ("kept", b""))
    record = inbound(
        "urls",
        ConsumerRecord(
            topic="x.urls",
            partition=1,
            offset=2,
            timestamp=3,
            timestamp_type=1,
            key=None,
            value=None,
            checksum=None,
            serialized_key_size=-1,
            serialized_value_size=-1,
            headers=headers,  # type: ignore[arg-type]
        ),
    )
    assert (record.topic, record.value, record.headers) == ("urls", b"", {"kept": b""})
    assert parse_traceparent(record.headers) is None
    assert job_state(record.headers) is None
