"""``tidegate topics``: the declared topics at the broker."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute

app = typer.Typer(help="The topics at the broker.", no_args_is_help=True)


@app.callback()
def topics() -> None:
    """The topics at the broker."""


@app.command()
def apply(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; the exit code is 6 where something differs.")
    ] = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Also alter settings that differ, where the broker can.")
    ] = False,
) -> None:
    """Create missing topics and compare the others.

    Partition and replica counts of a topic that exists are never altered.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._topics import topics_main  # noqa: PLC0415 -- see main

        return await topics_main(check=check, mend=mend)

    execute(main)
