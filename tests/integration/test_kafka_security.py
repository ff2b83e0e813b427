"""TLS, SCRAM and mutual TLS against the listeners of a real broker."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import pytest_asyncio
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from support.cli import run
from support.demo_processes import process
from support.kafka import ignore
from support.kafka_roles import as_role, make_roles, services
from support.kafka_secured import PASSWORD, SESSION_MS, Certificates, SecuredKafka, environment, secured_kafka
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume import kafka_connection
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.errors import BrokerError
from tidegate.events import Event
from tidegate.kafka_admin import apply_topics
from tidegate.kafka_security import connection_options
from tidegate.outcome import Outgoing
from tidegate.settings import ClickHouseSettings, KafkaSettings, Settings
from tidegate.sites import site_of
from tidegate.stats import decode as decode_stats
from tidegate.telemetry.stats_sink import StatsSink
from tidegate.telemetry.tally import Tallies
from tidegate.topics import Topic
from tidegate_cli.lag import read_lag
from tidegate_cli.stack.parts import simulator_settings
from tidegate_monitor.stream import read_stats
from tidegate_storer.migrate import migrate
from tidegate_storer.settings import StorerSettings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredKafka]:
    """Yield one node with listeners for SCRAM over TLS and for mutual TLS."""
    async with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


def sink(settings: KafkaSettings, told: list[Event] | None = None) -> KafkaSink:
    """Return a producer as the services have it."""
    clock = SystemClock()
    emit = ([] if told is None else told).append
    return KafkaSink(settings, clock=clock, broker_clock=BrokerClock(clock), emit=emit)


def logs_below(folder: Path) -> str:
    """Return what all processes of a run logged."""
    return "".join(path.read_text("utf-8", "replace") for path in folder.rglob("*.log"))


async def refused(settings: KafkaSettings) -> None:
    """Assert that no connection comes about."""
    producer = sink(settings)
    with pytest.raises(BrokerError):
        await producer.start(1)
    await producer.stop()


async def round_trip(settings: KafkaSettings) -> list[bytes]:
    """Make the topics, produce one record and return what is read back."""
    everything = Settings(kafka=settings)
    await apply_topics(everything, clock=SystemClock())
    producer = sink(settings)
    await producer.start(settings.partitions)
    await producer.send(Outgoing(topic=Topic.URLS, site="a.example", value=b"https://a.example/"))
    await producer.stop()
    found = []
    for partition in range(settings.partitions):
        found += [each.value async for each in KafkaReader(settings).read(Topic.URLS, partition)]
    return found


async def test_scram_over_tls_carries_records(secured: SecuredKafka) -> None:
    """The production setting, with the password from a file."""
    assert await round_trip(secured.scram("scram-", partitions=1)) == [b"https://a.example/"]


async def test_mutual_tls_carries_records(secured: SecuredKafka) -> None:
    """A certificate in the place of a password."""
    assert await round_trip(secured.mutual_tls("mutual-", partitions=1)) == [b"https://a.example/"]


@pytest.mark.parametrize("listener", ["scram", "mutual", "roles"])
async def test_the_monitor_reads_over_tls(secured: SecuredKafka, tmp_path: Path, listener: str) -> None:
    """Faust takes the settings of all others: SCRAM or a certificate, and no more rights than are printed.

    Of the SCRAM listener it outlives a session: the broker closes it, and the password is proved anew.
    """
    prefix, records = f"monitor-{listener}-", 3 if listener != "scram" else 3 + SESSION_MS // 1000
    if listener == "roles":
        await asyncio.to_thread(make_roles, secured, prefix)
        settings = as_role(secured, "monitor", tmp_path, prefix)
    else:
        settings = secured.scram(prefix) if listener == "scram" else secured.mutual_tls(prefix)
    owner = secured.scram(prefix, partitions=settings.partitions)
    clock, seen, enough = SystemClock(), list[int](), asyncio.Event()
    await apply_topics(Settings(kafka=owner), clock=clock)

    def take(value: bytes, offset: int, _at_ms: int) -> None:
        assert decode_stats(value) is not None
        seen.append(offset)
        if len(seen) == records:
            enough.set()

    async with asyncio.TaskGroup() as group:
        # With its own rights it tells, too: it is known by that among others.
        telling = group.create_task(StatsSink(settings, Tallies("monitor", "m", ()), clock, ignore).run())
        with pytest.raises(BrokerError):
            async with asyncio.timeout(90):
                await read_stats(settings, take, clock, enough.is_set)
        telling.cancel()
    assert seen[:records] == list(range(records))


async def test_a_journal_is_restored_in_seconds_over_tls(
    secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the loop of the services: it would wait half a minute for the broker's good-bye."""
    settings = secured.scram("restore-", partitions=1)
    await apply_topics(Settings(kafka=settings), clock=SystemClock())

    async def restore() -> int:
        async with asyncio.timeout(15):
            return len([each async for each in KafkaReader(settings).read(Topic.CAPTCHA_TASKS, 0)])

    monkeypatch.setattr(AIOKafkaConnection, "send", kafka_connection._send)
    monkeypatch.setattr(AIOKafkaConnection, "close", kafka_connection._close)
    kafka_connection.mend_connections()
    assert await asyncio.to_thread(uvloop.run, restore()) == 0


