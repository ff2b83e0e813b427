"""The report as a person reads it. ``--json`` prints ``Report.to_json`` instead."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tidegate_cli.crawl.report import Report, findings


def show(report: Report, console: Console, *, max_dead_share: float, hints: Sequence[str]) -> None:
    """Print the report and, below it, what is not as it should be and how to go on."""
    found = findings(report, max_dead_share)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(name, value)
    mark = Text("✓ ", style="green") if not found else Text("✗ ", style="red")
    console.print()
    console.print(mark + Text(_headline(report, complete=not found), style="bold"))
    console.print(Group(table))
    for sentence in found:
        console.print(f"[red]✗[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    if hints:
        console.print("\n[dim]Look at the rows:[/]")
    for hint in hints:
        console.print(f"  {escape(hint)}", highlight=False, soft_wrap=True)


def _headline(report: Report, *, complete: bool) -> str:
    outcomes = report.pages + report.dead_letters
    if complete:
        return (
            f"Every one of {report.submitted:,} jobs has its outcome" if report.submitted else "Nothing to do"
        )
    return f"{min(outcomes, report.submitted):,} of {report.submitted:,} jobs have an outcome"


def _rows(report: Report) -> list[tuple[str, str]]:
    rows = [
        ("run", report.run),
        ("submitted", f"{report.submitted:,}" + _extra(report.bad_lines, "no job")),
        ("pages", f"{report.pages:,}"),
        ("CAPTCHAs", f"{report.captchas:,} met, {report.solved:,} solved" + _by(report.solved_by_kind)),
        ("cost", f"${report.cost:,.4f}"),
        ("dead letters", f"{report.dead_letters:,}" + _by(report.dead_letters_by_reason)),
        ("every id", f"{report.lost:,} lost, {report.duplicates:,} duplicates, {report.invented:,} invented"),
        ("time", f"{report.seconds:,.1f} s, {report.pages_per_second:,.1f} pages/s" + _first(report)),
    ]
    if report.checks is not None:
        checks = report.checks
        rows.append(("bodies", f"{checks.bodies_checked:,} compared, {checks.bodies_differing:,} differ"))
    return [(name, escape(value)) for name, value in rows]


def _first(report: Report) -> str:
    return (
        "" if report.first_page_seconds is None else f", first page after {report.first_page_seconds:.1f} s"
    )


def _extra(count: int, what: str) -> str:
    return f" ({count:,} of them {what})" if count else ""


def _by(counts: dict[str, int]) -> str:
    if not counts:
        return ""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return " (" + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in ordered) + ")"
