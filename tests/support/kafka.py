"""Brokers for tests: real Apache Kafka (one node or three), and the embedded one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from tidegate.clock import SystemClock
from tidegate.events import Event
from tidegate_cli.stack.broker_kafka import LocalKafka
from tidegate_cli.stack.broker_tansu import tansu_spec
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.processes import Child
from tidegate_cli.stack.watchman import Watchman


class Broker(msgspec.Struct, frozen=True):
    """Where a broker is."""

    bootstrap: str


def ignore(event: Event) -> None:
    """Take an event and do nothing."""


@asynccontextmanager
async def local_kafka(folder: Path, nodes: int) -> AsyncIterator[LocalKafka]:
    """Run Apache Kafka; ConfigurationError where Java or Maven are missing."""
    kafka = LocalKafka(folder, emit=ignore, nodes=nodes)
    await kafka.start()
    try:
        yield kafka
    finally:
        await kafka.stop()


@asynccontextmanager
async def local_tansu(folder: Path) -> AsyncIterator[Broker]:
    """Run the embedded broker."""
    port = PortPool().take()
    watchman = Watchman()
    spec = tansu_spec(port)
    marked = msgspec.structs.replace(spec, env={**spec.env, **watchman.mark})
    child = Child(marked, folder / "tansu.log", SystemClock())
    child.spawn()
    try:
        await child.wait_ready()
        yield Broker(f"{HOST}:{port}")
    finally:
        await child.stop()
        watchman.dismiss()
