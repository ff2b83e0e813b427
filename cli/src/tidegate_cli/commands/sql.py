"""``tidegate sql``: a query to ClickHouse, the answer on standard output."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import RunOrClickhouse


def sql(
    *,
    query: Annotated[str, typer.Argument(help="One statement; - reads it from standard input.")],
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Any of ClickHouse's output formats, such as CSVWithNames, JSONEachRow or Parquet. "
            "Default: a table on a terminal, TabSeparatedWithNames elsewhere; a FORMAT in the query wins.",
            show_default=False,
        ),
    ] = None,
    data: RunOrClickhouse = None,
) -> None:
    """Ask ClickHouse for pages, dead letters, solves.

    The results of a crawl stay in its data folder; where no stack runs on it any more, ClickHouse is started
    for the query.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._sql import sql_main  # noqa: PLC0415 -- see main

        return await sql_main(query=query, output_format=output_format, data=data)

    execute(main)
