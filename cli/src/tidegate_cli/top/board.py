"""The live page as text: a function of what the monitor told and of the width. Pure.

One column, from what is urgent to what is detail; two where there is room. Everything that came from outside
goes through ``said``: a site may be called anything, and a terminal obeys what it is sent.
"""

import io
from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tidegate_cli.terminal import printable
from tidegate_cli.top.figures import NONE, measured, money, percent, rate, seconds, spark, whole
from tidegate_cli.top.state import AlertState, BudgetState, ProviderState, State

WIDE = 120
_GAP = 4
# The tables are on the right.
_LEFT_PERCENT = 43
_LONGEST_NAME = 26
_BAD, _WARN, _GOOD, _QUIET = "bold red", "yellow", "green", "dim"
_SEVERITY = {"critical": _BAD, "warning": _WARN, "advice": "cyan"}
_BREAKER = {
    "closed": ("closed", _GOOD),
    "half-open": ("half-open", _WARN),
    "open": ("open", _BAD),
    "out": ("out", _BAD),
}


def said(text: object, style: str = "") -> Text:
    """Return a text of whatever origin, harmless."""
    return Text(printable(str(text)), style=style)


def board(state: State, width: int, *, trouble: str = "") -> Group:
    """Return everything that the page shows, for lines of ``width`` characters.

    ``trouble`` is why the state is an old one.
    """
    head: list[RenderableType] = [_head(state, trouble), _alerts(state.alerts), _key(state)]
    if width < WIDE:
        return Group(*head, *_sections(state, width))
    left = (width - _GAP) * _LEFT_PERCENT // 100
    right = width - _GAP - left
    pipeline, walls, budgets, providers, charts, sites, reasons, samples = _sections(state, right)
    both = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    both.add_column(width=left)
    both.add_column(width=right)
    both.add_row(Group(pipeline, walls, budgets, reasons), Group(charts, providers, sites, samples))
    return Group(*head, both)


def lines(state: State, width: int) -> list[str]:
    """Return the same as plain lines, for where there is no terminal."""
    console = Console(
        file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
    )
    rendered = console.render_lines(board(state, width), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in rendered]


def _sections(state: State, width: int) -> tuple[RenderableType, ...]:
    return (
        _section("Pipeline", _pipeline(state)),
        _section("Walls", _walls(state)),
        _section("Spend and budgets", _budgets(state.budgets)),
        _section("Solving services, last five minutes", _providers(state.providers)),
        _section(f"Last {seconds(state.chart_s)}", _charts(state, width)),
        _section("Sites by CAPTCHA rate", _sites(state)),
        _section("Dead letters by reason", _reasons(state)),
        _section("The latest of them", _samples(state)),
    )


def _section(title: str, body: RenderableType) -> Group:
    return Group("", Text(title, style="bold"), Padding(body, (0, 0, 0, 2)))


def _head(state: State, trouble: str) -> Table:
    counts = {name: sum(alert.severity == name for alert in state.alerts) for name in _SEVERITY}
    busy = state.rates.pages + state.rates.challenges + state.rates.stored > 0
    if trouble:
        status = said(trouble, _BAD)
    elif not state.ready:
        status = said("Reading the last minutes…", _QUIET)
    elif critical := counts["critical"]:
        status = said(f"{critical} critical alert" + "s" * (critical > 1), _BAD)
    elif warnings := counts["warning"]:
        status = said(f"{warnings} warning" + "s" * (warnings > 1), _WARN)
    else:
        status = said("No alerts" if busy else "Idle, no alerts", _GOOD)
    at = datetime.fromtimestamp(state.now_ms / 1000, UTC)
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column()
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text("Tidegate", style="bold"), status, Text(f"as of {at:%H:%M:%S} UTC", style=_QUIET))
    return line


