"""An assignment whose beginning the broker does not tell is asked for again; the process does not end."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import TopicAuthorizationFailedError
from support.kafka import Broker
from support.runtime import until
from tidegate.clock import SystemClock
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.transport import Position
from tidegate.errors import BrokerError
from tidegate.kafka_admin import apply_topics
from tidegate.settings import KafkaSettings, Settings


class Counting:
    """A listener that counts what it is given."""

    def __init__(self) -> None:
        self.assigned: list[int] = []

    async def on_assigned(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Count it."""
        self.assigned.append(len(positions))

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Let it go."""


async def test_a_coordinator_that_fails_over_for_long_ends_nobody(tansu: Broker, topic_prefix: str) -> None:
    """The failure is told as one that may pass, and the next assignment is taken up (C6)."""
    kafka = KafkaSettings(bootstrap=tansu.bootstrap, prefix=topic_prefix, partitions=2, session_timeout_s=2.0)
    await apply_topics(Settings(kafka=kafka))
    source = KafkaSource(
        kafka, group="g", topics=["urls"], fetch_bytes=1 << 20, drain_deadline_s=2.0, clock=SystemClock()
    )
    admin: Any = source._admin
    asked, failures = admin.list_consumer_group_offsets, [TopicAuthorizationFailedError()] * 2

    async def failing(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await asked(*arguments, **options)

    admin.list_consumer_group_offsets = failing
    listener = Counting()
    try:
        await source.start(listener)
        async with asyncio.timeout(60):
            while True:
                try:
                    source.check()
                except BrokerError as error:
                    assert "joined again" in str(error)  # noqa: PT017 -- one of the two is enough
                    break
                await asyncio.sleep(0.01)  # noqa: TID251 -- a broker of its own
        await until(lambda: listener.assigned == [2], seconds=60)
        source.check()
    finally:
        await source.stop()
