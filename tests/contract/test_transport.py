"""One contract for every broker: the fake in memory, the embedded one, and Apache Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing

import pytest
import pytest_asyncio
from support.runtime import until
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.done_set import pack, unpack
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.service import BatchSink
from tidegate.consume.transport import Position, Source
from tidegate.errors import CommitRefusedError, RecordError
from tidegate.kafka_admin import apply_topics
from tidegate.outcome import Outgoing
from tidegate.process import PartitionReader
from tidegate.records import Inbound
from tidegate.settings import KafkaSettings, Settings
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink, FakeSource
from tidegate.topics import MAX_RECORD_BYTES, Topic

PARTITIONS = 4
URLS = [TopicPartition("urls", number) for number in range(PARTITIONS)]


class Member:
    """Takes note of what a source says of assignments."""

    def __init__(self) -> None:
        self.positions: dict[TopicPartition, Position] = {}
        self.assignments = 0
        self.revocations = 0
        self.on_revoke: Callable[[], object] | None = None

    async def on_assigned(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Remember the positions."""
        self.positions = dict(positions)
        self.assignments += 1

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget them; the test may commit first."""
        if self.on_revoke is not None and self.positions:
            result = self.on_revoke()
            if asyncio.iscoroutine(result):
                await result
        self.positions = {}
        self.revocations += 1


Join = Callable[[], Awaitable[tuple[Source, Member]]]


class Broker:
    """What a test needs of a broker, whichever it is."""

    keeps_metadata = True

    def __init__(self, source: Callable[[], Source], sink: BatchSink, reader: PartitionReader) -> None:
        self.source = source
        self.sink = sink
        self.reader = reader


@pytest.fixture(params=["fake", "tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def which(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each broker in turn: its name and where it is."""
    name: str = request.param
    # Asked for here, not in a coroutine: they are asynchronous fixtures themselves.
    return name, "" if name == "fake" else request.getfixturevalue(name).bootstrap


@pytest_asyncio.fixture
async def broker(which: tuple[str, str], topic_prefix: str) -> AsyncIterator[Broker]:
    """A broker with topics of the test's own."""
    clock = SystemClock()
    name, bootstrap = which
    if name == "fake":
        fake = FakeBroker(clock, partitions=PARTITIONS)
        yield Broker(lambda: FakeSource(fake, group="g", topics=["urls"]), FakeSink(fake), FakeReader(fake))
        return
    kafka = KafkaSettings(
        bootstrap=bootstrap,
        prefix=topic_prefix,
        partitions=PARTITIONS,
        idempotent=name == "kafka",
        session_timeout_s=2.0,
    )
    await apply_topics(Settings(kafka=kafka))
    sink = KafkaSink(kafka, clock=clock, broker_clock=BrokerClock(clock), emit=lambda _: None)
    await sink.start(PARTITIONS)
    real = Broker(
        lambda: KafkaSource(
            kafka, group="g", topics=["urls"], fetch_bytes=1 << 20, drain_deadline_s=2.0, clock=clock
        ),
        sink,
        KafkaReader(kafka),
    )
    real.keeps_metadata = name == "kafka"
    yield real
    await sink.stop()


@pytest_asyncio.fixture
async def members(broker: Broker) -> AsyncIterator[Join]:
    """Join members to the group; all leave at the end."""
    async with AsyncExitStack() as stack:

        async def join() -> tuple[Source, Member]:
            source, member = broker.source(), Member()
            await source.start(member)
            stack.push_async_callback(source.stop)
            await until(lambda: member.assignments > 0, seconds=30)
            return source, member

        yield join


async def put(broker: Broker, count: int, *, partition: int = 0, size: int = 10) -> None:
    """Produce numbered records to one partition, in order."""
    for number in range(count):
        await broker.sink.send(
            Outgoing(
                topic=Topic.URLS,
                site="s",
                value=str(number).encode().ljust(size),
                headers=(("h", b"\x00\xff"),),
                partition=partition,
            )
        )


async def read(source: Source, partitions: list[TopicPartition], count: int) -> list[Inbound]:
    """Poll until there are so many records."""
    records: list[Inbound] = []
    async with asyncio.timeout(30):
        while len(records) < count:
            records += await source.poll(partitions, max_records=100, timeout_s=0.2)
    return records


