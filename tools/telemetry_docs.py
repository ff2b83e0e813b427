#!/usr/bin/env python
"""Writes docs/telemetry.md from the declared metrics and events, so that it cannot say anything else.

A test holds the written page against the declarations; after a change run ``make docs``.
"""

import importlib
import re
import sys
from pathlib import Path

from tidegate.events import Event, name_of
from tidegate.telemetry.metric import LABELS, Metric, prometheus_name
from tidegate.telemetry.runtime_metrics import RUNTIME_METRICS

SERVICES = ("fetcher", "solver", "storer", "monitor")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "telemetry.md"
# Modules of the library whose events every service may emit.
LIBRARY = ("tidegate.consume.runtime_events", "tidegate.process")

_HEAD = """\
# Telemetry

<!-- Written by tools/telemetry_docs.py from the declarations; a change by hand is lost. -->

Logic emits typed events. Each event is one JSON line in the log of its process (standard error) under the
name given here, and moves the metrics that name it. Metrics go to one place, `TIDEGATE_TELEMETRY__METRICS`: a
page at `/metrics` of the health port (`prometheus`, the default), or to the collector at
`TIDEGATE_TELEMETRY__OTLP_ENDPOINT` (`otlp`). Names are OpenTelemetry's; Prometheus shows them with
underscores and units, as in the second column. Traces go to the same collector, sampled at the head by
`TIDEGATE_TELEMETRY__TRACE_RATIO`.

No metric is labelled by URL, site, run or job: those are unbounded. What happens at one site is in
ClickHouse.

"""


def metrics_of(service: str) -> tuple[Metric, ...]:
    """Return a service's own metrics."""
    found: tuple[Metric, ...] = importlib.import_module(f"tidegate_{service}.metrics").METRICS
    return found


def events_of(module: str) -> tuple[type[Event], ...]:
    """Return the events that a module defines, in its order."""
    loaded = importlib.import_module(module)
    return tuple(
        each
        for each in vars(loaded).values()
        if isinstance(each, type) and issubclass(each, Event) and each.__module__ == module
    )


def render() -> str:
    """Return the page."""
    parts = [_HEAD, "## Labels\n"]
    parts += ["| Label | Is |", "|---|---|"]
    parts += [f"| `{label}` | {meaning} |" for label, meaning in sorted(LABELS.items())]
    parts += ["", "## Metrics of every service\n", *_metrics(RUNTIME_METRICS)]
    for service in SERVICES:
        parts += [f"\n## Metrics of the {service}\n", *_metrics(metrics_of(service))]
    parts += ["\n## Events of every service\n", *_events(LIBRARY)]
    for service in SERVICES:
        parts += [f"\n## Events of the {service}\n", *_events((f"tidegate_{service}.events",))]
    return "\n".join(parts) + "\n"


def _metrics(metrics: tuple[Metric, ...]) -> list[str]:
    rows = [
        "| Metric | In Prometheus | Kind, unit | Labels | Means | When it moves |",
        "|---|---|---|---|---|---|",
    ]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(
            f"| `{metric.name}` | `{prometheus_name(metric)}` | {metric.kind}, {metric.unit} | {labels} | "
            f"{metric.meaning} | {metric.action} |"
        )
    return rows


def _events(modules: tuple[str, ...]) -> list[str]:
    rows = ["| Event | Level | Fields | Means |", "|---|---|---|---|"]
    for event in (event for module in modules for event in events_of(module)):
        fields = ", ".join(f"`{field}`" for field in event.__struct_fields__)
        meaning = re.sub(r"``", "`", " ".join((event.__doc__ or "").split())).replace("|", "\\|")
        rows.append(f"| `{name_of(event)}` | {event.level} | {fields} | {meaning} |")
    return rows


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