async def test_a_broker_of_a_foreign_authority_is_refused(secured: SecuredKafka, tmp_path: Path) -> None:
    """Whoever answers without a certificate that we trust gets nothing, least of all the password."""
    foreign = Certificates(tmp_path).authority
    await refused(secured.scram(ca_file=foreign))


async def test_without_a_certificate_mutual_tls_is_refused(secured: SecuredKafka) -> None:
    """The listener asks for one."""
    await refused(secured.mutual_tls(cert_file=None, key_file=None))


async def test_a_crawl_over_scram_and_tls_loses_nothing(secured: SecuredKafka, tmp_path: Path) -> None:
    """All services and commands go over the secured listener, which closes old sessions all the while."""
    with (
        process("tidegate_cli.simulator") as simulator,
        process("tidegate_cli.demo_site", "--simulator", simulator, "--pages", "60") as site,
        process("tidegate_cli.clickhouse", "--data", str(tmp_path / "tables")) as clickhouse,
    ):
        with urlopen(f"{site}/urls.txt", timeout=60) as answer:  # noqa: ASYNC210 -- nothing else runs here
            (tmp_path / "urls.txt").write_bytes(answer.read())
        there = {
            **simulator_settings(simulator),
            **environment(secured.scram("crawl-")),
            "TIDEGATE_KAFKA__PARTITIONS": "2",
            "TIDEGATE_CLICKHOUSE__URL": clickhouse,
        }
        options = ("--json", "--allow-private", "--solve", site.removeprefix("http://"))
        done = await asyncio.to_thread(run, tmp_path, "crawl", "urls.txt", *options, env=there)
        status = await asyncio.to_thread(run, tmp_path, "status", env=there)
    assert done.code == 0, done.err
    assert done.report["lost"] == 0
    assert done.report["duplicates"] == 0
    assert done.report["solved"] >= 3
    assert status.code == 0, status.err
    assert PASSWORD not in logs_below(tmp_path) + done.out + done.err


async def test_a_crawl_needs_no_more_than_the_printed_rights(secured: SecuredKafka, tmp_path: Path) -> None:
    """Each service as a user of its own, with what `tidegate topics acls` prints for it and nothing else."""
    prefix = "roles-"
    await asyncio.to_thread(make_roles, secured, prefix)
    with (
        process("tidegate_cli.simulator") as simulator,
        process("tidegate_cli.demo_site", "--simulator", simulator, "--pages", "20") as site,
        process("tidegate_cli.clickhouse", "--data", str(tmp_path / "tables")) as clickhouse,
    ):
        with urlopen(f"{site}/urls.txt", timeout=60) as answer:  # noqa: ASYNC210 -- nothing else runs here
            urls = answer.read()
        tables = ClickHouseSettings(url=clickhouse)
        ours = {
            **simulator_settings(simulator),
            "TIDEGATE_CLICKHOUSE__URL": clickhouse,
            "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
            "TIDEGATE_FETCHER__SOLVE_HOSTS": site.removeprefix("http://"),
            "TIDEGATE_STORER__BATCH_AGE_S": "0.5",
        }
        clock = SystemClock()
        await apply_topics(Settings(kafka=as_role(secured, "deployer", tmp_path, prefix)), clock=clock)
        await migrate(tables, StorerSettings(), clock)
        with services(secured, tmp_path, prefix, ours) as running:
            producer = sink(as_role(secured, "producer", tmp_path, prefix))
            await producer.start(2)
            for url in urls.split():
                await producer.send(Outgoing(topic=Topic.URLS, site=site_of(url.decode()), value=url))
            await producer.stop()
            stored, ends = 0, clock.monotonic() + 180
            while stored < len(urls.split()) and clock.monotonic() < ends:
                assert all(each.poll() is None for each in running.values()), logs_below(tmp_path)
                await clock.sleep(0.5)
                stored = pages_in(clickhouse)
            lags, _ = await read_lag(as_role(secured, "autoscaler", tmp_path, prefix))
        assert pages_in(clickhouse, "solves") >= 3
    assert stored == len(urls.split()), logs_below(tmp_path)
    assert lags
    assert "AuthorizationFailed" not in logs_below(tmp_path)


