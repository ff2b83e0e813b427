"""Where an installation's results are, also where no stack runs on its folder any more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from tidegate.clock import SystemClock
from tidegate.settings import ClickHouseSettings

from tidegate_cli.endpoint import clickhouse_on
from tidegate_cli.installation import Installation


@asynccontextmanager
async def results_of(installation: Installation, *, named: bool) -> AsyncIterator[ClickHouseSettings]:
    """Yield the address of its ClickHouse; one is started for the question where nothing runs.

    ``named`` says that the person named the folder; else a terminal is told which one is asked.
    Raises ConfigurationError where the folder holds no results.
    """
    settings = installation.settings.clickhouse
    if installation.reachable:
        yield settings
        return
    assert installation.data is not None
    console = Console(stderr=True)
    if not named and console.is_terminal:
        console.print(f"[dim]Asking {installation.data}[/]", highlight=False)
    async with clickhouse_on(installation.data, lambda _: None, SystemClock()) as url:
        yield settings.model_copy(update={"url": url})
