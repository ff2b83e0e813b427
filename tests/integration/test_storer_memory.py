"""What an insert held is free once it is there, or has failed, without anybody looking for garbage.

The storer lets the collector look so seldom that cycles with bodies in them would fill its memory.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from support.storer import EPOCH_MS, Endpoint
from tidegate.clock import SystemClock
from tidegate.errors import ClickHouseError
from tidegate.events import Event
from tidegate.records import body_hash
from tidegate_storer import events
from tidegate_storer.batch import Entry
from tidegate_storer.batch_writer import BatchWriter
from tidegate_storer.clickhouse import connected
from tidegate_storer.migrate import migrate
from tidegate_storer.rows import Write
from tidegate_storer.settings import StorerSettings
from tidegate_storer.tables import BODIES


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let only reference counts free anything."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def migrated(data: Path) -> AsyncIterator[Endpoint]:
    """Run the engine with the tables in it."""
    endpoint = Endpoint(data)
    await endpoint.start()
    try:
        await migrate(endpoint.settings, StorerSettings(), SystemClock())
        yield endpoint
    finally:
        await endpoint.stop()


def row_of(body: bytes) -> tuple[object, ...]:
    """Return the row of a body."""
    return (body_hash(body), datetime.fromtimestamp(EPOCH_MS / 1000, UTC), len(body), body)


@pytest.mark.usefixtures("no_collector")
async def test_the_rows_of_an_insert_are_free_when_it_is_done(tmp_path: Path) -> None:
    """The client's own object of an insert refers to itself, and so to the rows."""
    async with migrated(tmp_path) as endpoint:
        body = b"<p>%d" % EPOCH_MS
        row = row_of(body)
        references = sys.getrefcount(body)
        async with connected(endpoint.settings, timeout_s=30) as clickhouse:
            await clickhouse.insert(BODIES, [row], "a token")
            assert sys.getrefcount(body) == references
            assert await clickhouse.query("SELECT count() FROM bodies") == [(1,)]


@pytest.mark.usefixtures("no_collector")
async def test_the_rows_of_an_insert_that_is_refused_are_free(tmp_path: Path) -> None:
    """An error knows the frames that it came through, and they know the rows."""
    async with migrated(tmp_path) as endpoint:
        body = b"<p>%d" % EPOCH_MS
        row = ("no hash of 128 bits", "no time", len(body), body)
        references = sys.getrefcount(body)
        async with connected(endpoint.settings, timeout_s=30) as clickhouse:
            with pytest.raises(ClickHouseError):
                await clickhouse.insert(BODIES, [row], "a token")
            assert sys.getrefcount(body) == references


@pytest.mark.usefixtures("no_collector")
async def test_what_waited_for_clickhouse_is_free_when_it_is_there(tmp_path: Path) -> None:
    """An outage has an error for each try of each batch."""
    async with migrated(tmp_path) as endpoint:
        body = b"<p>%d" % EPOCH_MS
        entry = Entry((Write(BODIES, row_of(body), b"a key"),), len(body))
        references = sys.getrefcount(body)
        held = asyncio.Semaphore(0)

        def emit(event: Event) -> None:
            if isinstance(event, events.InsertHeld):
                held.release()

        async with connected(endpoint.settings, timeout_s=5) as clickhouse:
            writer = BatchWriter(clickhouse, clock=SystemClock(), random=Random(1), emit=emit)
            await clickhouse.query("SELECT 1")
            await endpoint.stop(kill=True)
            writing = asyncio.ensure_future(writer.write([entry]))
            for _ in range(2):
                await asyncio.wait_for(held.acquire(), 60)
            await endpoint.start()
            assert await asyncio.wait_for(writing, 60) == {}
            assert await clickhouse.query("SELECT count() FROM bodies") == [(1,)]
        del writing
        assert sys.getrefcount(body) == references
