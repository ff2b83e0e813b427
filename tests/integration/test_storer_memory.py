"""What an insert held is free once it is there, or has failed, without anybody looking for garbage.

The storer lets the collector look so seldom that cycles with bodies in them would fill its memory.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

import pytest
from support.chaos_faults import clickhouse_error
from support.collector import no_collector
from support.faulty_proxy import FaultyProxy, Kind, NetworkFault, faulty_proxy
from support.storer import EPOCH_MS, Endpoint
from tidegate.clock import SystemClock
from tidegate.errors import ClickHouseError
from tidegate.events import Event
from tidegate.records import body_hash
from tidegate_cli.stack.ports import PortPool
from tidegate_storer import events
from tidegate_storer.batch import Entry
from tidegate_storer.batch_writer import BatchWriter
from tidegate_storer.clickhouse import ClickHouse, connected
from tidegate_storer.migrate import migrate
from tidegate_storer.rows import Write
from tidegate_storer.settings import StorerSettings
from tidegate_storer.tables import BODIES

_numbers = count()
_MEMORY_LIMIT_EXCEEDED, _TOO_LARGE_STRING_SIZE = 241, 131
_FAULTS = {
    "it is away": NetworkFault(kind=Kind.RESET),
    "it goes away in the middle": NetworkFault(kind=Kind.CUT, after_bytes=1 << 14),
    "it is silent": NetworkFault(kind=Kind.BLACK_HOLE, then_reset=True),
    "it has no memory": NetworkFault(kind=Kind.ANSWER, answer=clickhouse_error(_MEMORY_LIMIT_EXCEEDED)),
    "it refuses a row": NetworkFault(kind=Kind.ANSWER, answer=clickhouse_error(_TOO_LARGE_STRING_SIZE)),
}


@pytest.fixture(autouse=True)
def only_counts(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let only reference counts free anything; no kept log record holds an error."""
    caplog.set_level(logging.CRITICAL, "clickhouse_connect")
    with no_collector():
        yield


@asynccontextmanager
async def migrated(data: Path) -> AsyncIterator[tuple[Endpoint, FaultyProxy, ClickHouse]]:
    """Run the engine with the tables in it, and connect to it by a network that may break."""
    endpoint = Endpoint(data)
    await endpoint.start()
    try:
        await migrate(endpoint.settings, StorerSettings(), SystemClock())
        async with faulty_proxy(PortPool().take(), endpoint.port) as proxy:
            settings = endpoint.settings.model_copy(update={"url": proxy.url})
            async with connected(settings, timeout_s=2) as clickhouse:
                yield endpoint, proxy, clickhouse
    finally:
        await endpoint.stop()


class Bodies:
    """Bodies that nobody but the test should hold: enough for an insert of several blocks."""

    def __init__(self) -> None:
        # No two inserts have the same ones, so none is taken for another sent again.
        self._bodies = [b"%8d" % next(_numbers) * 40_000 for _ in range(12)]
        self._before = self._references()

    def __len__(self) -> int:
        return len(self._bodies)

    def _references(self) -> list[int]:
        return [sys.getrefcount(body) for body in self._bodies]

    def rows(self) -> list[tuple[object, ...]]:
        """Return a row of each."""
        at = datetime.fromtimestamp(EPOCH_MS / 1000, UTC)
        return [(body_hash(body), at, len(body), body) for body in self._bodies]

    def entries(self) -> list[Entry]:
        """Return a batch of them."""
        return [Entry((Write(BODIES, row, b"%d" % id(row)),), 1) for row in self.rows()]

    @property
    def held(self) -> int:
        """By how many others than the test they are held, together."""
        return sum(self._references()) - sum(self._before)


async def test_the_rows_of_an_insert_are_free_when_it_is_done(tmp_path: Path) -> None:
    """The client's own object of an insert refers to itself, and so to the rows."""
    async with migrated(tmp_path) as (_, _, clickhouse):
        bodies = Bodies()
        await clickhouse.insert(BODIES, bodies.rows(), "a token")
        assert bodies.held == 0
        assert await clickhouse.query("SELECT count() FROM bodies") == [(len(bodies),)]