async def test_records_arrive_in_order_and_whole(broker: Broker, members: Join) -> None:
    """Value, key, headers, offsets that ascend, and the append time."""
    source, _ = await members()
    await put(broker, 50)
    records = await read(source, URLS, 50)
    assert [record.value.strip() for record in records] == [str(n).encode() for n in range(50)]
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))
    assert records[0].key == b"s"
    assert dict(records[0].headers) == {"h": b"\x00\xff"}
    assert records[0].topic == "urls"
    assert records[0].timestamp_ms > 1_700_000_000_000


async def test_only_what_is_asked_for_is_polled(broker: Broker, members: Join) -> None:
    """Records of other partitions wait in the broker (C8)."""
    source, _ = await members()
    await put(broker, 5, partition=0)
    await put(broker, 5, partition=1)
    assert {r.partition for r in await read(source, [URLS[1]], 5)} == {1}
    assert await source.poll([URLS[1]], max_records=10, timeout_s=0.3) == []
    assert {r.partition for r in await read(source, [URLS[0]], 5)} == {0}


async def test_a_first_assignment_starts_at_the_beginning(broker: Broker, members: Join) -> None:
    """What was there before the group is read too (C6)."""
    await put(broker, 3)
    source, member = await members()
    assert member.positions[URLS[0]] == Position(0, "")
    assert len(await read(source, URLS, 3)) == 3


async def test_the_next_owner_starts_at_the_commit_with_its_metadata(
    broker: Broker,
    members: Join,
) -> None:
    """Offset and done set come back; a broker that drops metadata gives none (C7)."""
    await put(broker, 10)
    source, _ = await members()
    await read(source, URLS, 10)
    await source.commit({URLS[0]: Commit(4, pack(4, [6, 7], 100))})
    await source.stop()
    second, member = await members()
    position = member.positions[URLS[0]]
    assert position.offset == 4
    assert unpack(position.metadata, 4) == ([6, 7] if broker.keeps_metadata else [])
    assert [r.offset for r in await read(second, URLS, 6)] == [4, 5, 6, 7, 8, 9]


async def test_a_second_member_shares_and_the_first_commits_on_the_way(
    broker: Broker,
    members: Join,
) -> None:
    """Revoked first, then assigned; a commit in the revocation is what the next owner starts from."""
    await put(broker, 10, partition=3)
    first, one = await members()
    await read(first, URLS, 10)
    one.on_revoke = lambda: first.commit({URLS[3]: Commit(7, "")})
    _, two = await members()
    await until(lambda: len(one.positions) == 2 and len(two.positions) == 2, seconds=30)
    assert not one.positions.keys() & two.positions.keys()
    assert ({**one.positions, **two.positions})[URLS[3]].offset == 7
    one.on_revoke = None


async def test_a_poll_that_a_rebalance_overtakes_loses_nothing(broker: Broker, members: Join) -> None:
    """It brings nothing of the new assignment, and what it saw of it comes again (C: no gap, no loss)."""
    first, one = await members()
    async with asyncio.TaskGroup() as group:
        overtaken = group.create_task(first.poll(URLS, max_records=100, timeout_s=20))
        await asyncio.sleep(0.05)  # noqa: TID251 -- the poll is on its way
        _, two = await members()
        await until(lambda: len(one.positions) == 2 and len(two.positions) == 2, seconds=30)
        for where in one.positions:
            await put(broker, 5, partition=where.partition)
        assert await overtaken == []
    records = await read(first, list(one.positions), 10)
    assert sorted((r.partition, r.offset) for r in records) == [
        (where.partition, offset) for where in sorted(one.positions) for offset in range(5)
    ]


async def test_a_commit_for_what_is_not_ours_is_refused(broker: Broker, members: Join) -> None:
    """An expected path, not a crash."""
    source, one = await members()
    _, two = await members()
    await until(lambda: len(one.positions) == 2 and len(two.positions) == 2, seconds=30)
    theirs = next(iter(two.positions))
    with pytest.raises(CommitRefusedError):
        await source.commit({theirs: Commit(1, "")})


async def test_an_acknowledgement_says_where_and_when(broker: Broker) -> None:
    """Partition, offset and append time; a tombstone needs no value."""
    first = await broker.sink.send(Outgoing(topic=Topic.URLS, site="a.example", value=b"x"))
    second = await broker.sink.send(Outgoing(topic=Topic.URLS, site="a.example", value=None))
    assert second.partition == first.partition
    assert second.offset == first.offset + 1
    assert second.timestamp_ms >= first.timestamp_ms > 1_700_000_000_000


