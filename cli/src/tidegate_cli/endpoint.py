"""ClickHouse on its own over the results of an earlier run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.clock import Clock
from tidegate.errors import ConfigurationError
from tidegate.events import Emit

from tidegate_cli.stack.folder import lock_folder, release_folder
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.parts import clickhouse_spec
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.supervisor import supervising


@asynccontextmanager
async def clickhouse_on(data: Path, emit: Emit, clock: Clock, *, port: int = 0) -> AsyncIterator[str]:
    """Serve a data folder's ClickHouse while the body runs; yields its address.

    Raises:
        ConfigurationError: the folder holds no results, or another process has it.
        StackError: ClickHouse did not start.
    """
    if not (data / "clickhouse").is_dir():
        raise ConfigurationError(f"{data} holds no results: it is not the data folder of a run.")
    folder = await lock_folder(data, clock)
    try:
        chosen = PortPool().take(port)
        spec = clickhouse_spec(StackOptions(data_dir=data), folder.subfolder("clickhouse"), chosen)
        async with supervising(folder, emit, clock) as supervisor:
            await supervisor.start(spec)
            yield f"http://{HOST}:{chosen}"
    finally:
        release_folder(folder)
