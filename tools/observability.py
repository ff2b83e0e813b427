#!/usr/bin/env python
"""Writes observability/, and copies for the chart: Prometheus rules for the alerts, and Grafana dashboards.

The marks come from the alerts' table (``tidegate.alert_rules``), the expressions and panels from here. A test
holds the written files against this, and every metric in them against what the services declare; after a
change run ``python tools/observability.py``.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.alert_rules import Rule, load

FOLDER = Path(__file__).resolve().parents[1] / "observability"
# Helm reads no file outside its chart.
CHART_FOLDER = FOLDER.parent / "helm" / "tidegate" / "files"
RUNBOOK = "https://github.com/tidegate/tidegate/blob/main/docs/runbook.md"

# What the monitor judges and Prometheus cannot: sites and budgets are no labels, and it counts each second.
MONITOR_ONLY = frozenset({"captcha_rate_site", "budget_50", "budget_80", "budget_100"})

_CAPTCHAS = "sum(increase(tidegate_challenges_total[5m]))"
# A sum of nothing is nothing, and not 0: without a page there would be no rate just when all is challenged.
_FETCHES = f'({_CAPTCHAS} + (sum(increase(tidegate_fetches_total{{outcome="page"}}[5m])) or vector(0)))'
_FAILED = 'sum(increase(tidegate_solves_total{status="failed"}[10m]))'
_SOLVED = 'sum(increase(tidegate_solves_total{status=~"solved|failed"}[10m]))'
_BY_PROVIDER = 'sum by (provider) (increase(tidegate_solves_total{{status=~"{}"}}[10m]))'
_DEAD = "sum(increase(tidegate_jobs_dead_total[10m]))"
_ENDED = f'((sum(increase(tidegate_fetches_total{{outcome="page"}}[10m])) or vector(0)) + {_DEAD})'


class Twin(NamedTuple):
    """A rule in PromQL: its value, and the denominator of which there must be ``least``."""

    value: str
    denominator: str = ""


TWINS: dict[str, Twin] = {
    "captcha_rate": Twin(f"{_CAPTCHAS} / {_FETCHES}", _FETCHES),
    "proxies_not_workers": Twin(f"{_CAPTCHAS} / {_FETCHES}", _FETCHES),
    "solve_success_low": Twin(f"{_FAILED} / {_SOLVED}", _SOLVED),
    "solve_success_critical": Twin(f"{_FAILED} / {_SOLVED}", _SOLVED),
    "solve_time": Twin(
        "histogram_quantile(0.5, sum by (le) (increase(tidegate_solve_duration_seconds_bucket[10m])))",
        "sum(increase(tidegate_solve_duration_seconds_count[10m]))",
    ),
    "queue_growing": Twin(
        "max by (topic) (deriv(tidegate_downstream_lag[5m]) * 60)", "max by (topic) (tidegate_downstream_lag)"
    ),
    "dead_letters": Twin(f"{_DEAD} / {_ENDED}", _ENDED),
    "partition_stuck": Twin("sum by (job) (tidegate_partitions_stuck)"),
    # The left side has a service only while partitions are held; else the gate's word counts.
    "held_by_a_wall": Twin(
        "(max by (job) (tidegate_partitions_held) > 0) "
        "or max by (job) (tidegate_gate_share_prone < bool 0.01)"
    ),
    "retention_near": Twin("max by (topic) (tidegate_retention_near)"),
    # Down is what no solver can use of those that told of a fault of it; an idle one only reads its balance.
    # Whatever was solved in the last minute says that the provider is there.
    "provider_down": Twin(
        "min by (provider) (((tidegate_provider_out > 0) or tidegate_provider_breaker_open "
        "or tidegate_provider_out) > bool 0) unless on (provider) "
        '(sum by (provider) (increase(tidegate_solves_total{status="solved"}[1m])) > 0)'
    ),
    "no_healthy_proxy": Twin(
        "max((tidegate_proxies_healthy == bool 0) * (tidegate_proxies_listed > bool 0))"
    ),
    "subnet_ban": Twin("max(tidegate_proxies_subnets_failing)"),
    "loop_lag": Twin("max by (job) (tidegate_loop_lag_seconds)"),
    # Whoever has no instance left that could be asked has no series at all.
    "service_silent": Twin(
        '1 - max by (job) (up{job=~"tidegate.*"}) or max by (job) (max_over_time(up{job=~"tidegate.*"}[15m]))'
    ),
}
# The monitor's mark is in seconds, the twin's value is 0 or 1.
_STATES = frozenset({"service_silent"})


def expression(rule: Rule) -> str:
    """Return the rule in PromQL."""
    twin = TWINS[rule.name]
    if rule.name in _STATES:
        sign, mark = ">", 0.5
    elif rule.above is not None:
        sign, mark = ">", rule.above
    else:
        assert rule.at_least is not None
        sign, mark = ">=", rule.at_least
    value = f"({twin.value})" if " or " in twin.value else twin.value
    fires = f"{value} {sign} {mark:g}"
    return (
        f"({fires}) and ({twin.denominator} >= {rule.least:g})" if twin.denominator and rule.least else fires
    )


def alert_name(rule: Rule) -> str:
    """Return the name in Prometheus' style."""
    return "Tidegate" + "".join(word.capitalize() for word in rule.name.split("_"))


