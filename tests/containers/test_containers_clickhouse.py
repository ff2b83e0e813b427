"""The storer's tables and inserts on a ClickHouse server, single and replicated.

What the embedded engine cannot show: the server's own defaults, deduplication windows as it keeps them,
replicated engines with a Keeper, rows that expire.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.containers import CLUSTER, Server, clickhouse_container, clickhouse_replicas, require_engine
from tidegate.clock import SystemClock
from tidegate_storer.clickhouse import ClickHouse, connected
from tidegate_storer.migrate import migrate
from tidegate_storer.schema import check_schema, migrations
from tidegate_storer.settings import StorerSettings
from tidegate_storer.tables import BODIES, PAGES, WRITE_ORDER, Table

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

NOW = datetime.now(UTC)  # noqa: TID251 -- rows expire by the server's own clock, which is this machine's
STORER = StorerSettings()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run one server for all tests of this file; each takes a database of its own."""
    require_engine()
    with clickhouse_container() as running:
        yield running


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Run two replicas for all tests of this file."""
    require_engine()
    with clickhouse_replicas(tmp_path_factory.mktemp("replicas")) as running:
        yield running


def row(table: Table, **values: object) -> tuple[object, ...]:
    """Return a row with those values and an empty one of its type in every other column."""
    unknown = set(values) - set(table.names)
    assert not unknown, unknown
    return tuple(values.get(name, empty(kind)) for name, kind in table.columns)


def empty(kind: str) -> object:
    """Return an empty value of a column's type."""
    if kind.startswith("DateTime64"):
        return NOW
    if kind.startswith("Nullable"):
        return None
    if kind.startswith("Map"):
        return {}
    if kind.startswith("Array"):
        return []
    if "String" in kind:
        return ""
    return 0


async def count(clickhouse: ClickHouse, table: str) -> int:
    """Return how many rows a table or view shows."""
    rows = await clickhouse.query(f"SELECT count() FROM {table}")
    return int(rows[0][0])


async def test_the_schema_is_made_and_made_again_without_harm(server: Server) -> None:
    """Every statement of every migration is one that a server takes, twice."""
    settings = server.settings("twice")
    assert len(await migrate(settings, STORER, SystemClock())) == len(migrations())
    assert await migrate(settings, STORER, SystemClock()) == []
    async with connected(settings, timeout_s=30) as clickhouse:
        assert await check_schema(clickhouse) == migrations()[-1].version


async def test_an_insert_that_is_sent_twice_is_there_once(server: Server) -> None:
    """A plain MergeTree has no deduplication window of its own; the tables ask for one (O4)."""
    settings = server.settings("sent_twice")
    await migrate(settings, STORER, SystemClock())
    async with connected(settings, timeout_s=30) as clickhouse:
        for table in WRITE_ORDER:
            for _ in range(2):
                await clickhouse.insert(table, [row(table)], "the-same-token")
            assert await count(clickhouse, table.name) == 1, table.name


async def test_a_redo_in_another_batch_collapses_in_the_view(server: Server) -> None:
    """After a crash batch boundaries move, so tokens differ; the rows' identity and version do not (O1)."""
    settings = server.settings("redo")
    await migrate(settings, STORER, SystemClock())
    async with connected(settings, timeout_s=30) as clickhouse:
        page = row(PAGES, run="r", id="a", version=7, status=200)
        await clickhouse.insert(PAGES, [page], "first")
        await clickhouse.insert(PAGES, [row(PAGES, run="r", id="b", version=7), page], "second")
        assert await count(clickhouse, "pages_log") == 3
        assert await count(clickhouse, "pages") == 2


async def test_rows_are_there_when_the_insert_returns(server: Server) -> None:
    """The server's default is asynchronous inserts; ours are pinned to synchronous ones."""
    settings = server.settings("synchronous")
    await migrate(settings, STORER, SystemClock())
    async with connected(settings, timeout_s=30) as clickhouse:
        rows = [row(PAGES, run="r", id=str(number), version=1) for number in range(1_000)]
        await clickhouse.insert(PAGES, rows, "token")
        assert await count(clickhouse, "pages_log") == 1_000
        await clickhouse.query("SYSTEM FLUSH LOGS")
        logged = await clickhouse.query(
            "SELECT DISTINCT Settings['async_insert'] FROM system.query_log "
            "WHERE query_kind = 'Insert' AND type = 'QueryFinish' AND has(tables, 'synchronous.pages_log')"
        )
        assert logged == [("0",)]


async def test_expired_rows_go_and_others_stay(server: Server) -> None:
    """Retention is a setting that `migrate` applies; bodies expire by whole parts."""
    settings = server.settings("expiry")
    kept = StorerSettings(ttl_days=30, ttl_dead_letters_days=30, ttl_outcomes_days=60)
    await migrate(settings, kept, SystemClock())
    old = NOW - timedelta(days=400)
    async with connected(settings, timeout_s=30) as clickhouse:
        for table, key in ((PAGES, "id"), (BODIES, "body_hash")):
            rows = [row(table, **{key: "old", "accepted_at": old}), row(table, **{key: "new"})]
            await clickhouse.insert(table, rows, "token")
            await clickhouse.query(f"OPTIMIZE TABLE {table.name} FINAL")
            left = await clickhouse.query(f"SELECT {key} FROM {table.name}")
            assert left == [("new",)], table.name


async def test_a_retention_that_is_taken_back_is_gone(server: Server) -> None:
    """Zero days keep rows for ever, also where there was a limit before."""
    settings = server.settings("for_ever")
    await migrate(settings, StorerSettings(ttl_days=1), SystemClock())
    await migrate(settings, StorerSettings(ttl_days=0), SystemClock())
    async with connected(settings, timeout_s=30) as clickhouse:
        rows = [row(PAGES, id="old", accepted_at=NOW - timedelta(days=400))]
        await clickhouse.insert(PAGES, rows, "token")
        await clickhouse.query("OPTIMIZE TABLE pages_log FINAL")
        assert await count(clickhouse, "pages") == 1


async def test_replicas_share_rows_and_the_memory_of_tokens(replicas: tuple[Server, Server]) -> None:
    """An insert whose answer was lost may be sent again to the other replica, and is there once (O4)."""
    first, second = (server.settings("shared", CLUSTER) for server in replicas)
    assert len(await migrate(first, STORER, SystemClock())) == len(migrations())
    async with (
        connected(first, timeout_s=60, quorum="2") as one,
        connected(second, timeout_s=60, quorum="2") as other,
    ):
        assert await check_schema(other) == migrations()[-1].version
        for table in WRITE_ORDER:
            await one.insert(table, [row(table)], "the-same-token")
            assert await count(other, table.name) == 1, table.name
            await other.insert(table, [row(table)], "the-same-token")
            assert await count(one, table.name) == 1, table.name
        engines = await one.query(
            "SELECT DISTINCT engine FROM system.tables WHERE database = 'shared' AND engine LIKE '%MergeTree'"
        )
        assert engines == [("ReplicatedReplacingMergeTree",)]


async def test_the_second_replica_finds_the_schema_done(replicas: tuple[Server, Server]) -> None:
    """A migration of the cluster is one migration, whichever replica is asked."""
    first, second = (server.settings("once", CLUSTER) for server in replicas)
    await migrate(first, STORER, SystemClock())
    async with connected(second, timeout_s=60) as clickhouse:
        await clickhouse.query("SYSTEM SYNC REPLICA schema_migrations")
    assert await migrate(second, STORER, SystemClock()) == []
