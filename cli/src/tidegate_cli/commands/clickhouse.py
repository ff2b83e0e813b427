"""``tidegate clickhouse``: the embedded ClickHouse endpoint on its own."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import exec_module


def clickhouse(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8123,
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder that holds the tables; of a crawl: its data folder."),
    ] = Path(".tidegate/clickhouse"),
) -> None:
    """Serve the embedded ClickHouse over HTTP.

    For development, until Ctrl-C. Prints {"port": N} when it is ready.
    """
    tables = data / "clickhouse" if (data / "clickhouse").is_dir() else data
    exec_module("tidegate_cli.clickhouse", [f"--data={tables}", f"--port={port}"])