def rules() -> dict[str, Any]:
    """Return the file of rules."""
    listed = [_rule(rule) for rule in load() if rule.name not in MONITOR_ONLY]
    listed.append(
        {
            "alert": "TidegateMetricsAbsent",
            "expr": "absent(tidegate_partitions_assigned)",
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "No service is scraped: no rule here can fire, and the autoscaler's brake is off.",
                "runbook_url": f"{RUNBOOK}#metrics_absent",
            },
        }
    )
    return {"groups": [{"name": "tidegate", "rules": listed}]}


def _rule(rule: Rule) -> dict[str, Any]:
    waits = 30.0 if rule.name == "service_silent" else rule.for_s
    return {
        "alert": alert_name(rule),
        "expr": expression(rule),
        **({"for": f"{waits:g}s"} if waits else {}),
        **({"keep_firing_for": f"{rule.clear_for_s:g}s"} if rule.clear_for_s else {}),
        "labels": {"severity": rule.severity, "rule": rule.name},
        "annotations": {
            "summary": rule.summary,
            "description": rule.action,
            "runbook_url": f"{RUNBOOK}#{rule.name}",
        },
    }


class Panel(NamedTuple):
    """One chart; ``queries`` are (PromQL, legend)."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def _rate(metric: str, *by: str, where: str = "") -> tuple[str, str]:
    legend = " ".join(f"{{{{{label}}}}}" for label in by) or "all"
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({metric}{where}[$__rate_interval]))", legend


def _quantiles(metric: str, *by: str) -> tuple[tuple[str, str], ...]:
    labels = ", ".join(("le", *by))
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return tuple(
        (
            f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))",
            f"p{share * 100:g} {legend}".strip(),
        )
        for share in (0.5, 0.95)
    )


DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "pipeline": (
        "Tidegate: pipeline",
        (
            Panel("Fetches by outcome", "reqps", (_rate("tidegate_fetches_total", "outcome"),)),
            Panel("Pages stored", "rowsps", (_rate("tidegate_store_records_total"),)),
            Panel("Dead letters by reason", "ops", (_rate("tidegate_jobs_dead_total", "reason"),)),
            Panel("Retries by class", "ops", (_rate("tidegate_jobs_retried_total", "error_class"),)),
            Panel(
                "Behind the walls: lag", "short", (("max by (topic) (tidegate_downstream_lag)", "{{topic}}"),)
            ),
            Panel(
                "The gate's share",
                "percentunit",
                (
                    ("min(tidegate_gate_share_clean)", "clean sites"),
                    ("min(tidegate_gate_share_prone)", "prone sites"),
                    ("max(tidegate_shedding_level)", "shedding level"),
                ),
            ),
            Panel("Records in hand", "short", (("sum by (job) (tidegate_records_in_hand)", "{{job}}"),)),
            Panel("Deferred", "ops", (_rate("tidegate_jobs_deferred_total", "job"),)),
        ),
    ),
    "solving": (
        "Tidegate: solving and money",
        (
            Panel("Requests by status", "ops", (_rate("tidegate_solves_total", "status"),)),
            Panel(
                "Success by provider",
                "percentunit",
                (
                    (
                        f"{_BY_PROVIDER.format('solved')} / {_BY_PROVIDER.format('solved|failed')}",
                        "{{provider}}",
                    ),
                ),
            ),
            Panel("Time of a solve", "s", _quantiles("tidegate_solve_duration_seconds", "provider")),
            Panel(
                "Spent an hour",
                "currencyUSD",
                (("sum by (provider) (increase(tidegate_spend_total[1h]))", "{{provider}}"),),
            ),
            Panel(
                "Balance", "currencyUSD", (("min by (provider) (tidegate_provider_balance)", "{{provider}}"),)
            ),
            Panel(
                "Limit of tasks", "short", (("sum by (provider) (tidegate_provider_limit)", "{{provider}}"),)
            ),
            Panel(
                "Out of service",
                "short",
                (
                    ("max by (provider) (tidegate_provider_breaker_open)", "breaker {{provider}}"),
                    ("max by (provider) (tidegate_provider_out)", "out {{provider}}"),
                ),
            ),
            Panel(
                "Answers judged by sites",
                "ops",
                (_rate("tidegate_answers_judged_total", "provider", "accepted"),),
            ),
            Panel("Denied by a budget", "ops", (_rate("tidegate_purchases_denied_total", "reason"),)),
            Panel(
                "Answers unread", "s", (("max(tidegate_answers_unread_age_seconds)", "age of the oldest"),)
            ),
        ),
    ),
    "sites": (
        "Tidegate: sites and proxies",
        (
            Panel(
                "CAPTCHA rate",
                "percentunit",
                ((f"{_CAPTCHAS} / {_FETCHES}", "of pages and challenges, 5 minutes"),),
            ),
            Panel("Time of a fetch", "s", _quantiles("tidegate_fetch_duration_seconds")),
            Panel("Bytes on the wire", "Bps", (_rate("tidegate_fetch_wire_bytes_total"),)),
            Panel(
                "Proxies",
                "short",
                (("max(tidegate_proxies_listed)", "listed"), ("min(tidegate_proxies_healthy)", "healthy")),
            ),
            Panel("Quarantines", "ops", (_rate("tidegate_proxies_quarantines_total"),)),
            Panel(
                "Subnets failing", "short", (("max(tidegate_proxies_subnets_failing)", "all of them out"),)
            ),
            Panel("Sites that became prone", "ops", (_rate("tidegate_sites_prone_total"),)),
            Panel(
                "Sites that refuse answers",
                "ops",
                (_rate("tidegate_sites_refusing_total", "provider", "kind"),),
            ),
        ),
    ),
    "runtime": (
        "Tidegate: Kafka and runtime",
        (
            Panel("Partitions", "short", (("sum by (job) (tidegate_partitions_assigned)", "{{job}}"),)),
            Panel(
                "Partitions in trouble",
                "short",
                (
                    ("sum by (job) (tidegate_partitions_stuck)", "stuck {{job}}"),
                    ("sum by (job) (tidegate_partitions_held)", "held {{job}}"),
                    ("sum by (job) (tidegate_partitions_isolated)", "isolated {{job}}"),
                ),
            ),
            Panel("Rebalances", "ops", (_rate("tidegate_rebalances_total", "job"),)),
            Panel("Commits refused", "ops", (_rate("tidegate_commits_refused_total", "job"),)),
            Panel("Produced again", "ops", (_rate("tidegate_produces_repeated_total", "topic"),)),
            Panel("Loop lag", "s", (("max by (job) (tidegate_loop_lag_seconds)", "{{job}}"),)),
            Panel(
                "Bytes in hand", "bytes", (("sum by (job) (tidegate_records_in_hand_size_bytes)", "{{job}}"),)
            ),
            Panel("Faults of ours", "ops", (_rate("tidegate_faults_total", "job"),)),
            Panel("Time of a batch", "s", _quantiles("tidegate_store_duration_seconds")),
            Panel("Inserts held back", "ops", (_rate("tidegate_store_held_total", "table"),)),
        ),
    ),
}
_PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
_JAEGER = {"type": "jaeger", "uid": "jaeger"}


def dashboard(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return a dashboard of charts, two in a row."""
    return _frame(
        uid,
        title,
        [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": _PROMETHEUS,
                "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": [
                    {
                        "refId": chr(ord("A") + index),
                        "datasource": _PROMETHEUS,
                        "expr": query,
                        "legendFormat": legend,
                    }
                    for index, (query, legend) in enumerate(panel.queries)
                ],
            }
            for number, panel in enumerate(panels)
        ],
    )


