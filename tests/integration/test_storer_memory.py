"""What an insert held is free once it is there, without anybody looking for garbage."""

import gc
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.storer import EPOCH_MS, Endpoint
from tidegate.clock import SystemClock
from tidegate.records import body_hash
from tidegate_storer.clickhouse import connected
from tidegate_storer.migrate import migrate
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


@pytest.mark.usefixtures("no_collector")
async def test_the_rows_of_an_insert_are_free_when_it_is_done(tmp_path: Path) -> None:
    """The client's own object of an insert refers to itself, and so to the rows."""
    endpoint = Endpoint(tmp_path)
    await endpoint.start()
    try:
        await migrate(endpoint.settings, StorerSettings(), SystemClock())
        body = b"<p>%d" % EPOCH_MS
        row = (body_hash(body), datetime.fromtimestamp(EPOCH_MS / 1000, UTC), len(body), body)
        references = sys.getrefcount(body)
        async with connected(endpoint.settings, timeout_s=30) as clickhouse:
            await clickhouse.insert(BODIES, [row], "a token")
            assert sys.getrefcount(body) == references
            assert await clickhouse.query("SELECT count() FROM bodies") == [(1,)]
    finally:
        await endpoint.stop()
