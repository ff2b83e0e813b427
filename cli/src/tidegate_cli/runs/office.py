"""Where an operator speaks: the topics ``runs`` and ``budget`` of an installation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.clock import BrokerClock, Clock, SystemClock, seeded_random
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.consume.service import Sink
from tidegate.events import Emit, Event
from tidegate.kafka_admin import site_partitions
from tidegate.ledger.entries import Entry
from tidegate.ledger.machine import Ledger
from tidegate.process import PartitionReader
from tidegate.runs import RunRecord, Runs, run_record
from tidegate.settings import Settings
from tidegate.topics import Topic
from tidegate_solver.ledger_log import LedgerLog


class Office:
    """Reads and writes what is said of runs and of money. ``name`` stands in the ledger as the writer."""

    def __init__(self, sink: Sink, reader: PartitionReader, log: LedgerLog) -> None:
        self._sink = sink
        self._reader = reader
        self._log = log

    @property
    def name(self) -> str:
        """What the ledger knows this process by."""
        return self._log.name

    @property
    def ledger(self) -> Ledger:
        """The ledger as it is after everything that was written here."""
        return self._log.ledger

    async def runs(self) -> Runs:
        """Return every run that was created. Raises BrokerError."""
        runs = Runs()
        async for record in self._reader.read(Topic.RUNS, 0):
            runs.apply(record)
        return runs

    async def say_run(self, record: RunRecord) -> None:
        """Say how a run stands. Raises BrokerError."""
        await self._sink.send(run_record(record))

    async def say_money(self, entry: Entry) -> None:
        """Write into the ledger and wait until it counts. Raises BrokerError."""
        await self._log.append(entry)
        await self._log.catch_up()


@asynccontextmanager
async def office(sink: Sink, reader: PartitionReader, clock: Clock, emit: Emit) -> AsyncIterator[Office]:
    """Open it: the ledger has been read to its end."""
    log = LedgerLog(sink, reader, clock=clock, random=seeded_random(), emit=emit)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(log.run(), name="ledger")
        await log.restored()
        yield Office(sink, reader, log)
        following.cancel()


@asynccontextmanager
async def office_of(settings: Settings, heard: list[Event]) -> AsyncIterator[Office]:
    """Open the office of an installation; ``heard`` gets what the ledger makes of what is written.

    Raises BrokerError where the brokers do not answer, ConfigurationError where topics are missing.
    """
    clock = SystemClock()
    partitions = await site_partitions(settings)
    sink = KafkaSink(settings.kafka, clock=clock, broker_clock=BrokerClock(clock), emit=heard.append)
    await sink.start(partitions)
    try:
        async with office(sink, KafkaReader(settings.kafka), clock, heard.append) as opened:
            yield opened
    finally:
        await sink.stop()