def _alerts(alerts: Iterable[AlertState]) -> Group:
    lines: list[RenderableType] = []
    for alert in alerts:
        name = alert.severity.capitalize()
        whose = f" ({alert.subject})" if alert.subject else ""
        value = measured(alert.value, alert.unit)
        fired = f"At {value} when it fired, " if value else "Fired "
        head = Text.assemble((f"{name}: ", _SEVERITY[alert.severity]), said(f"{alert.summary}{whose}"))
        lines += [head, Padding(said(f"{fired}{seconds(alert.since_s)} ago. {alert.action}"), (0, 0, 0, 2))]
    return Group(*(lines or [said("Nothing fires.", _QUIET)]))


def _key(state: State) -> Group:
    shares, times = state.shares, state.times
    captcha, solved, dead = shares.captcha or 0.0, shares.solved, shares.dead or 0.0
    slow = times.solve_p50 is not None and times.solve_p50 > 30
    figures = [
        ("pages now", rate(state.rates.pages), ""),
        ("CAPTCHA rate", percent(shares.captcha), _mark(captcha, 0.3, 0.4)),
        ("solved", percent(solved), "" if solved is None else _mark(1 - solved, 0.05, 0.1)),
        ("solve p50/95", f"{seconds(times.solve_p50)}/{seconds(times.solve_p95)}", _WARN if slow else ""),
        ("fetch p50/95", f"{seconds(times.fetch_p50)}/{seconds(times.fetch_p95)}", ""),
        ("failed", percent(shares.errors), ""),
        ("dead letters", percent(shares.dead), _BAD if dead > 0.05 else ""),
        ("spent", money(state.spent), ""),
    ]
    if state.proxies is not None:
        healthy, every = state.proxies.healthy, state.proxies.all
        figures.append(("proxies", f"{healthy} of {every}", "" if healthy else _BAD))
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(style=_QUIET)
        table.add_column()
    for first in range(0, len(figures), 3):
        row = figures[first : first + 3]
        table.add_row(
            *(cell for name, value, style in row for cell in (Text(name), Text(value, style=style)))
        )
    return _section("Last five minutes", table)


def _mark(value: float, warn: float, bad: float) -> str:
    return _BAD if value > bad else _WARN if value > warn else ""


def _pipeline(state: State) -> Table:
    of = {service.name: service for service in state.services}
    rates = state.rates

    def waiting(*topics: tuple[str, str]) -> Text:
        lags = (f"{name} {whole(state.lags.get(topic))}" for name, topic in topics)
        return said("waiting: " + ", ".join(lags))

    def service(name: str, *figures: str) -> Text:
        it = of.get(name)
        if it is None or (it.instances == 0 and it.silent_s is None):
            return said("not seen", _QUIET)
        if it.instances == 0:
            return said(f"silent for {seconds(it.silent_s)}", _BAD)
        more = [
            *([f"waiting in memory {whole(it.buffered)}"] if it.buffered else []),
            *([f"partitions held {whole(it.held)}"] if it.held else []),
            *([f"partitions stuck {whole(it.stuck)}"] if it.stuck else []),
            *([f"loop late by {seconds(it.loop_lag_s)}"] if it.loop_lag_s > 0.1 else []),
        ]
        there = f"{it.instances} instance" + "s" * (it.instances > 1)
        return said(
            ", ".join((there, f"in hand {whole(it.in_hand)}", *figures, *more)), _BAD if it.stuck else ""
        )

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    fetched = (
        f"pages {rate(rates.pages)}",
        f"challenges {rate(rates.challenges)}",
        f"failures {rate(rates.failures)}",
        f"dead {rate(rates.dead)}",
    )
    solved = (f"solved {rate(rates.solved)}", f"failed {rate(rates.unsolved)}")
    for name, text in (
        ("→ URLs", waiting(("high", "urls-high"), ("normal", "urls"), ("low", "urls-low"))),
        ("Fetcher", service("fetcher", *fetched)),
        ("→ CAPTCHAs", waiting(("requests", "captcha-requests"))),
        ("Solver", service("solver", *solved)),
        ("→ Answers", waiting(("solutions", "captcha-solutions"))),
        ("→ Pages", waiting(("pages", "pages"), ("solves", "solves"), ("dead letters", "dead-letter"))),
        ("Storer", service("storer", f"stored {rate(rates.stored)}")),
    ):
        table.add_row(Text(name, style=_QUIET if name.startswith("→") else ""), text)
    return table


