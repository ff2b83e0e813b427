"""``tidegate budget``: what may be spent, and what is."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson, StackOrAddresses

app = typer.Typer(help="Budgets: what may be spent, by run, by site, by day.", no_args_is_help=True)

Run = Annotated[str | None, typer.Option(metavar="NAME", help="Of this run.")]
Site = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="At this site, with its port where it is not the usual one."),
]
PerDay = Annotated[bool, typer.Option("--per-day", help="For each day (UTC) anew, not for ever.")]


@app.callback()
def budget() -> None:
    """Budgets: what may be spent, by run, by site, by day."""


@app.command("ls")
def ls(*, data: StackOrAddresses = None, as_json: AsJson = False) -> None:
    """List budgets, what is used of each, and what is spent in all."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._budget import ls_main  # noqa: PLC0415 -- see main

        return await ls_main(data=data, as_json=as_json)

    execute(main)


@app.command("set")
def set_(
    amount: Annotated[str, typer.Argument(metavar="USD", help="The most that may be spent, such as 25.00.")],
    *,
    run: Run = None,
    site: Site = None,
    per_day: PerDay = False,
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Set a budget, or change it. It holds for every solver from the same moment on.

    Without --run and --site it is for everything. What was spent before counts. Several budgets may hold for
    a purchase: it must keep all of them.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._budget import set_main  # noqa: PLC0415 -- see main

        return await set_main(amount, run=run, site=site, daily=per_day, data=data, as_json=as_json)

    execute(main)


@app.command("unset")
def unset(
    *,
    run: Run = None,
    site: Site = None,
    per_day: PerDay = False,
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Take a budget away; --run, --site and --per-day say which."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._budget import set_main  # noqa: PLC0415 -- see main

        return await set_main(None, run=run, site=site, daily=per_day, data=data, as_json=as_json)

    execute(main)


@app.command("admit")
def admit(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Its name in the settings.")],
    *,
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Use a provider again that was taken out because it charged more than its price.

    Mend the price first (TIDEGATE_SOLVER__PRICE_FILE), or it is out again with the next solve.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._budget import admit_main  # noqa: PLC0415 -- see main

        return await admit_main(provider, data=data, as_json=as_json)

    execute(main)
