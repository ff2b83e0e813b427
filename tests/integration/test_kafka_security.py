"""TLS, SCRAM and mutual TLS against the listeners of a real broker."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import pytest_asyncio
import uvloop
from aiokafka.conn import AIOKafkaConnection
from support.cli import run
from support.demo_processes import process
from support.kafka_secured import PASSWORD, SESSION_MS, Certificates, SecuredKafka, environment, secured_kafka
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume import kafka_connection
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.errors import BrokerError
from tidegate.events import Event
from tidegate.kafka_admin import apply_topics
from tidegate.outcome import Outgoing
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic
from tidegate_cli.stack.parts import simulator_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


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
        with urlopen(f"{site}/urls.txt", timeout=10) as answer:  # noqa: ASYNC210 -- nothing else runs here
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
