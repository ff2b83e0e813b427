"""``tidegate top``: the live page in a terminal."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute


def top(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Address of the live page. Default: that of the running stack, else localhost.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the monitor tells as JSON, one line each time.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data folder of the running stack. Default: the latest."),
    ] = None,
) -> None:
    """Show what the monitor's page shows: alerts, rates, the pipeline, walls, money, sites, dead letters.

    On a terminal it is drawn in place every two seconds: q leaves, space and b turn pages, j and k scroll.
    Elsewhere it is printed as plain text. A monitor that asks for a token gets the one of
    TIDEGATE_MONITOR__TOKEN_FILE.
    """

    async def main(place: Place) -> int:
        from tidegate_cli.commands._top import top_main  # noqa: PLC0415 -- see main

        return await top_main(url=url, once=once, as_json=as_json, data=data, place=place)

    execute(main)
