"""The Prometheus rules by Prometheus' own tool: each fires on one side of its mark and not on the other."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.observability import generator, seven
from support.packaging import ROOT

_PROMTOOL = os.environ.get("TEST_PROMTOOL") or shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    _PROMTOOL is None, reason="promtool is not here; Debian's package prometheus brings it"
)
_FILE = ROOT / "observability/prometheus/rules.yml"


class Case(NamedTuple):
    """Series, a minute a step; the rule fires at ``at`` with these labels, or, without any, does not."""

    name: str
    series: dict[str, str]
    at: str
    labels: dict[str, str] | None
    step: str = "1m"


def fetches(challenges: int, pages: int, scale: float = 1.0) -> dict[str, str]:
    """Return counters that grow by so much a minute."""
    return {
        "tidegate_challenges_total": f"0+{challenges * scale:g}x60",
        **({'tidegate_fetches_total{outcome="page"}': f"0+{pages * scale:g}x60"} if pages else {}),
    }


def solves(failed: int, solved: int) -> dict[str, str]:
    """Return the same of solves."""
    return {
        'tidegate_solves_total{status="failed"}': f"0+{failed}x60",
        'tidegate_solves_total{status="solved"}': f"0+{solved}x60",
    }


def times(below_30: int) -> dict[str, str]:
    """Return a hundred solves a minute, so many of them within half a minute."""
    name = "tidegate_solve_duration_seconds"
    return {
        f'{name}_bucket{{le="10"}}': "0+0x60",
        f'{name}_bucket{{le="30"}}': f"0+{below_30}x60",
        f'{name}_bucket{{le="60"}}': "0+100x60",
        f'{name}_bucket{{le="+Inf"}}': "0+100x60",
        f"{name}_count": "0+100x60",
    }


def dead(letters: int, pages: int) -> dict[str, str]:
    """Return jobs that end."""
    return {
        'tidegate_jobs_dead_total{reason="shed"}': f"0+{letters}x60",
        **({'tidegate_fetches_total{outcome="page"}': f"0+{pages}x60"} if pages else {}),
    }


def _balances(breaker_of_a: str, breaker_of_b: str) -> dict[str, str]:
    """Return two solvers that know of one provider."""
    seller = 'provider="capsolver",job="tidegate-solver"'
    return {
        f'tidegate_provider_breaker_open{{{seller},instance="a"}}': breaker_of_a,
        f'tidegate_provider_breaker_open{{{seller},instance="b"}}': breaker_of_b,
        f'tidegate_provider_balance{{{seller},instance="a"}}': "5x30",
        f'tidegate_provider_balance{{{seller},instance="b"}}': "5x30",
    }


_SOLVED_BY_B = (
    'tidegate_solves_total{provider="capsolver",status="solved",job="tidegate-solver",instance="b"}'
)
_LAG = 'tidegate_downstream_lag{topic="pages",job="fetcher"}'
_URLS = {"topic": "pages"}
_FETCHER = {"job": "fetcher"}
_SELLER = {"provider": "capsolver"}
CASES = (
    Case("captcha_rate", fetches(41, 59), "12m", {}),
    Case("captcha_rate", fetches(39, 61), "12m", None),
    Case("captcha_rate", fetches(20, 0), "12m", {}),
    Case("captcha_rate", fetches(41, 59, 0.09), "12m", None),
    Case("proxies_not_workers", fetches(31, 69), "12m", {}),
    Case("proxies_not_workers", fetches(29, 71), "12m", None),
    Case("solve_success_low", solves(6, 94), "12m", {}),
    Case("solve_success_low", solves(4, 96), "12m", None),
    Case("solve_success_critical", solves(11, 89), "12m", {}),
    Case("solve_success_critical", solves(9, 91), "12m", None),
    Case("solve_success_critical", solves(1, 0), "15m", None),
    Case("solve_time", times(49), "12m", {}),
    Case("solve_time", times(51), "12m", None),
    # Two samples make a slope: it grows from the first minute on.
    Case("queue_growing", {_LAG: "1000+10x60"}, "11m30s", _URLS),
    Case("queue_growing", {_LAG: "1000+10x60"}, "10m30s", None),
    Case("queue_growing", {_LAG: "2000-10x60"}, "12m", None),
    Case("queue_growing", {_LAG: "0+1x60"}, "12m", None),
    Case("dead_letters", dead(6, 94), "12m", {}),
    Case("dead_letters", dead(4, 96), "12m", None),
    Case("dead_letters", dead(100, 0), "12m", {}),
    Case("dead_letters", dead(1, 1), "12m", None),
    Case("partition_stuck", {'tidegate_partitions_stuck{job="fetcher"}': "1x30"}, "5m", _FETCHER),
    Case("partition_stuck", {'tidegate_partitions_stuck{job="fetcher"}': "0x30"}, "5m", None),
    Case("held_by_a_wall", {'tidegate_gate_share_prone{job="fetcher"}': "0x30"}, "10m", _FETCHER),
    Case("held_by_a_wall", {'tidegate_gate_share_prone{job="fetcher"}': "0x30"}, "9m", None),
    Case("held_by_a_wall", {'tidegate_gate_share_prone{job="fetcher"}': "1x30"}, "12m", None),
    Case(
        "held_by_a_wall",
        {
            'tidegate_gate_share_prone{job="fetcher"}': "1x30",
            'tidegate_partitions_held{job="fetcher"}': "2x30",
        },
        "12m",
        _FETCHER,
    ),
    Case("retention_near", {'tidegate_retention_near{topic="pages"}': "_x5 1x90"}, "12m", _URLS),
    Case("retention_near", {'tidegate_retention_near{topic="pages"}': "_x5 1x90"}, "90m", _URLS),
    Case("retention_near", {'tidegate_retention_near{topic="pages"}': "_x5 1x5 0x60"}, "14m", None),
    Case("provider_down", {'tidegate_provider_breaker_open{provider="capsolver"}': "1x30"}, "1m", _SELLER),
    Case("provider_down", {'tidegate_provider_breaker_open{provider="capsolver"}': "1x30"}, "45s", None),
    Case(
        "provider_down",
        {
            'tidegate_provider_breaker_open{provider="capsolver"}': "0x30",
            'tidegate_provider_out{provider="capsolver"}': "1x30",
        },
        "5m",
        _SELLER,
    ),
    # The other solver is idle: it reads the balance, and knows nothing of an outage.
    Case("provider_down", _balances("1x30", "_x30"), "5m", _SELLER),
    # It never met a fault, but has something solved by it: the provider is there.
    Case("provider_down", {**_balances("1x40", "_x40"), _SOLVED_BY_B: "0+1x40"}, "5m", None, "15s"),
    Case("provider_down", {**_balances("1x40", "_x40"), _SOLVED_BY_B: "7x40"}, "5m", _SELLER, "15s"),
    Case("provider_down", _balances("1x30", "0x30"), "5m", None),
    Case("provider_down", _balances("1x30", "0.5x30"), "5m", _SELLER),
    Case(
        "no_healthy_proxy", {"tidegate_proxies_healthy": "0x30", "tidegate_proxies_listed": "5x30"}, "5m", {}
    ),
    Case(
        "no_healthy_proxy",
        {"tidegate_proxies_healthy": "1x30", "tidegate_proxies_listed": "5x30"},
        "5m",
        None,
    ),
    Case(
        "no_healthy_proxy",
        {"tidegate_proxies_healthy": "0x30", "tidegate_proxies_listed": "0x30"},
        "5m",
        None,
    ),
    Case("subnet_ban", {"tidegate_proxies_subnets_failing": "_x5 1x60"}, "6m", {}),
    Case("subnet_ban", {"tidegate_proxies_subnets_failing": "_x5 2x5 0x60"}, "13m", None),
    Case("loop_lag", {'tidegate_loop_lag_seconds{job="fetcher"}': "0.6x30"}, "1m", _FETCHER),
    Case("loop_lag", {'tidegate_loop_lag_seconds{job="fetcher"}': "0.5x30"}, "5m", None),
    Case("service_silent", {'up{job="tidegate-storer"}': "0x30"}, "1m", {"job": "tidegate-storer"}),
    Case("service_silent", {'up{job="tidegate-storer"}': "1x30"}, "5m", None),
    Case(
        "service_silent",
        {
            'up{job="tidegate-storer",instance="a"}': "0x30",
            'up{job="tidegate-storer",instance="b"}': "1x30",
        },
        "5m",
        None,
    ),
    # Nobody is left to be asked: a pod that is gone has no target.
    Case("service_silent", {'up{job="tidegate-storer"}': "1x5 stale _x60"}, "8m", {"job": "tidegate-storer"}),
    Case("service_silent", {'up{job="tidegate-storer"}': "1x5 stale _x60"}, "30m", None),
)


def expected(case: Case, listed: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the alerts that promtool must see."""
    if case.labels is None:
        return []
    rule = listed[case.name]
    return [{"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": rule["annotations"]}]


