"""The adapter to ClickHouse: inserts that may be sent twice, and one mapping of errors.

The client is clickhouse-connect's asynchronous one. It turns rows into Native blocks in a thread of its
own, so a batch of 16 MiB does not stop the heartbeats, and a wait can be cut off at once when the process
ends, which a thread that reads a socket cannot. It sends an insert a second time when a kept-alive
connection turns out dead, also when the first one was executed; the token makes that harmless.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from clickhouse_connect import get_async_client
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver import options
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DataError
from clickhouse_connect.driver.exceptions import Error as DriverError
from opentelemetry.util.types import AttributeValue
from tidegate.addresses import clickhouse_address
from tidegate.errors import ClickHouseError, forget_frames
from tidegate.settings import ClickHouseSettings
from tidegate.tracing import child

from tidegate_storer.data_errors import is_data_error
from tidegate_storer.tables import WRITE_ORDER, Table

# TYPE_MISMATCH: what the server would say of a value that does not fit its column's type.
_DOES_NOT_FIT = 53

# Pinned for every insert, because defaults change between versions (asynchronous inserts from 26.3 on).
# Those that the server does not know are left out.
_INSERT_SETTINGS = {
    "async_insert": "0",
    "wait_for_async_insert": "1",
    "insert_deduplicate": "1",
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
}


# The client makes blocks of two to four MiB and copies each about six times, every time into memory that is
# new to the process. Blocks of a sixteenth stay in memory that it has, and in the cache: half the time an
# insert takes here, for a hundredth more bytes. The server puts them together again.
_SMALLER_BLOCKS = 16

# The client's own time-out begins when the rows are sent: a server that stops reading them would be waited
# for without an end. So an insert has a deadline, too: the time-out once for sending, once for the answer,
# and once for what the client does again on a new connection.
_TIMEOUTS_AN_INSERT = 3


class ClickHouse:
    """Inserts and queries. Every method raises ClickHouseError and nothing else."""

    def __init__(self, settings: ClickHouseSettings, *, timeout_s: float, quorum: str = "") -> None:
        self._server = settings
        self._address = clickhouse_address(settings.url)
        self._timeout_s = timeout_s
        self._quorum = quorum
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._settings: dict[str, str] | None = None
        _without_data_frames()
        self._types: dict[str, list[ClickHouseType]] = {
            table.name: [get_from_name(kind) for kind in table.types] for table in WRITE_ORDER
        }

    async def insert(self, table: Table, rows: Sequence[tuple[object, ...]], token: str) -> None:
        """Insert rows and wait until the server has them."""
        attributes: dict[str, AttributeValue] = {
            "db.system.name": "clickhouse",
            "db.namespace": self._server.database,
            "db.collection.name": table.name,
            "db.operation.name": "INSERT",
            "db.operation.batch.size": len(rows),
        }
        with child(f"INSERT {table.name}", attributes):
            await self._insert(table, rows, token)

    async def _insert(self, table: Table, rows: Sequence[tuple[object, ...]], token: str) -> None:
        client = await self._connected()
        if self._settings is None:
            self._settings = await self._known_settings()
        columns = list(zip(*rows, strict=True))
        try:
            async with asyncio.timeout(_TIMEOUTS_AN_INSERT * self._timeout_s):
                context = await client.create_insert_context(
                    table.name,
                    table.names,
                    column_types=self._types[table.name],
                    column_oriented=True,
                    settings={**self._settings, "insert_deduplication_token": token},
                )
                context.data = columns
                context.block_row_count = max(1, context.block_row_count // _SMALLER_BLOCKS)
                await client.insert(context=context)
        except (DataError, UnicodeError, ValueError, TypeError, OverflowError, AttributeError) as error:
            # The client could not write a value in its column's type; its text may quote the value.
            forget_frames(error)
            raise ClickHouseError(
                _DOES_NOT_FIT, f"a value does not fit its column of {table.name}"
            ) from error
        except (DriverError, OSError, TimeoutError) as error:
            # Mapped twice: a variable would hold our own error, which knows this frame.
            forget_frames(error)
            if not is_data_error(mapped(error).code):
                # It may be another server by now, of another version.
                self._settings = None
            raise mapped(error) from error
        finally:
            # What the client makes of an insert refers to itself: it would keep the rows, of pages a batch or
            # two, until garbage is looked for.
            columns.clear()

    async def query(self, sql: str, parameters: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        client = await self._connected()
        try:
            result = await client.query(sql, parameters=parameters)
        except (DriverError, OSError, TimeoutError) as error:
            raise mapped(error) from error
        return [tuple(row) for row in result.result_rows]

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> AsyncClient:
        """Return the client; opening one asks the server for its version, so it may fail."""
        async with self._opening:
            if self._client is None:
                try:
                    self._client = await get_async_client(
                        **self._address,
                        username=self._server.user,
                        password=self._server.password.get_secret_value(),
                        database=self._server.database,
                        compress="lz4",
                        connect_timeout=5,
                        send_receive_timeout=self._timeout_s,
                        query_retries=0,
                        autogenerate_session_id=False,
                    )
                except (DriverError, OSError, TimeoutError) as error:
                    raise mapped(error) from error
            return self._client

    async def _known_settings(self) -> dict[str, str]:
        wanted = dict(_INSERT_SETTINGS)
        if self._quorum:
            wanted["insert_quorum"] = self._quorum
        rows = await self.query(
            "SELECT name FROM system.settings WHERE name IN {names:Array(String)}", {"names": list(wanted)}
        )
        known = {str(row[0]) for row in rows}
        return {name: value for name, value in wanted.items() if name in known}


@asynccontextmanager
async def connected(
    settings: ClickHouseSettings, *, timeout_s: float, quorum: str = ""
) -> AsyncIterator[ClickHouse]:
    """Give the adapter and close it in the end. Nothing is asked of the server yet: it may be away."""
    clickhouse = ClickHouse(settings, timeout_s=timeout_s, quorum=quorum)
    try:
        yield clickhouse
    finally:
        await clickhouse.close()


def _without_data_frames() -> None:
    """Tell the client that there is no pandas and no numpy, as in our image.

    Where they happen to be installed it would import them at the first insert, only to see that our rows
    are not data frames: a second's delay and 70 MB.
    """
    for name in ("pd", "pd_time_test", "np"):
        vars(options).setdefault(name, None)


def mapped(error: Exception) -> ClickHouseError:
    """Return our error for the client's: with the server's code, 0 when there was no answer."""
    code = getattr(error, "code", None)
    text = " ".join(str(error).split())
    return ClickHouseError(code if isinstance(code, int) else 0, text or type(error).__name__)
