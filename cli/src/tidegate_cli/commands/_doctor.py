"""The work of ``tidegate doctor``, with everything heavy imported."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError

from tidegate_cli.doctor.examine import examine
from tidegate_cli.doctor.finding import Finding, Status
from tidegate_cli.exits import Exit
from tidegate_cli.installation import find
from tidegate_cli.terminal import printable

_COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


async def doctor_main(*, data: Path | None, as_json: bool) -> int:
    """Print what was found; 6 where something fails."""
    installation = find(data)
    if not installation.reachable:
        raise ConfigurationError(f"No stack is running on {installation.data}: there is nothing to look at.")
    findings = await examine(installation.settings, SystemClock(), embedded=installation.running is not None)
    counts = {status: sum(each.status is status for each in findings) for status in Status}
    if as_json:
        print(msgspec.json.encode({"findings": findings, **counts}).decode())  # noqa: T201 -- the output
    else:
        _show(findings, Console())
        print(f"{counts[Status.FAIL]} fail, {counts[Status.WARN]} warn, {counts[Status.OK]} ok")  # noqa: T201 -- the same
    return Exit.CHECK_FAILED if counts[Status.FAIL] else Exit.OK


def _show(findings: Sequence[Finding], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        mend = f"\n[dim]→ {escape(each.mend)}[/]" if each.mend else ""
        status = f"[{_COLOURS[each.status]}]{each.status}[/]"
        table.add_row(status, escape(each.check), escape(printable(each.message)) + mend)
    console.print(table, highlight=False)
