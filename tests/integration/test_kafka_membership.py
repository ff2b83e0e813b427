"""How a member of a group knows that it is one: by heartbeats that were answered, on real brokers."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from support.kafka import Broker
from support.runtime import until
from tidegate.clock import SystemClock
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.transport import Position
from tidegate.kafka_admin import apply_topics
from tidegate.settings import KafkaSettings, Settings

SESSION_S = 2.0


class Assigned:
    """A listener that does nothing."""

    async def on_assigned(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Take what comes."""

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Let it go."""


@pytest.fixture(params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    broker: Broker = request.getfixturevalue(request.param)
    return broker.bootstrap


async def test_membership_is_as_old_as_the_last_answered_heartbeat(bootstrap: str, topic_prefix: str) -> None:
    """Young while the broker answers, older and older while it does not, young again afterwards (M3)."""
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=topic_prefix, partitions=2, session_timeout_s=SESSION_S)
    await apply_topics(Settings(kafka=kafka), clock=SystemClock())
    source = KafkaSource(
        kafka, group="g", topics=["urls"], fetch_bytes=1 << 20, drain_deadline_s=2.0, clock=SystemClock()
    )
    assert source.membership_age_s() == float("inf")
    await source.start(Assigned())
    try:
        # Two session time-outs of real time. A single reading says whether this process had a core just
        # then; what counts is that answers make it young again, and again.
        for _ in range(4):
            await asyncio.sleep(SESSION_S / 2)  # noqa: TID251 -- see above
            await until(lambda: source.membership_age_s() < SESSION_S / 2)
        coordinator: Any = source._consumer._coordinator
        answered, silence = coordinator._send_req, asyncio.Event()

        async def unanswered(request: object) -> object:
            await silence.wait()
            return await answered(request)

        coordinator._send_req = unanswered
        await until(lambda: source.membership_age_s() > SESSION_S)
        coordinator._send_req = answered
        silence.set()
        await until(lambda: source.membership_age_s() < SESSION_S / 2)
    finally:
        await source.stop()