def promtool(*arguments: str) -> None:
    """Run it; what it says is the failure's text."""
    assert _PROMTOOL is not None
    ran = subprocess.run([_PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_rules_are_valid() -> None:
    """Syntax, names, durations."""
    promtool("check", "rules", str(_FILE))


def test_each_rule_fires_on_its_side_of_the_mark_only(tmp_path: Path) -> None:
    """39 and 41 per cent, before and after ten minutes, a sample below the least."""
    listed = {rule["labels"].get("rule", ""): rule for rule in generator().rules()["groups"][0]["rules"]}
    tests = [
        {
            "interval": case.step,
            "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
            "alert_rule_test": [
                {
                    "eval_time": case.at,
                    "alertname": listed[case.name]["alert"],
                    "exp_alerts": expected(case, listed),
                }
            ],
        }
        for case in CASES
    ]
    path = tmp_path / "rules.test.yml"
    path.write_text(json.dumps({"rule_files": [str(_FILE)], "evaluation_interval": "30s", "tests": tests}))
    promtool("test", "rules", str(path))


_PROXIES = {"tidegate_proxies_healthy": "3x60", "tidegate_proxies_listed": "4x60"}
_ERRORS = {
    'tidegate_fetches_total{outcome="page"}': "0+80x60",
    'tidegate_fetches_total{outcome="challenge"}': "0+10x60",
    'tidegate_fetches_total{outcome="network"}': "0+6x60",
    'tidegate_fetches_total{outcome="blocked"}': "0+4x60",
    'tidegate_fetches_total{outcome="held"}': "0+900x60",
}
# Each number's series and its value in thousandths: Prometheus' own doubles are not compared.
NUMBERS: dict[str, tuple[dict[str, str], int, str]] = {
    "CAPTCHA rate": (fetches(30, 70), 300, "{}"),
    "Solve success": (solves(6, 94), 940, "{}"),
    "Solve time": (times(100), 20_000, "{}"),
    "Queue depth": ({_LAG: "7x60"}, 7_000, '{topic="pages"}'),
    "Throughput": (fetches(30, 60), 1_000, "{}"),
    "Error rate": (_ERRORS, 100, "{}"),
    "Proxy health": (_PROXIES, 750, "{}"),
}


def test_the_seven_numbers_of_the_manual_are_what_they_are_called(tmp_path: Path) -> None:
    """Prometheus itself evaluates what the manual tells to ask."""
    assert seven().keys() == NUMBERS.keys()
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in told.items()],
            "promql_expr_test": [
                {
                    "expr": f"round(({seven()[name]}) * 1000)",
                    "eval_time": "12m",
                    "exp_samples": [{"labels": labels, "value": value}],
                }
            ],
        }
        for name, (told, value, labels) in NUMBERS.items()
    ]
    path = tmp_path / "numbers.test.yml"
    path.write_text(json.dumps({"rule_files": [], "evaluation_interval": "30s", "tests": tests}))
    promtool("test", "rules", str(path))


def test_every_rule_is_tried_on_both_sides() -> None:
    """A rule that never fires would pass otherwise."""
    fires = {case.name for case in CASES if case.labels is not None}
    rests = {case.name for case in CASES if case.labels is None}
    assert fires == rests == set(generator().TWINS)
