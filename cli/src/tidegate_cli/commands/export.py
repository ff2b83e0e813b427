"""``tidegate export``: a run's results as a file."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import RunOrClickhouse
from tidegate_cli.export_choices import ExportFormat, What


def export(
    *,
    run: Annotated[str, typer.Option("--run", metavar="NAME", help="The run.", show_default=False)],
    export_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="Default: by the ending of the file's name.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.", show_default=False),
    ] = None,
    what: Annotated[What, typer.Option("--what", help="Which rows.")] = What.PAGES,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="With each page its body, as base64, in a column body_base64.")
    ] = False,
    data: RunOrClickhouse = None,
) -> None:
    """Write the pages of a run, or its dead letters, jobs or solves, to a file or to standard output.

    Rows are streamed: a run may be larger than memory. A file appears under its name when it is whole. The
    exit code is 6 where the run has no such rows.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._export import export_main  # noqa: PLC0415 -- see main

        return await export_main(
            run=run, chosen=export_format, output=output, what=what, bodies=bodies, data=data
        )

    execute(main)
