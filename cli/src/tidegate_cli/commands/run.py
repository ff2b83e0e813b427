"""``tidegate run``: create, pause, resume and cancel a run; ``tidegate runs``: how they stand."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson, StackOrAddresses

app = typer.Typer(help="Create, pause, resume and cancel runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The run's name, as its jobs bear it.")]


@app.callback()
def run() -> None:
    """Create, pause, resume and cancel runs."""


@app.command("create")
def create(
    name: Name,
    *,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="USD", help="What its CAPTCHAs may cost at most, such as 25.00. Default: no limit."
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="How long from now its jobs may take: 90m, 12h, 7d. Default: no end."
        ),
    ] = None,
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Create a run, before its jobs are submitted.

    A run needs no creation to be used; without it there is no budget and no deadline.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._run import create_main  # noqa: PLC0415 -- see main

        return await create_main(name, budget=budget, deadline=deadline, data=data, as_json=as_json)

    execute(main)


@app.command("pause")
def pause(name: Name, *, data: StackOrAddresses = None, as_json: AsJson = False) -> None:
    """Let a run's jobs wait, at no attempt. Its spending stops at once.

    Solves that are paid for already are still used. Deadlines of jobs go on.
    """
    _change(name, "paused", data, as_json=as_json)


@app.command("resume")
def resume(name: Name, *, data: StackOrAddresses = None, as_json: AsJson = False) -> None:
    """Let a paused run go on. Jobs that have waited for long come back within an hour."""
    _change(name, "running", data, as_json=as_json)


@app.command("cancel")
def cancel(name: Name, *, data: StackOrAddresses = None, as_json: AsJson = False) -> None:
    """End a run: its spending stops at once, its jobs end as dead letters `cancelled`. For good."""
    _change(name, "cancelled", data, as_json=as_json)


def runs(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this run.")] = None,
    *,
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Show runs: state, progress, cost, and what is left of their budgets."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._run import runs_main  # noqa: PLC0415 -- see main

        return await runs_main(name, data=data, as_json=as_json)

    execute(main)


def _change(name: str, state: str, data: Path | None, *, as_json: bool) -> None:
    async def main(_: Place) -> int:
        from tidegate_cli.commands._run import change_main  # noqa: PLC0415 -- see main

        return await change_main(name, state, data=data, as_json=as_json)

    execute(main)
