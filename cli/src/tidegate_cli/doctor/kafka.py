"""Looks at Kafka: brokers, topics, groups, clock. Reads only, but for one empty record on ``stats``.

Whoever reads that topic leaves empty records out, and its acknowledgement tells the broker's time, which
Kafka says in no other way.
"""

from typing import Any

from aiokafka import AIOKafkaProducer
from tidegate.backlog import connected
from tidegate.clock import Clock
from tidegate.consume.kafka_connection import close_quietly
from tidegate.errors import ConfigurationError
from tidegate.kafka_admin import check_topics, cluster
from tidegate.kafka_security import connection_options
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic

from tidegate_cli.doctor import judge
from tidegate_cli.doctor.finding import Finding, fail, ok, warn
from tidegate_cli.lag import read_lag

_REQUEST_S = 10.0
_SENDS = 3
_APPEND_TIME = 1


async def brokers(settings: Settings) -> list[Finding]:
    """Judge the brokers that answer and the replicas that they have. Raises KafkaError."""
    async with connected(settings.kafka, _REQUEST_S) as clients:
        seen = await cluster(clients.admin)
    prefix = settings.kafka.prefix
    names = {prefix + topic for topic in Topic}
    ours = [topic for topic in seen["topics"] if topic["topic"] in names]
    count = len(seen["brokers"])
    findings = [judge.replicas(ours, count, prefix)]
    if count < settings.kafka.replication:
        message = f"{count} brokers, and TIDEGATE_KAFKA__REPLICATION is {settings.kafka.replication}"
        findings.append(fail("brokers", message, "start the missing brokers, or lower the setting"))
    return findings


async def topics(settings: Settings) -> list[Finding]:
    """Judge the topics. Raises BrokerError."""
    try:
        return judge.topics(await check_topics(settings))
    except ConfigurationError as error:
        mend = (
            "make the counts equal by hand: add partitions to those that have fewer, with nothing in flight"
        )
        return [fail("topics", str(error), mend)]


async def groups(settings: Settings) -> list[Finding]:
    """Judge whether each service has an instance. Raises BrokerError."""
    _, states = await read_lag(settings.kafka)
    return [judge.members(state.name, state.members, state.state) for state in states]


async def clock(settings: Settings, clock: Clock) -> list[Finding]:
    """Judge the broker's clock against this host's, by the quickest of a few sends. Raises KafkaError."""
    kafka = settings.kafka
    if not kafka.idempotent:
        return [ok("broker clock", "the embedded broker has none of its own")]
    producer: Any = AIOKafkaProducer(
        **connection_options(kafka),
        enable_idempotence=False,
        acks="all",
        request_timeout_ms=int(_REQUEST_S * 1000),
    )
    try:
        await producer.start()
        readings = [await _reading(producer, kafka, clock) for _ in range(_SENDS)]
    finally:
        await close_quietly(producer.stop)
    known = [reading for reading in readings if reading is not None]
    if not known:
        message = f"not measured: {kafka.prefix}{Topic.STATS} is not stamped by the broker"
        return [warn("broker clock", message, "tidegate topics apply --mend")]
    uncertain_ms, offset_ms = min(known)
    return [judge.clock("broker clock", offset_ms, uncertain_ms)]


async def _reading(producer: Any, kafka: KafkaSettings, clock: Clock) -> tuple[int, int] | None:
    before_ms = clock.wall_ms()
    sent = await producer.send_and_wait(kafka.prefix + Topic.STATS, b"", partition=0)
    after_ms = clock.wall_ms()
    if sent.timestamp_type != _APPEND_TIME:
        return None
    return (after_ms - before_ms + 1) // 2, sent.timestamp - (before_ms + after_ms) // 2