async def test_a_partition_is_read_to_its_end(broker: Broker) -> None:
    """From the first record to the last that was there, then it ends; an empty one ends at once (M6)."""
    await put(broker, 30, partition=2)
    records = [record async for record in broker.reader.read("urls", 2)]
    assert [record.value.strip() for record in records] == [str(n).encode() for n in range(30)]
    assert [record async for record in broker.reader.read("urls", 1)] == []


async def test_the_ends_of_several_topics_are_read_at_once(broker: Broker) -> None:
    """The last of each at least, in order, then it ends; topics with nothing in them hold up nothing."""
    await put(broker, 30, partition=2)
    late = [Outgoing(topic=Topic.RETRY_2S, site="s", value=str(n).encode(), partition=2) for n in range(3)]
    for record in late:
        await broker.sink.send(record)
    found: dict[str, list[bytes]] = {}
    topics = (Topic.URLS, Topic.RETRY_2S, Topic.RETRY_4S)
    async for inbound in broker.reader.tails(topics, 2, 5):
        found.setdefault(inbound.topic, []).append(inbound.value.strip())
    assert found[Topic.URLS][-5:] == [str(n).encode() for n in range(25, 30)]
    assert found[Topic.RETRY_2S] == [b"0", b"1", b"2"]
    assert Topic.RETRY_4S not in found


async def test_a_record_that_can_never_fit_is_a_record_error(broker: Broker) -> None:
    """Not a reason to end the process."""
    if isinstance(broker.sink, FakeSink):
        pytest.skip("the fake has no limits")
    with pytest.raises(RecordError):
        await broker.sink.send(Outgoing(topic=Topic.URLS, site="a", value=b"x" * (MAX_RECORD_BYTES + 1)))


async def test_a_batch_is_acknowledged_whole_and_keeps_its_order_in_each_partition(
    broker: Broker, members: Join
) -> None:
    """C1, C5: of any size, to several topics at once, each record with its own key, headers and partition."""
    source, _ = await members()
    sent = [
        Outgoing(
            topic=Topic.URLS if number % 3 else Topic.RETRY_2S,
            site="s",
            key=b"key %d" % number,
            value=b"%d" % number + b" " * 2_000,
            headers=(("tidegate-job", b"{%d}" % number),),
            partition=number % 2,
        )
        for number in range(500)
    ]
    await broker.sink.send_batch(sent)
    records = await read(source, URLS, sum(record.topic == Topic.URLS for record in sent))
    for partition in range(2):
        expected = [each for each in sent if each.topic == Topic.URLS and each.partition == partition]
        found = [record for record in records if record.partition == partition]
        assert [(r.key, r.value, tuple(r.headers.items())) for r in found] == [
            (each.key, each.value, each.headers) for each in expected
        ]
    late = [record async for record in broker.reader.read(Topic.RETRY_2S, 0)]
    assert [record.key for record in late] == [b"key %d" % number for number in range(0, 500, 6)]


async def test_records_of_ten_megabytes_pass(broker: Broker, members: Join) -> None:
    """An intake record may be this large, so that garbage gets its dead letter."""
    source, _ = await members()
    await broker.sink.send(Outgoing(topic=Topic.URLS, site="a", value=b"x" * 10_000_000, partition=0))
    await put(broker, 1, partition=0)
    records = await read(source, URLS, 2)
    assert [len(record.value) for record in records] == [10_000_000, 10]


async def test_a_partition_is_followed_from_an_offset_on_in_one_order_by_everybody(broker: Broker) -> None:
    """M1: what was there and what comes later, each record once, the same for two who follow."""
    for number in range(5):
        await broker.sink.send(Outgoing(topic=Topic.BUDGET, site="", value=b"%d" % number, partition=0))

    async def follow(offset: int, count: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        async with aclosing(broker.reader.follow(Topic.BUDGET, 0, offset)) as batches:
            async for batch in batches:
                found += [(record.offset, record.value) for record in batch if record.offset >= offset]
                if len(found) >= count:
                    break
        return found

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        whole = group.create_task(follow(0, 8))
        part = group.create_task(follow(3, 5))
        for number in range(5, 8):
            await broker.sink.send(Outgoing(topic=Topic.BUDGET, site="", value=b"%d" % number, partition=0))
    assert whole.result() == [(number, b"%d" % number) for number in range(8)]
    assert part.result() == whole.result()[3:]
