"""Looks at ClickHouse: that it answers, its schema, its clock, its disks. Reads only."""

from tidegate.clock import Clock
from tidegate.errors import ClickHouseError
from tidegate.settings import ClickHouseSettings
from tidegate_storer.schema import TABLE, migrations

from tidegate_cli.doctor import judge
from tidegate_cli.doctor.finding import Finding, fail, ok
from tidegate_cli.warehouse import Warehouse, quoted, warehouse

_NOT_THERE = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE


async def clickhouse(settings: ClickHouseSettings, clock: Clock) -> list[Finding]:
    """Judge it. Raises ClickHouseError where it does not answer."""
    # Its own database may not be there yet, and a connection to it would fail.
    async with warehouse(settings.model_copy(update={"database": "default"})) as db:
        before_ms = clock.wall_ms()
        ((version, now_ms),) = await db.rows("SELECT version(), toUnixTimestamp64Milli(now64(3))")
        after_ms = clock.wall_ms()
        offset_ms, uncertain_ms = int(now_ms) - (before_ms + after_ms) // 2, (after_ms - before_ms + 1) // 2
        return [
            ok("clickhouse", f"version {version} answers at {settings.url}"),
            judge.clock("clickhouse clock", offset_ms, uncertain_ms),
            await _schema(db, settings.database),
            *await _disk(db),
        ]


async def _schema(db: Warehouse, database: str) -> Finding:
    wanted = migrations()
    try:
        rows = await db.rows(
            f"SELECT version, argMax(checksum, applied_at) FROM {quoted(database)}.{TABLE} GROUP BY version"  # noqa: S608 -- own names
        )
    except ClickHouseError as error:
        if error.code not in _NOT_THERE:
            raise
        return fail("schema", f"there are no tables in {database}", "tidegate migrate")
    checksums = {int(version): str(checksum) for version, checksum in rows}
    changed = [
        f"{each.version:04}_{each.name}"
        for each in wanted
        if each.version in checksums and checksums[each.version] != each.checksum
    ]
    return judge.schema(max(checksums, default=0), wanted[-1].version, changed)


async def _disk(db: Warehouse) -> list[Finding]:
    try:
        rows = await db.rows(
            "SELECT free_space, total_space FROM system.disks WHERE total_space > 0 "
            "ORDER BY free_space / total_space LIMIT 1"
        )
    except ClickHouseError:
        return []  # not everybody may look at it, and nothing depends on it
    return [judge.disk(int(rows[0][0]), int(rows[0][1]))] if rows else []
