"""Brings the database to the schema that this storer needs: ``python -m tidegate_storer migrate``.

It may be run at any time, twice, by two at once, and again after it was killed: ClickHouse has no
transactions over definitions, so every statement is harmless when it is repeated, and a migration is noted
only after its last one. Exit codes: 0 done, 1 the server is away or refused, 2 a setting must be mended.
"""

import asyncio
import re
import sys

from clickhouse_connect import get_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import Error as DriverError
from tidegate.addresses import clickhouse_address
from tidegate.clock import Clock, SystemClock
from tidegate.errors import ClickHouseError, ConfigurationError
from tidegate.settings import ClickHouseSettings, load

from tidegate_storer.clickhouse import mapped
from tidegate_storer.schema import TABLE, migrations, statements
from tidegate_storer.settings import Settings, StorerSettings, check_retention

_JOURNAL = f"""
CREATE TABLE IF NOT EXISTS {TABLE} {{on_cluster}}
(
    version    UInt32,
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {{replicated}}ReplacingMergeTree(applied_at)
ORDER BY version;
"""
# Wrong user or password, no rights, unknown cluster: waiting does not help, a person does.
_FOR_A_PERSON = frozenset({193, 194, 497, 516, 701, 170})
# Another runner was faster: the thing exists, or is just being made. Repeating the statement settles it.
_ANOTHER_RUNNER = frozenset({57, 82, 219, 341, 517})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_REPEATS = 5


class Migrator:
    """One run. ``report`` is given a sentence for each thing done."""

    def __init__(self, client: AsyncClient, cluster: str | None, clock: Clock) -> None:
        self._client = client
        self._cluster = cluster
        self._clock = clock

    async def apply(self) -> list[str]:
        """Apply what is missing; return the names of what was applied."""
        for statement in statements(_JOURNAL, self._cluster):
            await self._run(statement)
        known = await self._noted()
        applied = []
        for migration in migrations():
            checksum = known.get(migration.version)
            if checksum is not None and checksum != migration.checksum:
                raise ConfigurationError(
                    f"migration {migration.version:04}_{migration.name} was applied with another text: "
                    "this database was made by a build that differs from this one"
                )
            if checksum is not None:
                continue
            for statement in migration.statements(self._cluster):
                await self._run(statement)
            await self._run(
                f"INSERT INTO {TABLE} (version, name, checksum) VALUES "  # noqa: S608 -- our own file's name
                f"({migration.version}, '{migration.name}', '{migration.checksum}')"
            )
            applied.append(f"{migration.version:04}_{migration.name}")
        return applied

    async def keep(self, settings: StorerSettings) -> None:
        """Give the tables the retention that the settings say: 0 days take it away, None leaves it as it is.

        Raises ConfigurationError, and changes nothing, where outcomes would go before what they judge.
        """
        pages, dead, outcomes = settings.ttl_days, settings.ttl_dead_letters_days, settings.ttl_outcomes_days
        asked = (
            ("bodies", "accepted_at", pages),
            ("pages_log", "accepted_at", pages),
            ("dead_letters_log", "accepted_at", dead),
            ("solves_log", "answered_at", settings.ttl_solves_days),
            ("outcomes", "accepted_at", outcomes),
        )
        now = {table: await self._retention(table) for table, _, _ in asked}
        wanted = {table: now[table] if days is None else days for table, _, days in asked}
        if (pages, dead, outcomes) != (None, None, None):
            try:
                check_retention(wanted["pages_log"], wanted["dead_letters_log"], wanted["outcomes"])
            except ValueError as error:
                raise ConfigurationError(f"{error}; what is not set is as the tables have it") from error
        for table, column, _ in asked:
            if wanted[table] != now[table]:
                await self._retain(table, column, wanted[table])

    async def _retention(self, table: str) -> int:
        """Return the days that a table keeps its rows, 0 for ever."""
        rows = await self._client.query(
            "SELECT create_table_query FROM system.tables "
            "WHERE database = currentDatabase() AND name = {name:String}",
            parameters={"name": table},
        )
        definition = str(rows.result_rows[0][0])
        found = re.search(
            r"\bTTL toDateTime\(\w+\) \+ (?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)", definition
        )
        return int(found[1] or found[2]) if found else 0

    async def _retain(self, table: str, column: str, days: int) -> None:
        cluster = f"ON CLUSTER '{self._cluster}'" if self._cluster else ""
        change = f"MODIFY TTL toDateTime({column}) + toIntervalDay({days})" if days else "REMOVE TTL"
        await self._run(f"ALTER TABLE {table} {cluster} {change}")

    async def _noted(self) -> dict[int, str]:
        rows = await self._client.query(f"SELECT version, checksum FROM {TABLE} FINAL")  # noqa: S608 -- constant
        return {int(version): str(checksum) for version, checksum in rows.result_rows}

    async def _run(self, statement: str) -> None:
        for attempt in range(_REPEATS):
            try:
                await self._client.command(statement)
            except DriverError as error:
                problem = mapped(error)
                if problem.code not in _ANOTHER_RUNNER or attempt == _REPEATS - 1:
                    raise problem from error
                await self._clock.sleep(0.2 * (attempt + 1))
            else:
                return


async def migrate(server: ClickHouseSettings, settings: StorerSettings, clock: Clock) -> list[str]:
    """Create the database and bring it up to date; return the migrations that were applied.

    Waits for the server as long as the settings say. Raises ClickHouseError and ConfigurationError.
    """
    if not _NAME.fullmatch(server.database):
        raise ConfigurationError("TIDEGATE_CLICKHOUSE__DATABASE may have letters, digits, - and _ only")
    deadline = clock.monotonic() + settings.migrate_wait_s
    cluster = server.cluster or None
    on_cluster = statements("{on_cluster};", cluster) if cluster else [""]
    admin = await _connect(server, None, clock, deadline)
    try:
        await Migrator(admin, cluster, clock)._run(  # noqa: SLF001 -- its own module
            f"CREATE DATABASE IF NOT EXISTS `{server.database}` {on_cluster[0]}"
        )
    finally:
        await admin.close()
    client = await _connect(server, server.database, clock, deadline)
    try:
        migrator = Migrator(client, cluster, clock)
        applied = await migrator.apply()
        await migrator.keep(settings)
    except DriverError as error:
        raise mapped(error) from error
    finally:
        await client.close()
    return applied


async def _connect(
    server: ClickHouseSettings, database: str | None, clock: Clock, deadline: float
) -> AsyncClient:
    """Return a client of a server that answers, trying until the deadline."""
    while True:
        try:
            return await get_async_client(
                **clickhouse_address(server.url),
                username=server.user,
                password=server.password.get_secret_value(),
                database=database or "default",
                autogenerate_session_id=False,
            )
        except (DriverError, OSError, TimeoutError) as error:
            problem = mapped(error)
            if problem.code in _FOR_A_PERSON or clock.monotonic() >= deadline:
                raise problem from error
            await clock.sleep(0.2)


def command() -> int:
    """Run the sub-command and return the exit code; it says on standard error what happened."""
    try:
        settings = load(Settings)
        applied = asyncio.run(migrate(settings.clickhouse, settings.storer, SystemClock()))
    except ConfigurationError as error:
        return _say(f"cannot migrate: {error}", 2)
    except ClickHouseError as error:
        code = 2 if error.code in _FOR_A_PERSON else 1
        return _say(f"cannot migrate {settings.clickhouse.url}: {error}", code)
    what = ", ".join(applied) if applied else "nothing to do"
    return _say(f"schema of {settings.clickhouse.database}: {what}", 0)


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(sentence + "\n")
    return code
