"""``tidegate demo``: crawl a site made for it, part of it behind CAPTCHAs, and check every body."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute


def demo(
    *,
    pages: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Crawl only the first N pages. Default: all of them."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, as the last line of standard output.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the stack running after the report, until Ctrl-C.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for results and logs. Default: .tidegate/<run>."),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="embedded|kafka",
            help="embedded: in memory. kafka: Apache Kafka, started here (needs Java 17 and Maven).",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="Give up after this long. Default: never."),
    ] = None,
) -> None:
    """Crawl a demo site, part of it behind CAPTCHAs.

    Starts everything, a demo site and a simulated solving service included, crawls the site, and compares
    every stored body with what the site served. Nothing leaves this machine, nothing is spent.
    """

    async def main(place: Place) -> int:
        from tidegate_cli.commands._demo import demo_main  # noqa: PLC0415 -- see main

        return await demo_main(
            pages=pages, as_json=as_json, keep=keep, data=data, broker=broker, timeout_s=timeout, place=place
        )

    execute(main)
