"""``tidegate submit``: produce jobs onto the intake topics of a running installation."""

from enum import StrEnum
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import StackOrAddresses


class Priority(StrEnum):
    """The lanes, by name; the library's own are dear to import."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def submit(
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|URL…]",
            help="Files with one URL or one JSON job a line, and URLs; without any, standard input.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str, typer.Option(metavar="NAME", help="Run of the jobs that name none themselves.")
    ] = "default",
    priority: Annotated[
        Priority | None, typer.Option(help="Lane of the jobs that name none themselves.", show_default=False)
    ] = None,
    job_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Id of the job; with one URL only.")
    ] = None,
    data: StackOrAddresses = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was submitted as JSON, as the last line.")
    ] = False,
) -> None:
    """Submit URLs to a running installation.

    Returns when the broker has them all.

    The installation is the one whose addresses are in the environment (TIDEGATE_KAFKA__BOOTSTRAP), or that
    runs in the data folder.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._submit import submit_main  # noqa: PLC0415 -- see main

        return await submit_main(
            inputs=tuple(inputs or ("-",)),
            run=run,
            priority=priority,
            job_id=job_id,
            data=data,
            as_json=as_json,
        )

    execute(main)
