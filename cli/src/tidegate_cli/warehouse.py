"""ClickHouse as the command line asks it: rows, streams of rows, and answers in any format, over HTTP."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from tidegate.addresses import clickhouse_address
from tidegate.errors import ClickHouseError
from tidegate.settings import ClickHouseSettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

Row: TypeAlias = Sequence[Any]


class Warehouse:
    """A connection to one database."""

    def __init__(self, client: "AsyncClient", database: str) -> None:
        self._client = client
        self.database = database

    async def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        """Return all rows of a small answer. Raises ClickHouseError."""
        with _mapped():
            return (await self._client.query(query, parameters=dict(parameters or {}))).result_rows

    async def blocks(
        self, query: str, parameters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of a large answer block by block. Raises ClickHouseError."""
        with _mapped():
            stream = await self._client.query_row_block_stream(query, parameters=dict(parameters or {}))
            async with stream:
                async for block in stream:
                    yield block

    async def formatted(
        self,
        query: str,
        output_format: str | None,
        *,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the answer's bytes in a format, None for the query's own. Raises ClickHouseError."""
        with _mapped():
            stream = await self._client.raw_stream(
                query, fmt=output_format, parameters=dict(parameters or {}), settings=dict(settings or {})
            )
            async with stream:
                async for chunk in stream:
                    yield chunk


def load_driver() -> None:
    """Import the driver, which takes half a second: in a thread, while something else is waited for."""
    import clickhouse_connect  # noqa: F401, PLC0415 -- see above


@asynccontextmanager
async def warehouse(settings: ClickHouseSettings) -> AsyncIterator[Warehouse]:
    """Connect to ClickHouse. Raises ClickHouseError where it cannot be reached."""
    import clickhouse_connect  # noqa: PLC0415 -- dear to import, and not every command asks ClickHouse

    with _mapped(settings.url):
        client = await clickhouse_connect.get_async_client(
            **clickhouse_address(settings.url),
            username=settings.user,
            password=settings.password.get_secret_value(),
            database=settings.database,
            autogenerate_session_id=False,
            connect_timeout=10,
            send_receive_timeout=600,
        )
    try:
        yield Warehouse(client, settings.database)
    finally:
        await client.close()


@contextmanager
def _mapped(address: str = "") -> Iterator[None]:
    import aiohttp  # noqa: PLC0415 -- as above
    from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError  # noqa: PLC0415 -- as above

    at = f" at {address}" if address else ""
    try:
        yield
    except DriverError as error:
        code = getattr(error, "code", None)
        raise ClickHouseError(
            code if isinstance(code, int) else 0, f"ClickHouse{at}: {said(error)}"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise ClickHouseError(0, f"ClickHouse{at} cannot be reached: {first_line(error)}") from error


def said(error: BaseException) -> str:
    """Return what the server said, without what the client puts around it."""
    text = re.sub(r"\s*\(for url [^)]*\)$", "", first_line(error))
    return re.sub(r"^.*?DB::Exception:\s*", "", text)


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def quoted(identifier: str) -> str:
    """Return an identifier between backquotes, as ClickHouse wants it."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"
