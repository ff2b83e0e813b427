"""``tidegate policy``: what the settings and the policy file say of a URL."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson

app = typer.Typer(help="The policy file: try it, and see what holds for a URL.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``check`` a sub-command: a single one would take the group's place."""


@app.command("check")
def check(
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="What a job would ask for.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="A policy file to try. Default: TIDEGATE_FETCHER__POLICY_FILE."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain what the fetcher would do with a URL, and why. Nothing of the page is asked for."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._policy import check_main  # noqa: PLC0415 -- see main

        return await check_main(url, file, as_json=as_json)

    execute(main)
