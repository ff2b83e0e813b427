"""``tidegate crawl``: submit URLs to a stack started for them, watch, report."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute


def crawl(
    *,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|URL…",
            help="Files with one URL or one JSON job a line (- is standard input; blank lines and lines that "
            "start with # are skipped), and URLs.",
            show_default=False,
        ),
    ],
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the run. Default: crawl-<time>-<random>.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for results and logs. Default: .tidegate/<run>."),
    ] = None,
    solve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Solve CAPTCHAs on this host (host, host:port, *.example.com or *); may be repeated. "
            "Without it none is solved and nothing is spent.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="USD", help="What its CAPTCHAs may cost at most, such as 5.00. Default: no limit."
        ),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private", help="Admit loopback and private addresses, and any port: servers of your own."
        ),
    ] = False,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="embedded|kafka",
            help="embedded: in memory. kafka: Apache Kafka, started here (needs Java 17 and Maven). Default: "
            "TIDEGATE_KAFKA__BOOTSTRAP where it is set, else embedded.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, as the last line of standard output.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the stack running after the report, until Ctrl-C.")
    ] = False,
    max_dead_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of dead letters above which the exit code is 4.")
    ] = 0.05,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="Give up after this long. Default: never."),
    ] = None,
    stall_timeout: Annotated[
        float,
        typer.Option(min=0.001, metavar="SECONDS", help="Give up when nothing has moved for this long."),
    ] = 120.0,
) -> None:
    """Crawl URLs: start what is missing, watch, report.

    Everything is started for the crawl and stopped after it: a Kafka-compatible broker, ClickHouse and the
    services. TIDEGATE_KAFKA__BOOTSTRAP and TIDEGATE_CLICKHOUSE__URL name ones that run already; they are used
    then, topics and tables made first.
    """

    async def main(place: Place) -> int:
        from tidegate_cli.commands._crawl import CrawlArguments, crawl_main  # noqa: PLC0415 -- see main

        arguments = CrawlArguments(
            inputs=tuple(inputs),
            run=run,
            data=data,
            solve=tuple(solve or ()),
            budget=budget,
            allow_private=allow_private,
            broker=broker,
            as_json=as_json,
            keep=keep,
            max_dead_share=max_dead_share,
            timeout_s=timeout,
            stall_timeout_s=stall_timeout,
        )
        return await crawl_main(arguments, place)

    execute(main)
