"""The work of ``tidegate run`` and ``tidegate runs``, with everything heavy imported."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tidegate.errors import ClickHouseError, ConfigurationError
from tidegate.events import Event
from tidegate.money import format_usd
from tidegate.runs import RunState
from tidegate.settings import ClickHouseSettings, Settings

from tidegate_cli.commands._crawl import checked_run
from tidegate_cli.dlq.selection import duration_s
from tidegate_cli.exits import Exit
from tidegate_cli.installation import find
from tidegate_cli.runs import control
from tidegate_cli.runs.amounts import usd
from tidegate_cli.runs.hearing import sentences
from tidegate_cli.runs.office import office_of
from tidegate_cli.runs.overview import RunCounts, RunRow, run_rows
from tidegate_cli.warehouse import Row, quoted, warehouse

_LATEST = 50
_WIDE = 200
_ROOMY = 132


async def create_main(
    name: str, *, budget: str | None, deadline: str | None, data: Path | None, as_json: bool
) -> int:
    """Create a run and say so."""
    checked_run(name)
    amount = None if budget is None else usd("--budget", budget)
    deadline_s = None if deadline is None else duration_s("--deadline", deadline)
    heard: list[Event] = []
    async with office_of(reachable(data), heard) as office:
        record = await control.create(office, name, budget=amount, deadline_s=deadline_s)
    if as_json:
        print_json(record)
        return Exit.OK
    money = "without a budget" if amount is None else f"with a budget of {format_usd(amount)} USD"
    ends = "" if deadline is None else f", to end within {deadline}"
    _say(f"The run {name} is created, {money}{ends}.", heard)
    return Exit.OK


async def change_main(name: str, state: str, *, data: Path | None, as_json: bool) -> int:
    """Pause, resume or cancel a run and say so."""
    checked_run(name)
    heard: list[Event] = []
    async with office_of(reachable(data), heard) as office:
        known, record = await control.change(office, name, RunState(state))
    if as_json:
        print_json(record)
        return Exit.OK
    new = " Nobody had created it." if known is None else ""
    _say(f"The run {name} is {state}.{new}", heard)
    return Exit.OK


async def runs_main(name: str | None, *, data: Path | None, as_json: bool) -> int:
    """Print how runs stand; 6 where the one that is named is not known."""
    settings = reachable(data)
    trouble = None
    counts: dict[str, RunCounts] = {}
    async with office_of(settings, []) as office:
        runs = await office.runs()
        try:
            counts = await _counts(settings.clickhouse, name)
        except ClickHouseError as error:
            trouble = str(error)
        rows = run_rows(office.ledger, runs, counts, name)
    if as_json:
        print_json({"runs": rows, "clickhouse_error": trouble})
    else:
        console = Console(width=None if sys.stdout.isatty() else _WIDE)
        # A file or a pipe has no width that a table must fit into.
        console.print(_table(rows, console.width))
        if trouble is not None:
            console.print(f"[red]✗[/] {escape(trouble)}", highlight=False, soft_wrap=True)
    return Exit.CHECK_FAILED if name is not None and not rows else Exit.OK


async def _counts(settings: ClickHouseSettings, name: str | None) -> dict[str, RunCounts]:
    async with warehouse(settings) as db:
        database, where = quoted(db.database), "" if name is None else "WHERE run = {run:String}"
        parameters = {} if name is None else {"run": name}
        outcomes: Sequence[Row] = await db.rows(
            "SELECT run, countIf(outcome = 'page'), countIf(outcome = 'dead_letter'), "  # noqa: S608 -- own names
            f"toString(max(recorded_at)) FROM {database}.jobs {where} GROUP BY run "
            f"ORDER BY max(recorded_at) DESC LIMIT {_LATEST}",
            parameters,
        )
        names = [row[0] for row in outcomes]
        solves: Sequence[Row] = await db.rows(
            f"SELECT run, count() FROM {database}.solves WHERE run IN {{runs:Array(String)}} GROUP BY run",  # noqa: S608 -- own names
            {"runs": names},
        )
    solved = {row[0]: row[1] for row in solves}
    return {
        run: RunCounts(pages=pages, dead_letters=dead, solves=solved.get(run, 0), latest=latest)
        for run, pages, dead, latest in reversed(outcomes)
    }


def _table(rows: Sequence[RunRow], width: int) -> Table:
    """Return the runs; a narrow terminal gets fewer columns and whole names rather than all in bits."""
    columns: list[tuple[str, bool, Callable[[RunRow], str]]] = [
        ("run", False, lambda row: escape(row.run)),
        ("state", False, lambda row: row.state),
        ("pages", True, lambda row: f"{row.pages:,}"),
        ("dead letters", True, lambda row: f"{row.dead_letters:,}"),
        ("solves", True, lambda row: f"{row.solves:,}"),
        ("spent", True, lambda row: row.spent),
        ("left", True, lambda row: row.left or ""),
    ]
    if width >= _ROOMY:
        columns[6:6] = [
            ("in flight", True, lambda row: row.in_flight),
            ("budget", True, lambda row: row.budget or ""),
        ]
        columns += [("deadline (UTC)", False, _deadline), ("latest outcome (UTC)", False, _latest)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title, is_number, _ in columns:
        table.add_column(title, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(value(row) for _, _, value in columns))
    return table


def _deadline(row: RunRow) -> str:
    if row.deadline_ms is None:
        return ""
    return f"{datetime.fromtimestamp(row.deadline_ms / 1000, UTC):%F %T}"


def _latest(row: RunRow) -> str:
    return (row.latest or "").partition(".")[0]


def reachable(data: Path | None) -> Settings:
    """Return the settings of an installation that runs. Raises ConfigurationError for one that has ended."""
    installation = find(data)
    if not installation.reachable:
        raise ConfigurationError(f"No stack is running on {installation.data}: its runs ended with it.")
    return installation.settings


def print_json(value: Any) -> None:
    """Print a value on one line."""
    print(msgspec.json.encode(value).decode())  # noqa: T201 -- the output


def _say(sentence: str, heard: Sequence[Event]) -> None:
    for line in (sentence, *sentences(heard)):
        print(line)  # noqa: T201 -- the output
