#!/usr/bin/env python
"""Writes the table of alerts into docs/monitor.md from shared/src/tidegate/alerts.toml."""

import sys
from pathlib import Path

from tidegate.alert_rules import Rule, load

PAGE = Path(__file__).resolve().parents[1] / "docs" / "monitor.md"
BEGIN, END = "<!-- alerts: written by tools/monitor_docs.py -->\n", "<!-- end of alerts -->\n"


def render(page: str) -> str:
    """Return the page with the table as the rules are now."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END)[1]


def table() -> str:
    """Return the table."""
    rows = [
        "| Alert | Fires | Clears | Of what | Least | Means | Do |",
        "|---|---|---|---|---|---|---|",
        *(_row(rule) for rule in load()),
    ]
    return "\n".join(rows) + "\n"


def _row(rule: Rule) -> str:
    fires = (
        f"above {_value(rule, rule.above)}"
        if rule.above is not None
        else f"from {_value(rule, rule.at_least)}"
    )
    if rule.clear_below is not None:
        clears = f"below {_value(rule, rule.clear_below)}" if rule.clear_below else "at 0"
    else:
        clears = f"at {_value(rule, rule.clear_at_most)}" + (" or less" if rule.clear_at_most else "")
    clears += f", or fewer than {rule.least:g}," if rule.few_are_well else ""
    fires += f" for {_duration(rule.for_s)}" if rule.for_s else ""
    clears += f" for {_duration(rule.clear_for_s)}" if rule.clear_for_s else ""
    window = f", over {_duration(rule.window_s)}" if rule.window_s else ", now"
    whose = f" (each {rule.subject})" if rule.subject else ""
    least = f"{rule.least:g}" if rule.least else ""
    cells = (
        f"`{rule.name}`{whose}, {rule.severity}",
        fires,
        clears,
        rule.denominator + window,
        least,
        rule.summary,
        rule.action,
    )
    return f"| {' | '.join(cells)} |"


def _value(rule: Rule, value: float | None) -> str:
    assert value is not None
    if rule.unit == "ratio":
        return f"{value * 100:g} %"
    return f"{value:g} s" if rule.unit == "s" else f"{value:g}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} s"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
