"""``tidegate job``: where one job is, and how it came there."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import RunOrAddresses


def job(
    *,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)],
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="Of this run only; with it, it is found faster."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each job.")
    ] = False,
    data: RunOrAddresses = None,
) -> None:
    """Show where a job is: its page, its dead letter, or the topic on which it waits, and its history.

    A job without an outcome is looked for among the records that no service has finished yet. The exit code
    is 6 where nothing is known of the id.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._job import job_main  # noqa: PLC0415 -- see main

        return await job_main(job_id, run=run, as_json=as_json, data=data)

    execute(main)
