"""``tidegate status``: how far every service is, and what each run has."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute


def status(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data folder of the running stack. Default: the latest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, on one line.")] = False,
) -> None:
    """Show topics, lag, services and the latest runs."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._status import status_main  # noqa: PLC0415 -- see main

        return await status_main(data=data, as_json=as_json)

    execute(main)