def _walls(state: State) -> Table | Text:
    rows = [(f"Gate of {name} sites", *_opening(share)) for name, share in state.gates.items()]
    gated = {f"gate of {name} sites" for name in state.gates}
    rows += [
        (wall.name[:1].upper() + wall.name[1:], *(("holds back", _BAD) if wall.shut else ("open", _GOOD)))
        for wall in state.walls
        if wall.name not in gated
    ]
    rows += [(f"Breaker of {each.name}", *_BREAKER[each.state]) for each in state.providers]
    if not rows:
        return said("Nothing is known yet.", _QUIET)
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, what, style in rows:
        table.add_row(said(name), said(what, style))
    return table


def _opening(share: float) -> tuple[str, str]:
    if share >= 1:
        return "open", _GOOD
    return (f"open to {percent(share)}", _WARN) if share > 0 else ("shut", _BAD)


def _budgets(budgets: Iterable[BudgetState]) -> Table | Text:
    table = Table.grid(padding=(0, 2, 0, 0))
    for each in budgets:
        if each.limit is None:
            table.add_row(said(each.name), said(f"{money(each.used)}, no limit"))
            continue
        share = each.used / each.limit if each.limit else 1.0
        style = _BAD if share >= 1 else _WARN if share >= 0.8 else ""
        text = f"{money(each.used)} of {money(each.limit)}, {percent(share)}"
        table.add_row(said(each.name), said(text, style))
    return table if table.row_count else said("No solver has told of its budgets.", _QUIET)


def _providers(providers: Iterable[ProviderState]) -> Table | Text:
    table = _table("service", "state", "solved", "of", "p50", "p95", "limit", "spent", "balance")
    for each in providers:
        name, style = _BREAKER[each.state]
        numbers = (percent(each.solved), whole(each.solves), seconds(each.p50), seconds(each.p95))
        money_ = (money(each.spent), money(each.balance))
        table.add_row(said(_cut(each.name)), said(name, style), *numbers, whole(each.limit), *money_)
    return table if table.row_count else said("Nothing was solved in the last five minutes.", _QUIET)


def _sites(state: State) -> Table | Text:
    table = _table("site", "CAPTCHA", "fetches", "failed", "dead", "spent", "speed")
    for each in state.sites:
        speed = said(percent(each.factor), _WARN) if each.factor < 1 else said("full")
        counts = (whole(each.fetches), whole(each.failures), whole(each.dead), money(each.spent))
        table.add_row(said(_cut(each.name)), percent(each.captcha), *counts, speed)
    return table if table.row_count else said("Nothing was fetched in the last five minutes.", _QUIET)


def _reasons(state: State) -> Table | Text:
    table = Table.grid(padding=(0, 2, 0, 0))
    for each in state.dead.reasons:
        table.add_row(said(each.name), whole(each.count))
    return table if table.row_count else said("None in the last five minutes.", _QUIET)


def _samples(state: State) -> Group:
    lines = [
        Text.assemble((printable(each.reason), "bold"), said(f" {each.site}: {each.message} ({each.job})"))
        for each in state.dead.samples
    ]
    return Group(*(lines or [said("None since the monitor began.", _QUIET)]))


def _charts(state: State, width: int) -> Table:
    charts = state.charts
    by_hour = [each * 3600 for each in charts.spent]
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, points, show in (
        ("Pages", charts.pages, rate),
        ("Challenges", charts.challenges, rate),
        ("Solved", charts.solved, rate),
        ("Stored", charts.stored, rate),
        ("Waiting", charts.backlog, whole),
        ("Spend/h", by_hour, money),
    ):
        now, most = (show(points[-1]), show(max(points))) if points else (NONE, NONE)
        table.add_row(name, Text(spark(points, width - 42), style="cyan"), f"{now} now, most {most}")
    return table


def _cut(name: str) -> str:
    """Return a name that fits its column; a host says the most at its ends."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=_QUIET, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    return table
