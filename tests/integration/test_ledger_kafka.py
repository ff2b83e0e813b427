"""The ledger on three nodes of Apache Kafka while the leader of its partition is killed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from aiokafka.client import AIOKafkaClient
from aiokafka.structs import TopicPartition
from support.solver import a_request
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.events import Event
from tidegate.kafka_admin import apply_topics
from tidegate.ledger.decisions import Verdict
from tidegate.ledger.entries import Limit, Reserve, Scope, read_entry
from tidegate.ledger.machine import Ledger
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic
from tidegate_cli.stack.broker_kafka import LocalKafka
from tidegate_solver.budget import Budget, Granted
from tidegate_solver.ledger_log import LedgerLog

CLOCK = SystemClock()
PRICE = 3000


@asynccontextmanager
async def solvers(settings: Settings, count: int) -> AsyncIterator[list[tuple[Budget, LedgerLog]]]:
    """Run several processes' views of the ledger, each with a producer and a clock of its own."""
    events: list[Event] = []
    sinks = []
    async with asyncio.TaskGroup() as group:
        made, running = [], []
        for number in range(count):
            broker_clock = BrokerClock(CLOCK)
            sink = KafkaSink(settings.kafka, clock=CLOCK, broker_clock=broker_clock, emit=events.append)
            await sink.start(settings.kafka.partitions)
            sinks.append(sink)
            log = LedgerLog(
                sink, KafkaReader(settings.kafka), clock=CLOCK, random=Random(number), emit=events.append
            )
            running.append(group.create_task(log.run()))
            await log.restored()
            made.append((Budget(log, broker_clock, events.append), log))
        yield made
        for task in running:
            task.cancel()
    for sink in sinks:
        await sink.stop()


async def leader(settings: Settings) -> int | None:
    """Return the node that leads the ledger's partition."""
    topic = settings.kafka.prefix + Topic.BUDGET
    client = AIOKafkaClient(bootstrap_servers=settings.kafka.bootstrap)
    try:
        await client.bootstrap()
        await client.set_topics([topic])
        found: int | None = client.cluster.leader_for_partition(TopicPartition(topic, 0))
        return found
    finally:
        await client.close()


async def test_a_leader_that_is_killed_makes_no_two_solvers_disagree(
    kafka_cluster: LocalKafka, topic_prefix: str
) -> None:
    """M1: exactly as many reservations are granted as the budget holds, by what the log says."""
    settings = Settings(
        kafka=KafkaSettings(
            bootstrap=kafka_cluster.bootstrap,
            prefix=topic_prefix,
            partitions=1,
            replication=3,
            min_insync_replicas=2,
        )
    )
    await apply_topics(settings)
    node = await leader(settings)
    assert node is not None
    granted: dict[str, bool] = {}

    async def buy(budget: Budget, number: int) -> None:
        await CLOCK.sleep(number / 100)
        request = a_request(f"job-{number}")
        answer = await budget.reserve(request, "capmonster", PRICE / 1_000_000)
        granted[request.request_id] = isinstance(answer, Granted)

    async with solvers(settings, 3) as three:
        limit = Limit(by="cli", scope=Scope(run="r"), amount=200 * PRICE)
        await three[0][1].append(limit)
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(buy(three[number % 3][0], number))
            await CLOCK.sleep(1.0)
            await kafka_cluster.kill(node, signal.SIGKILL)
            await CLOCK.sleep(1.5)
            await kafka_cluster.start_node(node)
        for _, log in three:
            await log.catch_up()
            assert log.ledger.used(Scope(run="r")) == 200 * PRICE
    assert sum(granted.values()) == 200
    replayed, decided = Ledger(), {}
    async for record in KafkaReader(settings.kafka).read(Topic.BUDGET, 0):
        entry = read_entry(record.value)
        decision = replayed.apply(record.offset, record.timestamp_ms, entry).decision
        if isinstance(entry, Reserve) and decision is not None:
            decided[entry.request_id] = decision.verdict is Verdict.GRANTED
    assert decided == granted
