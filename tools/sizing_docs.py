#!/usr/bin/env python
"""Writes docs/sizing.md: what `tidegate size` says for three rates, and the unit costs behind it.

A test holds the written page against the command; after a change run ``make docs``.
"""

import sys
from pathlib import Path

import msgspec
from tidegate_cli.sizing import Load, UnitCosts, lines, size

PAGE = Path(__file__).resolve().parents[1] / "docs" / "sizing.md"
RATES = (10, 1_000, 10_000)

_MEANING = {
    "fetcher_us": (
        "µs CPU a page",
        "row `fetcher` of `make bench`, pages of 29 KB",
    ),
    "storer_us": ("µs CPU a page", "row `storer`, its parser processes included"),
    "clickhouse_us": ("µs CPU a page", "row `storer`, what ClickHouse needs for its inserts"),
    "solver_us": ("µs CPU a solve", "row `solver`: to buy, the journal included, and to poll"),
    "intake_kib": ("KiB a job", "a URL and its headers; jobs with bodies are larger"),
    "meta_kib": ("KiB a page", "what is said about a page, and the job that it carries"),
    "solving_kib": (
        "KiB a challenge",
        "request, answer, journal and solve, the job in each",
    ),
    "row_kib": ("KiB a page", "a page's columns in ClickHouse, compressed, without its body"),
    "broker_mbps": ("MB/s a broker", "what a broker writes, replicas counted; a modest one"),
    "runtime_mib": ("MiB", "row `fetcher`, most memory, at its usual window"),
    "in_hand_kib": ("KiB", "a page in hand: body, decoded text, connection"),
}

_HEAD = """\
# Sizing

<!-- Written by tools/sizing_docs.py from the command; a change by hand is lost. -->

`tidegate size --pages-per-second 1000` says what a rate needs, each figure with the sum that it comes from.
It asks nobody and knows nothing of your cluster: the figures are a start, to be corrected by what you
measure.

## Unit costs

CPU is that of one core of the machine that the benchmarks ran on, rounded up. `make bench` measures yours;
if its `fetcher` row is half of this one, you need half of the pods.

| Cost | Value | Unit | From |
|---|---|---|---|
"""

_TAIL = """\
## What to set

- `fetcher pods` and its like: `services.*.replicas`, or `minReplicas` and twice that as `maxReplicas`
  ([scaling.md](scaling.md)). Every process uses one core; more cores for a pod change nothing, but for the
  storer's parser processes.
- `RUNTIME__WINDOW` by `services.fetcher.extraEnv`, and `services.*.autoscaling.workPerReplica` at 80 % of it.
  `CONCURRENCY` by `services.solver.settings`, `RUNTIME__WINDOW` of the solver at twice that,
  `workPerReplica` at 80 % of it, and the gate's marks ([configuration.md](configuration.md),
  `GATE_REQUESTS_…`) in proportion.
- `partitions`: `kafka.partitions`, before the first install. Growing them later moves sites from one
  fetcher to another one.
- Disk is mostly retention: Kafka keeps bodies for `--outage-days`, so that an outage of that length loses
  nothing. Half of the days are half of the disk; ClickHouse's part is `TIDEGATE_STORER__TTL_DAYS`,
  which `tidegate migrate` applies.
- Sites that answer slowly need windows, not cores: see what `--answer-seconds 5` does.
"""


def render() -> str:
    """Return the page."""
    costs = UnitCosts()
    parts = [_HEAD.rstrip()]
    parts += [
        f"| `{field}` | {getattr(costs, field):g} | {_MEANING[field][0]} | {_MEANING[field][1]} |"
        for field in msgspec.structs.asdict(costs)
    ]
    for rate in RATES:
        parts += ["", f"## {rate:,} pages a second", "", f"    $ tidegate size --pages-per-second {rate}"]
        parts += [f"    {line}" for line in lines(size(Load(pages_per_second=rate)))]
    return "\n".join([*parts, "", _TAIL])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
