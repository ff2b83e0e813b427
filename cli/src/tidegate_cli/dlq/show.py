"""Dead letters on a terminal. What a site or a producer wrote is shown without its control characters."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tidegate.sites import without_values

from tidegate_cli.dlq.advice import advice_for
from tidegate_cli.dlq.letters import Letter, ReasonCount
from tidegate_cli.dlq.replayer import FETCH, PARSE, Step, Tally
from tidegate_cli.terminal import printable

_ORIGINAL_CHARACTERS = 4_000


def age(then_ms: int, now_ms: int) -> str:
    """Return how long ago something was, in one unit. Pure."""
    seconds = max(now_ms - then_ms, 0) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def lines(letters: Iterable[Letter]) -> Iterable[str]:
    """Return a JSON object for each."""
    return (msgspec.json.encode(letter).decode() for letter in letters)


def show_letters(letters: Sequence[Letter], total: int, console: Console, now_ms: int) -> None:
    """Print three lines for each: why and when, which, what is known."""
    for letter in letters:
        head = [f"[bold]{_text(letter.reason)}[/]", _text(letter.error_class)]
        if letter.last_status:
            head.append(f"HTTP {letter.last_status}")
        _print(console, f"{' · '.join(head)} · [dim]{age(letter.recorded_ms, now_ms)}[/]")
        _print(console, f"  run {_text(letter.run)}  id {_text(letter.id)}")
        if letter.url:
            _print(console, f"  {_text(letter.url)}")
        _print(console, f"  [dim]{_text(letter.message)}[/]\n")
    if not letters:
        _print(console, "No dead letter matches.")
    elif total > len(letters):
        _print(console, f"The newest {len(letters):,} of {total:,}; --limit shows more.")
    else:
        _print(console, f"{total:,} dead letter{'' if total == 1 else 's'}.")


def show_counts(counts: Sequence[ReasonCount], console: Console, now_ms: int) -> None:
    """Print a table by reason, and what to do about each."""
    if not counts:
        _print(console, "No dead letter matches.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("reason", "class", "count", "sites", "oldest", "newest"):
        table.add_column(name, justify="right" if name in ("count", "sites") else "left", no_wrap=True)
    for each in counts:
        table.add_row(
            _text(each.reason),
            _text(each.error_class),
            f"{each.count:,}",
            f"{each.sites:,}",
            age(each.oldest_ms, now_ms),
            age(each.newest_ms, now_ms),
        )
    console.print(table)
    console.print()
    for reason in dict.fromkeys(each.reason for each in counts):
        _print(console, f"[bold]{_text(reason)}[/]: {escape(advice_for(reason).text)}")


def show_one(row: Mapping[str, Any], console: Console) -> None:
    """Print everything about one, and what to do about it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    place = "{} partition {} offset {}"
    table.add_row("run, id", f"{_text(row['run'])}  {_text(row['id'])}")
    table.add_row("url", _text(row["url"]) or "none")
    if row["final_url"] and row["final_url"] != without_values(row["url"]):
        table.add_row("after redirects", _text(row["final_url"]))
    table.add_row("reason", f"[bold]{_text(row['reason'])}[/] ({_text(row['error_class'])})")
    table.add_row("message", _text(row["message"]))
    table.add_row("given up by", _text(row["service"]))
    table.add_row("last status", f"HTTP {row['last_status']}" if row["last_status"] else "none")
    attempts = ", ".join(f"{_text(str(name))} {count}" for name, count in row["attempts"].items())
    table.add_row("retries", attempts or "none")
    table.add_row("hop, lane", f"{row['hop']}, {_text(row['lane'])}")
    if row["solve_cost"]:
        table.add_row("paid for solves", f"${row['solve_cost']:.4f}")
    table.add_row("accepted", _time(row["accepted_at"]))
    table.add_row("died", _time(row["dead_at"]))
    origin = [row[f"origin_{part}"] for part in ("topic", "partition", "offset")]
    table.add_row("came from", _text(place.format(*origin)))
    record = [row[f"record_{part}"] for part in ("topic", "partition", "offset")]
    table.add_row("stands at", _text(place.format(*record)))
    if row["body_hash"]:
        table.add_row("stored body", _text(row["body_hash"]))
    if row["trace_id"]:
        table.add_row("trace", _text(row["trace_id"]))
    console.print(table)
    _print(console, f"\n[dim]original, {row['original_length']:,} bytes, secrets removed[/]")
    _print(console, f"  {escape(printable(row['original'], _ORIGINAL_CHARACTERS)) or '(empty)'}")
    advice = advice_for(row["reason"])
    _print(console, f"\n[bold]What to do[/]: {escape(advice.text)}")


def show_step(step: Step, console: Console) -> None:
    """Print one line of a replay."""
    mark = {FETCH: "[green]fetch[/]", PARSE: "[green]parse the stored body[/]"}.get(
        step.action, f"[yellow]not replayed ({_text(step.action)})[/]"
    )
    rest = f"  [dim]{_text(step.message)}[/]" if step.message else ""
    _print(
        console, f"{mark}  {_text(step.reason)}  {_text(step.run)} {_text(step.id)}  {_text(step.url)}{rest}"
    )


def show_tally(tally: Tally, console: Console) -> None:
    """Print how a replay ended."""
    if not tally.matched:
        _print(console, "No dead letter matches.")
        return
    done = "would be replayed" if tally.dry_run else "replayed"
    parts = [f"{tally.replayed:,} {done}"]
    if tally.parse:
        parts.append(f"{tally.parse:,} of them from the stored body, without a fetch")
    if tally.not_replayed:
        whys = ", ".join(f"{why} {count:,}" for why, count in sorted(tally.refused.items()))
        parts.append(f"{tally.not_replayed:,} cannot be ({_text(whys)})")
    _print(console, f"{tally.matched:,} matched: {'; '.join(parts)}.")


def _text(text: str) -> str:
    return escape(printable(text))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
