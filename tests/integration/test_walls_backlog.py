"""How far a group is behind, asked of real brokers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from support.kafka import Broker
from tidegate.backlog import KafkaBacklog, Standing
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.done_set import pack
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.errors import BrokerError
from tidegate.kafka_admin import apply_topics
from tidegate.outcome import Outgoing
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic
from tidegate_cli.lag import read_lag

PARTITIONS = 2


class Rig(msgspec.Struct, frozen=True):
    """A reader, what it reads, and whether the broker keeps a commit's metadata."""

    backlog: KafkaBacklog
    sink: KafkaSink
    committer: AIOKafkaConsumer
    settings: KafkaSettings
    prefix: str
    keeps_metadata: bool

    async def put(self, *partitions: int) -> list[int]:
        """Produce a record to each partition named; return the append times."""
        records = [
            Outgoing(topic=Topic.CAPTCHA_SOLUTIONS, site="s", value=b"x", partition=p) for p in partitions
        ]
        return [(await self.sink.send(record)).timestamp_ms for record in records]

    async def commit(self, partition: int, offset: int, done_above: tuple[int, ...] = ()) -> None:
        """Commit as the runtime does."""
        where = TopicPartition(self.prefix + Topic.CAPTCHA_SOLUTIONS, partition)
        metadata = pack(offset, done_above, 1000)
        await self.committer.commit({where: OffsetAndMetadata(offset, metadata)})

    async def first_read(self) -> Standing:
        """Read as soon as the broker knows who coordinates the group: a fresh one takes a moment."""
        while True:
            try:
                return await self.read()
            except BrokerError:
                await SystemClock().sleep(0.5)

    async def read(self) -> Standing:
        """Read with the times of what is unread."""
        return await self.backlog.read(Topic.CAPTCHA_SOLUTIONS, "fetcher", unread=True)


@asynccontextmanager
async def rig_on(broker: Broker, prefix: str, *, kafka: bool) -> AsyncIterator[Rig]:
    """Make the topics and connect."""
    settings = KafkaSettings(
        bootstrap=broker.bootstrap, prefix=prefix, partitions=PARTITIONS, idempotent=kafka
    )
    clock = SystemClock()
    await apply_topics(Settings(kafka=settings), clock=clock)
    sink = KafkaSink(settings, clock=clock, broker_clock=BrokerClock(clock), emit=lambda _: None)
    await sink.start(PARTITIONS)
    committer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=f"{prefix}fetcher", enable_auto_commit=False
    )
    committer.assign([TopicPartition(prefix + Topic.CAPTCHA_SOLUTIONS, n) for n in range(PARTITIONS)])
    await committer.start()
    backlog = KafkaBacklog(settings, PARTITIONS)
    try:
        yield Rig(backlog, sink, committer, settings, prefix, kafka)
    finally:
        await backlog.stop()
        await committer.stop()
        await sink.stop()


@pytest.fixture(params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def which(request: pytest.FixtureRequest) -> tuple[Broker, bool]:
    """Each broker in turn."""
    return request.getfixturevalue(request.param), request.param == "kafka"


async def test_lag_and_the_first_unread_are_read(which: tuple[Broker, bool], topic_prefix: str) -> None:
    """Before any commit, after some, with records done above it, and at the end; partitions add up."""
    broker, keeps_metadata = which
    async with rig_on(broker, topic_prefix, kafka=keeps_metadata) as rig:
        assert await rig.first_read() == Standing(end=0, done=0)
        times = await rig.put(0, 0, 0, 0, 1)
        assert await rig.read() == Standing(end=5, done=0, unread_ms={0: times[0], 1: times[4]})
        await rig.commit(0, 2)
        assert await rig.read() == Standing(end=5, done=2, unread_ms={0: times[2], 1: times[4]})
        listed, _ = await read_lag(rig.settings)
        assert {topic.name: topic.lags for topic in listed if topic.lags} == {
            f"{topic_prefix}captcha-solutions": {"fetcher": 3}
        }
        await rig.commit(1, 1)
        await rig.commit(0, 1, done_above=(2,))
        if keeps_metadata:
            assert await rig.read() == Standing(end=5, done=3, unread_ms={0: times[3]})
        await rig.commit(0, 4)
        assert await rig.read() == Standing(end=5, done=5)


async def test_a_broker_that_is_away_is_an_error_and_is_asked_again(tansu: Broker, topic_prefix: str) -> None:
    """The reader connects anew."""
    async with rig_on(tansu, topic_prefix, kafka=False) as rig:
        await rig.put(0)
        assert (await rig.first_read()).end == 1

        async def fail(partitions: object) -> None:
            raise KafkaConnectionError("cut")

        rig.backlog._clients.consumer.end_offsets = fail  # type: ignore[union-attr]
        with pytest.raises(BrokerError, match="the lag of fetcher on captcha-solutions cannot be read"):
            await rig.read()
        assert (await rig.read()).end == 1
    away = KafkaBacklog(KafkaSettings(bootstrap="127.0.0.1:9"), PARTITIONS)
    with pytest.raises(BrokerError):
        await away.read(Topic.PAGES, "storer")
