"""The run on a cluster that is kept in docs/scaling: its drawing and what the page says of it."""

import json
from itertools import pairwise
from typing import Any

from support.packaging import ROOT
from support.svg_chart import Line, Panel, draw

RECORD = ROOT / "docs" / "scaling" / "loop.json"
_SMOOTHED_S = 5.0


def looped() -> dict[str, Any]:
    """Return the run as ``make cluster RECORD=`` wrote it."""
    found: dict[str, Any] = json.loads(RECORD.read_bytes())
    return found


def drawing() -> str:
    """Return what came, what waited and what was wanted, second by second."""
    run = looped()
    moments = run["moments"]
    times = [each["at_s"] for each in moments]
    begun, ended = run["burst"]
    inside = [number for number, at_s in enumerate(times) if begun <= at_s <= ended]
    burst = ((inside[0], inside[-1]),)
    return draw(
        times,
        [
            Panel(
                title="URLs a second",
                lines=(Line("arriving", [_rate(moments, number) for number in range(len(moments))]),),
                bands=burst,
                band="ten times as many",
            ),
            Panel(
                title="lag, records",
                lines=tuple(
                    Line(name, [each["lag"][name] for each in moments]) for name in ("fetcher", "storer")
                ),
                bands=burst,
            ),
            Panel(
                title="wanted replicas",
                lines=tuple(
                    Line(name, [each["wanted"][name] for each in moments], steps=True)
                    for name in ("fetcher", "solver", "storer")
                ),
                bands=burst,
            ),
        ],
        unit="s",
    )


def section() -> str:
    """Return the page's part about it."""
    run = looped()
    plan, moments = run["plan"], run["moments"]
    counts = [each["wanted"]["fetcher"] for each in moments]
    steps = [counts[0], *(now for before, now in pairwise(counts) if now != before)]
    begun, ended = run["burst"]
    head = """## A burst on a cluster

`make cluster` closes the loop: a release on a real control plane with KEDA, and for every pod that it wants
a process that runs what the pod's specification says, on Apache Kafka and ClickHouse's engine, before sites
that take a second for an answer. The autoscaler's windows are shorter than the chart's.

![URLs, lag and wanted replicas around a burst](scaling/loop.svg)
"""
    figures = (
        ("URLs a second, and in the burst", f"{plan['steady_per_s']:g}, {plan['burst_per_s']:g}"),
        ("the burst", f"{ended - begun:.0f} s"),
        ("what a fetcher does", f"{plan['window'] / plan['delay_s']:g} a second"),
        ("fetchers wanted, in order", ", ".join(map(str, steps))),
        ("greatest lag", f"{max(each['lag']['fetcher'] for each in moments):,}"),
        ("drained after the burst's end", f"{run['drained_s']:.0f} s"),
        ("URLs, pages, dead letters", f"{run['submitted']:,}, {run['outcomes']:,}, {run['dead']:,}"),
        ("lost", f"{run['submitted'] - run['outcomes'] - run['dead']}"),
        ("stored twice", f"{run['rows'] - run['outcomes']}"),
        ("processes that had to be killed", f"{len(run['killed'])}"),
    )
    return "\n".join([head, "| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in figures), ""])


def _rate(moments: list[dict[str, Any]], number: int) -> float:
    """Return URLs a second over the last seconds."""
    now = moments[number]
    since = now["at_s"] - _SMOOTHED_S
    before = next((each for each in moments[:number] if each["at_s"] >= since), moments[max(0, number - 1)])
    seconds = now["at_s"] - before["at_s"]
    return float(now["submitted"] - before["submitted"]) / seconds if seconds else 0.0
