"""What the rows share: one broker for all of them, processes and what they took, records put on topics."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.kafka import ignore, local_kafka, local_tansu
from tidegate.errors import ConfigurationError
from tidegate.outcome import Outgoing
from tidegate.sites import partition_of
from tidegate_cli.stack.broker_tansu import SETTINGS as TANSU_SETTINGS
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

PARTITIONS = 12
_TESTS = Path(__file__).parents[1]


class Rig(msgspec.Struct):
    """A broker and a folder. ``fresh`` gives each measurement topics and a folder of its own."""

    folder: Path
    broker: str
    bootstrap: str
    settings: dict[str, str]
    say: Callable[[str], None]
    _count: int = 0

    def fresh(self) -> tuple[str, Path]:
        """Return a prefix for topics and an empty folder."""
        self._count += 1
        return f"bench{self._count}.", self.folder / f"{self._count}"

    @asynccontextmanager
    async def stack(self, **options: Any) -> AsyncIterator[Stack]:
        """Run services on the broker; ``env`` adds to their settings."""
        prefix, folder = self.fresh()
        env = {**self.settings, **options.pop("env", {})}
        chosen = StackOptions(
            data_dir=folder,
            broker=self.bootstrap,
            prefix=prefix,
            partitions=PARTITIONS,
            env=env,
            **options,
        )
        async with running_stack(chosen, ignore) as stack:
            yield stack


@asynccontextmanager
async def rig(folder: Path, say: Callable[[str], None]) -> AsyncIterator[Rig]:
    """Start Apache Kafka where Java is, else the embedded broker."""
    async with AsyncExitStack() as stack:
        try:
            kafka = await stack.enter_async_context(local_kafka(folder / "kafka", 1))
        except ConfigurationError as missing:
            say(f"{missing}; the embedded broker takes its place")
            tansu = await stack.enter_async_context(local_tansu(folder))
            yield Rig(folder, "embedded", tansu.bootstrap, dict(TANSU_SETTINGS), say)
        else:
            yield Rig(folder, "Apache Kafka, one node", kafka.bootstrap, {}, say)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its living children have taken."""
    return sum(_clock_s(each) for each in (pid, *(child.pid for child in _children(pid))))


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _clock_s(pid: int) -> float:
    """Return what a process's own clock says: the times that /proc counts are hundredths of a second."""
    if sys.platform != "linux":
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    # clock_getcpuclockid(3), which Python does not have, makes the same number.
    return time.clock_gettime((~pid << 3) | 2)


def resident_mb(pid: int) -> float:
    """Return the MiB that a process holds, and its children beside what they share with it and each other."""
    process = psutil.Process(pid)
    own = process.memory_info().rss
    # Resident sizes added up would count the interpreter and its libraries once for each of them.
    children = sum(child.memory_full_info().pss for child in _children(pid))
    return float(own + children) / (1 << 20)


def environment() -> dict[str, str]:
    """Return what a process needs that runs a module of ours."""
    return {**os.environ, "PYTHONPATH": str(_TESTS)}


async def run_module(module: str, *arguments: str, log: Path, python: str = sys.executable) -> Any:
    """Run a module of ours as a process and return what it prints as its last line, JSON."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            python, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=errors, env=environment()
        )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        message = f"{module} ended with {process.returncode}; see {log}"
        raise RuntimeError(message)
    return json.loads(out.splitlines()[-1])


async def make_topic(bootstrap: str, topic: str) -> None:
    """Make a topic as the services' own are."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()


async def put(bootstrap: str, prefix: str, records: Iterable[Outgoing]) -> int:
    """Produce records as the services do, to their site's partition; return how many."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=1 << 20, max_request_size=16 << 20
    )
    await producer.start()
    count = 0
    try:
        waiting: list[asyncio.Future[Any]] = []
        for record in records:
            site = record.site.encode()
            partition = partition_of(site, PARTITIONS) if record.partition is None else record.partition
            waiting.append(
                await producer.send(
                    prefix + record.topic,
                    record.value,
                    key=site,
                    partition=partition,
                    headers=list(record.headers),
                )
            )
            count += 1
            if len(waiting) >= 2_000:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return count


class Ends:
    """How many records a topic has. It reads none of them, but commits as ``group`` as if it had."""

    def __init__(self, bootstrap: str, topic: str, *, group: str) -> None:
        self._partitions = [KafkaPartition(topic, number) for number in range(PARTITIONS)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        )

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def count(self) -> int:
        """Return the sum of all end offsets."""
        ends = await self._consumer.end_offsets(self._partitions)
        await self._consumer.commit(ends)
        return sum(ends.values())

    async def reach(self, count: int, seconds: float, reading: Callable[[], float] = float) -> float:
        """Wait until there are so many; return the highest reading meanwhile. Raises TimeoutError."""
        highest = reading()
        async with asyncio.timeout(seconds):
            while await self.count() < count:
                highest = max(highest, reading())
                await asyncio.sleep(0.2)  # noqa: TID251 -- real processes, real time
        return highest
