"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, on one line.")]


def _folder(help_text: str) -> Any:
    return typer.Option(metavar="DIR", help=help_text)


StackOrAddresses = Annotated[
    Path | None,
    _folder("Data folder of the running stack. Default: the addresses in the environment, or the latest."),
]
RunOrAddresses = Annotated[
    Path | None,
    _folder("Data folder of a run. Default: the addresses in the environment, or the latest."),
]
RunOrClickhouse = Annotated[
    Path | None,
    _folder("Data folder of a run. Default: TIDEGATE_CLICKHOUSE__URL, or the latest."),
]
