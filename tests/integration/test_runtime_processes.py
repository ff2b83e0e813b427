"""The runtime in processes of its own: a start without a broker, and a record that kills whoever reads it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from support.faulty_proxy import FaultyProxy
from support.kafka import Broker
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.kafka_admin import apply_topics
from tidegate.outcome import Outgoing, Reason
from tidegate.records import HEADER_DEAD, DeadMeta, Inbound, decoder, job_state
from tidegate.settings import KafkaSettings, Settings
from tidegate.topics import Topic
from tidegate_cli.stack.ports import HOST, PortPool

PARTITIONS = 2
_TESTS = Path(__file__).parents[1]


@asynccontextmanager
async def service(
    bootstrap: str, prefix: str, log: Path, extra: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``support.poison_service``; killed at the end if it still runs."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
        "PYTHONPATH": str(_TESTS),
        "TIDEGATE_KAFKA__BOOTSTRAP": bootstrap,
        "TIDEGATE_KAFKA__PREFIX": prefix,
        "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "1.5",
        **extra,
    }
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "support.poison_service", env=environment, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def status(port: int, path: str) -> int:
    """Return the status of a health page; 0 where nobody listens."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{port}{path}") as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def eventually(condition: Callable[[], Awaitable[bool]], every_s: float = 0.1) -> None:
    """Wait until something is so in another process; fail when it never is."""
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 -- nobody here could set an event
            await asyncio.sleep(every_s)  # noqa: TID251 -- a process of its own


async def shows(port: int, path: str, wanted: int) -> None:
    """Wait until a health page answers so."""

    async def does() -> bool:
        return await status(port, path) == wanted

    await eventually(does)


async def test_a_service_that_starts_without_a_broker_waits_for_it(
    tansu: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """Alive and not ready while nobody answers, ready once somebody does, and gone when it is told to."""
    kafka = KafkaSettings(bootstrap=tansu.bootstrap, prefix=topic_prefix, partitions=PARTITIONS)
    await apply_topics(Settings(kafka=kafka))
    ports = PortPool()
    health, port = ports.take(), ports.take()
    extra = {"TIDEGATE_HEALTH__PORT": str(health), "TIDEGATE_KAFKA__IDEMPOTENT": "false"}
    log = tmp_path / "log"
    async with service(f"{HOST}:{port}", topic_prefix, log, extra) as first:
        await shows(health, "/live", 200)
        assert await status(health, "/ready") == 503
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 60) == 0
    async with service(f"{HOST}:{port}", topic_prefix, log, extra) as second:
        await shows(health, "/live", 200)
        proxy = FaultyProxy(port, int(tansu.bootstrap.partition(":")[2]))
        await proxy.start()
        await shows(health, "/ready", 200)
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 60) == 0
        await proxy.stop()
    assert b'"broker_away"' in log.read_bytes()


async def records_of(reader: KafkaReader, topic: Topic) -> list[Inbound]:
    """Return all records of a topic."""
    return [record for number in range(PARTITIONS) async for record in reader.read(topic, number)]


async def dies_before(
    process: asyncio.subprocess.Process, read: Callable[[], Awaitable[list[Inbound]]]
) -> bool:
    """Say whether a process has died before there was anything to read."""

    async def either() -> bool:
        return process.returncode is not None or bool(await read())

    await eventually(either, 0.5)
    return process.returncode is not None


@pytest.mark.timeout(600)
async def test_a_record_that_kills_its_process_is_dead_lettered_and_all_else_done(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """Started again whenever it dies, the service finds the record and does everything else (C10)."""
    settings = KafkaSettings(bootstrap=kafka.bootstrap, prefix=topic_prefix, partitions=PARTITIONS)
    await apply_topics(Settings(kafka=settings))
    clock = SystemClock()
    sink = KafkaSink(settings, clock=clock, broker_clock=BrokerClock(clock), emit=lambda _: None)
    await sink.start(PARTITIONS)
    names = [f"page {number}" for number in range(40)]
    for number, name in enumerate([*names[:20], "poison", *names[20:]]):
        await sink.send(
            Outgoing(topic=Topic.URLS, site="s", value=name.encode(), partition=int(number % 4 == 3))
        )
    await sink.stop()
    reader, deaths, log = KafkaReader(settings), 0, tmp_path / "log"
    extra = {"TIDEGATE_RUNTIME__CRASHES_BEFORE_ISOLATION": "1"}

    async def all_pages() -> bool:
        return {each.value.decode() for each in await records_of(reader, Topic.PAGES)} == {*names}

    while True:
        async with service(kafka.bootstrap, topic_prefix, log, extra) as process:
            died = await dies_before(process, lambda: records_of(reader, Topic.DEAD_LETTER))
            if not died:
                await eventually(all_pages, 0.5)
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
                break
        assert process.returncode == 9, log.read_text()
        deaths += 1
        assert deaths <= 5, log.read_text()
    (letter,) = await records_of(reader, Topic.DEAD_LETTER)
    state = job_state(letter.headers)
    assert state is not None
    assert (letter.value, state.id) == (b"poison", "poison")
    assert decoder(DeadMeta).decode(letter.headers[HEADER_DEAD]).reason is Reason.CRASHED_THE_SERVICE
    # One to be isolated, one to be accused, two on trial.
    assert deaths == 4