def traces() -> dict[str, Any]:
    """Return the dashboard of traces: the latest ones of each service, to be opened as trees."""
    return _frame(
        "tidegate-traces",
        "Tidegate: traces",
        [
            {
                "id": number + 1,
                "type": "table",
                "title": f"Latest of the {service}: {operation or 'all'}",
                "datasource": _JAEGER,
                "gridPos": {"h": 9, "w": 24, "x": 0, "y": 9 * number},
                "targets": [
                    {
                        "refId": "A",
                        "datasource": _JAEGER,
                        "queryType": "search",
                        "service": f"tidegate-{service}",
                        **({"operation": operation} if operation else {}),
                        "limit": 20,
                    }
                ],
            }
            for number, (service, operation) in enumerate(
                (
                    ("fetcher", "process urls"),
                    ("solver", "process captcha-requests"),
                    ("storer", "write batch"),
                )
            )
        ],
    )


def _frame(uid: str, title: str, panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": title,
        "tags": ["tidegate"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": []},
        "panels": panels,
    }


def files() -> dict[str, str]:
    """Return every file by its path below observability/. The rules are JSON, which is YAML."""
    written = {"prometheus/rules.yml": rules()}
    for name, (title, panels) in DASHBOARDS.items():
        written[f"grafana/dashboards/{name}.json"] = dashboard(f"tidegate-{name}", title, panels)
    written["grafana/dashboards/traces.json"] = traces()
    return {
        path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in written.items()
    }


def chart_files() -> dict[str, str]:
    """Return the same by path below the chart's files/, without the folder of the program that reads it."""
    return {path.partition("/")[2]: text for path, text in files().items()}


if __name__ == "__main__":
    for folder, written in ((FOLDER, files()), (CHART_FOLDER, chart_files())):
        for path, text in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{folder / path}\n")
