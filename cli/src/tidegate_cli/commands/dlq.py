"""``tidegate dlq``: look at dead letters, and replay them."""

from enum import StrEnum
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import RunOrAddresses
from tidegate_cli.exits import legend

app = typer.Typer(help="Dead letters: list, explain, replay.", no_args_is_help=True)

_FILTERS = "Filters: all that are given must hold; one that is given several times, by any of its values."

Run = Annotated[list[str] | None, typer.Option("--run", metavar="NAME", help="Of this run.")]
Id = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="With this id.")]
Reason = Annotated[
    list[str] | None, typer.Option("--reason", metavar="REASON", help="With this reason, as --summary lists.")
]
ErrorClass = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="CLASS", help="With this class of error: server_error, blocked …"),
]
Site = Annotated[
    list[str] | None,
    typer.Option("--site", metavar="HOST", help="Of this site, with its port where it is not the usual one."),
]
OlderThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Died longer ago than this: 90s, 15m, 2h, 7d, 1w.")
]
NewerThan = Annotated[str | None, typer.Option(metavar="AGE", help="Died no longer ago than this.")]


class Format(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    JSON = "json"


OutputFormat = Annotated[
    Format, typer.Option("--format", help="For people, or one JSON object a line for programs.")
]


@app.callback()
def dlq() -> None:
    """Dead letters: list, explain, replay."""


@app.command("ls", epilog=_FILTERS)
def ls(
    *,
    run: Run = None,
    job_id: Id = None,
    reason: Reason = None,
    error_class: ErrorClass = None,
    site: Site = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Counts by reason, and what to do about each.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Rows to list, the newest first.")] = 50,
    output_format: OutputFormat = Format.TABLE,
    data: RunOrAddresses = None,
) -> None:
    """List jobs that ended as dead letters and have no page.

    What is shown is redacted: no Authorization, no cookies, no credentials of URLs.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._dlq import ls_main  # noqa: PLC0415 -- see main
        from tidegate_cli.dlq.selection import selection_of  # noqa: PLC0415 -- see main

        selection = selection_of(
            runs=run or (),
            ids=job_id or (),
            reasons=reason or (),
            classes=error_class or (),
            sites=site or (),
            older_than=older_than,
            newer_than=newer_than,
        )
        as_json = output_format is Format.JSON
        return await ls_main(selection, summary=summary, limit=limit, as_json=as_json, data=data)

    execute(main)


@app.command("show")
def show(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The job's run.", show_default=False)],
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)],
    output_format: OutputFormat = Format.TABLE,
    data: RunOrAddresses = None,
) -> None:
    """Show one dead letter: its history, its original with secrets removed, and what to do about it."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._dlq import show_main  # noqa: PLC0415 -- see main

        return await show_main(run, job_id, as_json=output_format is Format.JSON, data=data)

    execute(main)


@app.command("replay", epilog=f"{_FILTERS}\n\n{legend()}")
def replay(
    *,
    run: Run = None,
    job_id: Id = None,
    reason: Reason = None,
    error_class: ErrorClass = None,
    site: Site = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them; needed without a filter.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say for each what would be done; produce nothing.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="JOBS", help="At most so many jobs a second. Default: no limit."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, the oldest first. Default: all.", show_default=False),
    ] = None,
    refetch: Annotated[
        bool, typer.Option("--refetch", help="Fetch again also where the body was kept (a parse error).")
    ] = False,
    output_format: OutputFormat = Format.TABLE,
    data: RunOrAddresses = None,
) -> None:
    """Send the jobs of dead letters back, as they were submitted.

    Mend the cause first. A job keeps its run, id, site and lane, and begins again with all its attempts and
    its whole deadline. After a parse error the stored body is parsed again, and nothing is fetched.

    A page then takes the dead letter's place; a job that fails again leaves a new dead letter. Until then the
    old one is still listed. Replaying a job twice is harmless: it has one outcome all the same.

    What the topic keeps no longer, or kept only in part, cannot be replayed: each is named, and the exit code
    is 3. The jobs' secrets are read from the topic and go back with them; none is printed.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._dlq import ReplayOptions, replay_main  # noqa: PLC0415 -- see main
        from tidegate_cli.dlq.selection import selection_of  # noqa: PLC0415 -- see main

        selection = selection_of(
            runs=run or (),
            ids=job_id or (),
            reasons=reason or (),
            classes=error_class or (),
            sites=site or (),
            older_than=older_than,
            newer_than=newer_than,
        )
        options = ReplayOptions(
            everything=everything,
            dry_run=dry_run,
            rate=rate,
            limit=limit,
            refetch=refetch,
            as_json=output_format is Format.JSON,
        )
        return await replay_main(selection, options, data=data)

    execute(main)
