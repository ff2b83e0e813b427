"""The work of ``tidegate job``, with everything heavy imported."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tidegate.clock import SystemClock
from tidegate.errors import BrokerError, ClickHouseError

from tidegate_cli.exits import Exit
from tidegate_cli.installation import Installation, find
from tidegate_cli.jobs.report import JobReport, report
from tidegate_cli.jobs.rows import JobRows, rows_of, runs_of
from tidegate_cli.jobs.waiting import Search, search
from tidegate_cli.results import results_of
from tidegate_cli.terminal import printable
from tidegate_cli.warehouse import warehouse

_LATEST_MS = 253_402_300_799_999
_NOTHING = Search(sightings=(), whole=True)


async def job_main(job_id: str, *, run: str | None, as_json: bool, data: Path | None) -> int:
    """Print all jobs of this id; 6 where there is none."""
    installation = find(data)
    trouble: list[str] = []
    # First what waits, then the rows: what goes from one to the other meanwhile is seen twice, never missed.
    found = await _waiting(installation, job_id, run, trouble)
    stored: dict[str, JobRows] = {}
    try:
        async with results_of(installation, named=data is not None) as settings, warehouse(settings) as db:
            runs = {*([run] if run else await runs_of(db, job_id)), *(each.run for each in found.sightings)}
            stored = {name: await rows_of(db, name, job_id) for name in sorted(runs)}
    except ClickHouseError as error:
        trouble.append(str(error))
    if not found.whole:
        trouble.append("Too much waits to look at all of it: what is not found may wait all the same.")
    names = sorted({*stored, *(each.run for each in found.sightings)})
    reports = []
    for name in names:
        mine = [each for each in found.sightings if each.run == name]
        known = report(name, job_id, stored.get(name), mine)
        if known is not None:
            reports.append(known)
    for known in reports:
        if as_json:
            print(msgspec.json.encode(known).decode())  # noqa: T201 -- the output
        else:
            _show(known, Console())
    if not reports and not trouble:
        trouble.append(f"Nothing is known of a job {job_id}.")
    for sentence in trouble:
        print(f"tidegate: {sentence}", file=sys.stderr)  # noqa: T201 -- the answer
    return Exit.OK if reports else Exit.CHECK_FAILED


async def _waiting(installation: Installation, job_id: str, run: str | None, trouble: list[str]) -> Search:
    if not installation.reachable:
        return _NOTHING
    try:
        return await search(installation.settings.kafka, job_id, run, SystemClock())
    except BrokerError as error:
        trouble.append(str(error))
        return _NOTHING


def _show(known: JobReport, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    colour = {"page": "green", "dead_letter": "red"}.get(known.state, "yellow")
    table.add_row("run, id", f"{_text(known.run)}  {_text(known.id)}")
    if known.url:
        table.add_row("url", _text(known.url))
    table.add_row("state", f"[bold {colour}]{known.state.replace('_', ' ')}[/]")
    table.add_row("", _text(known.where))
    tries = ", ".join(f"{_text(name)} {count}" for name, count in sorted(known.attempts.items()))
    table.add_row("retries", tries or "none")
    if known.solve_cost:
        table.add_row("paid for solves", f"${known.solve_cost:.4f}")
    if known.trace_id:
        table.add_row("trace", known.trace_id)
    console.print(table)
    console.print("\n[dim]history (UTC)[/]", highlight=False)
    for step in known.history:
        # A state that anybody may have written can name a time that no calendar has.
        at_ms = min(max(step.at_ms, 0), _LATEST_MS)
        at = f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        console.print(f"  {at}  {_text(step.what)}", highlight=False, soft_wrap=True)
    console.print()


def _text(text: str) -> str:
    return escape(printable(text))