async def test_a_role_is_refused_what_is_not_its_own(secured: SecuredKafka, tmp_path: Path) -> None:
    """Neither another one's topics to read or write, nor its group to join."""
    prefix = "others-"
    await asyncio.to_thread(make_roles, secured, prefix)
    await apply_topics(Settings(kafka=as_role(secured, "deployer", tmp_path, prefix)), clock=SystemClock())
    for role, topic in (
        ("storer", Topic.URLS),
        ("solver", Topic.PAGES),
        ("producer", Topic.DEAD_LETTER),
        ("monitor", Topic.BUDGET),
    ):
        producer = sink(as_role(secured, role, tmp_path, prefix))
        await producer.start(2)
        with pytest.raises(BrokerError):
            await producer.send(Outgoing(topic=topic, site="a.example", value=b"x"))
        await producer.stop()
    operator = sink(as_role(secured, "operator", tmp_path, prefix))
    await operator.start(2)
    for topic in (Topic.URLS, Topic.BUDGET, Topic.PAGES):
        await operator.send(Outgoing(topic=topic, site="", key=b"", partition=0, value=b"x"))
    await operator.stop()
    for role, topic in (("solver", Topic.URLS), ("storer", Topic.BUDGET), ("autoscaler", Topic.PAGES)):
        with pytest.raises((BrokerError, TopicAuthorizationFailedError)):
            await anything(KafkaReader(as_role(secured, role, tmp_path, prefix)), topic)
    with pytest.raises(GroupAuthorizationFailedError):
        await committed(as_role(secured, "producer", tmp_path, prefix), "fetcher")


def pages_in(clickhouse: str, view: str = "pages") -> int:
    """Return how many rows a view has."""
    query = urlencode({"query": f"SELECT count() FROM tidegate.{view}"})
    with urlopen(f"{clickhouse}/?{query}", timeout=30) as answer:
        return int(answer.read())


async def anything(reader: KafkaReader, topic: Topic) -> None:
    """Read what is there of a topic's first partition."""
    async with asyncio.timeout(30):
        async for _ in reader.read(topic, 0):
            pass


async def committed(settings: KafkaSettings, group: str) -> None:
    """Ask where a group is."""
    topic = KafkaPartition(settings.prefix + Topic.URLS, 0)
    consumer = AIOKafkaConsumer(**connection_options(settings), group_id=settings.prefix + group)
    try:
        async with asyncio.timeout(30):
            await consumer.start()
            consumer.assign([topic])
            await consumer.committed(topic)
    finally:
        await consumer.stop()


async def test_a_changed_password_is_used_without_a_restart(secured: SecuredKafka) -> None:
    """A producer that lives on comes back with the password that its file holds by then."""
    settings = secured.scram("rotate-", partitions=1)
    await apply_topics(Settings(kafka=settings), clock=SystemClock())
    told: list[Event] = []
    producer = sink(settings, told)
    await producer.start(1)
    record = Outgoing(topic=Topic.URLS, site="a.example", value=b"https://a.example/")
    await producer.send(record)
    password = f"second-{random.getrandbits(64)}"
    await asyncio.to_thread(secured.change_password, password)
    secured.password_file.write_text(password, "ascii")
    clock = SystemClock()
    ends = clock.monotonic() + 1.5 * SESSION_MS / 1000
    while clock.monotonic() < ends:
        async with asyncio.timeout(30):
            await producer.send(record)
        await clock.sleep(0.5)
    await producer.stop()
    await refused(secured.scram("rotate-", password_file=None, password=PASSWORD))