async def test_the_rows_of_an_insert_that_fails_are_free(tmp_path: Path) -> None:
    """An error knows the frames that it came through, and they know the rows."""
    async with migrated(tmp_path) as (_, proxy, clickhouse):
        for name, fault in _FAULTS.items():
            # What is asked before the first insert would fail in place of the insert.
            await clickhouse.insert(BODIES, Bodies().rows(), name)
            bodies = Bodies()
            proxy.break_with(fault)
            with pytest.raises(ClickHouseError):
                await clickhouse.insert(BODIES, bodies.rows(), f"{name}, another")
            proxy.heal()
            assert bodies.held == 0, name


@pytest.mark.parametrize("connected_before", [False, True])
async def test_the_rows_of_a_first_insert_that_fails_are_free(
    tmp_path: Path, *, connected_before: bool
) -> None:
    """It fails where it connects, or where it asks for the server's settings."""
    async with migrated(tmp_path) as (_, proxy, clickhouse):
        if connected_before:
            await clickhouse.query("SELECT 1")
        for name, fault in _FAULTS.items():
            bodies = Bodies()
            proxy.break_with(fault)
            with pytest.raises(ClickHouseError):
                await clickhouse.insert(BODIES, bodies.rows(), name)
            proxy.heal()
            assert bodies.held == 0, name


async def test_the_rows_beside_a_value_that_does_not_fit_are_free(tmp_path: Path) -> None:
    """The client itself refuses it, somewhere in the blocks."""
    async with migrated(tmp_path) as (_, _, clickhouse):
        for place in (0, 6, 11):
            bodies = Bodies()
            rows = bodies.rows()
            rows[place] = ("no hash of 128 bits", "no time", *rows[place][2:])
            with pytest.raises(ClickHouseError):
                await clickhouse.insert(BODIES, rows, "a token")
            del rows
            assert bodies.held == 0, place


async def test_a_batch_that_waited_for_clickhouse_is_free_when_it_is_there(tmp_path: Path) -> None:
    """An outage has an error for each try of each batch."""
    async with migrated(tmp_path) as (endpoint, _, clickhouse):
        held = asyncio.Semaphore(0)

        def emit(event: Event) -> None:
            if isinstance(event, events.InsertHeld):
                held.release()

        writer = BatchWriter(clickhouse, clock=SystemClock(), random=Random(1), emit=emit)
        before = Bodies()
        assert await writer.write(before.entries()) == {}
        await endpoint.stop(kill=True)
        bodies = Bodies()
        writing = asyncio.ensure_future(writer.write(bodies.entries()))
        for _ in range(2):
            await asyncio.wait_for(held.acquire(), 60)
        await endpoint.start()
        assert await asyncio.wait_for(writing, 60) == {}
        del writing
        assert (before.held, bodies.held) == (0, 0)
        written = len(before) + len(bodies)
        assert await clickhouse.query("SELECT count() FROM bodies") == [(written,)]


async def test_a_batch_with_a_refused_row_is_free_when_it_is_there(tmp_path: Path) -> None:
    """It is split until the row is found, and each part with the row fails."""
    async with migrated(tmp_path) as (_, _, clickhouse):
        refusals: list[Event] = []
        writer = BatchWriter(clickhouse, clock=SystemClock(), random=Random(1), emit=refusals.append)
        bodies = Bodies()
        entries = bodies.entries()
        misfit = ("no hash of 128 bits", "no time", *entries[6].writes[0].row[2:])
        entries[6] = Entry((Write(BODIES, misfit, b"the misfit"),), 1)
        del misfit
        assert list(await writer.write(entries)) == [6]
        entries.clear()
        assert bodies.held == 0
        assert [type(event) for event in refusals] == [events.RowRefused]
