"""The work of ``tidegate budget``, with everything heavy imported."""

import re
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError, RecordError
from tidegate.events import Event
from tidegate.ledger.entries import Admit, Limit, Scope
from tidegate.money import format_usd
from tidegate.sites import site_of

from tidegate_cli.commands._run import print_json, reachable
from tidegate_cli.exits import Exit
from tidegate_cli.runs.amounts import usd
from tidegate_cli.runs.hearing import sentences
from tidegate_cli.runs.office import office_of
from tidegate_cli.runs.overview import Money, money

_DAY_MS = 86_400_000
_SITE = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]+)?")


async def ls_main(*, data: Path | None, as_json: bool) -> int:
    """Print budgets and sums."""
    async with office_of(reachable(data), []) as office:
        found = money(office.ledger, _today())
    if as_json:
        print_json(found)
    else:
        _show(found, Console())
    return Exit.OK


async def set_main(
    amount: str | None, *, run: str | None, site: str | None, daily: bool, data: Path | None, as_json: bool
) -> int:
    """Set or take away a limit, and say how it stands; 6 where the ledger did not take it."""
    scope = Scope(run=run, site=site, daily=daily)
    micros = None if amount is None else usd("The budget", amount)
    if micros is not None:
        scope = _meant(scope)
    heard: list[Event] = []
    async with office_of(reachable(data), heard) as office:
        # One that somebody wrote under another spelling is taken away as `budget ls` shows it.
        if micros is None and scope not in office.ledger.limits:
            scope = _meant(scope)
            if scope not in office.ledger.limits:
                raise ConfigurationError(f"There is no budget of {scope}; `tidegate budget ls` lists them.")
        await office.say_money(Limit(by=office.name, scope=scope, amount=micros))
        taken = office.ledger.limits.get(scope) == micros
        found = money(office.ledger, _today())
    if as_json:
        print_json(found)
        return Exit.OK if taken else Exit.CHECK_FAILED
    if taken:
        what = "is taken away" if micros is None else f"is {format_usd(micros)} USD"
        _say(f"The budget of {scope} {what}.")
    for sentence in sentences(heard):
        _say(sentence)
    return Exit.OK if taken else Exit.CHECK_FAILED


async def admit_main(provider: str, *, data: Path | None, as_json: bool) -> int:
    """Admit a provider again."""
    async with office_of(reachable(data), []) as office:
        if provider not in office.ledger.providers_out:
            out = ", ".join(office.ledger.providers_out) or "none is out"
            raise ConfigurationError(f"{provider} was not taken out for its charges ({out}).")
        await office.say_money(Admit(by=office.name, provider=provider))
        found = money(office.ledger, _today())
    if as_json:
        print_json(found)
    else:
        _say(f"{provider} is used again.")
    return Exit.OK


def site_meant(text: str) -> str:
    """Return the site that a host or a URL names, spelt as solves are booked: another spelling never binds.

    Raises ConfigurationError for what is no site.
    """
    name = text.strip()
    try:
        # Without a scheme both schemes' own ports are the usual one.
        site = site_of(name) if "://" in name else site_of(f"https://{name}").removesuffix(":80")
    except RecordError:
        site = ""
    if not _SITE.fullmatch(site):
        raise ConfigurationError(
            "--site takes a host such as shop.example, with its port where it is not the usual one, "
            f"or a URL, not {text!r}."
        )
    return site


def _meant(scope: Scope) -> Scope:
    return scope if scope.site is None else msgspec.structs.replace(scope, site=site_meant(scope.site))


def _show(found: Money, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("budget of")
    for title in ("USD", "used", "left"):
        table.add_column(title, justify="right")
    for row in found.budgets:
        table.add_row(escape(row.scope), row.limit, row.used, row.left)
    if found.budgets:
        console.print(table)
    console.print(
        f"Spent {found.spent} USD, of it in doubt {found.in_doubt}; "
        f"in flight {found.in_flight} for {found.open_reservations:,} solves.",
        highlight=False,
    )
    for what, names in (("Stopped runs", found.stopped), ("Providers out", found.providers_out)):
        if names:
            console.print(f"{what}: {escape(', '.join(names))}", highlight=False, soft_wrap=True)


def _today() -> int:
    return SystemClock().wall_ms() // _DAY_MS


def _say(sentence: str) -> None:
    print(sentence)  # noqa: T201 -- the output
