"""Dashboards, rules and the runbook say nothing that the code does not."""

import json
import re
from typing import Any

import pytest
import yaml
from support.observability import generator
from support.packaging import ROOT, read
from tidegate.alert_rules import load
from tidegate.telemetry.metric import Kind, prometheus_name
from tidegate.telemetry.runtime_metrics import RUNTIME_METRICS

_METRIC = re.compile(r"\btidegate_[a-z_]+")
_RULES = {rule.name: rule for rule in load()}
_FILES: dict[str, str] = generator().files()


def emitted() -> dict[str, set[str]]:
    """Return every name that Prometheus shows, with its labels; of every service."""
    docs = generator("telemetry_docs")
    found = {}
    for metric in (
        *RUNTIME_METRICS,
        *(each for service in docs.SERVICES for each in docs.metrics_of(service)),
    ):
        name = prometheus_name(metric)
        endings = ("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",)
        for ending in endings:
            found[f"{name}{ending}"] = {*metric.labels, "job", "instance", "le"}
    return found


def expressions(content: Any) -> list[str]:
    """Return every PromQL expression in a file."""
    if isinstance(content, dict):
        own = [content["expr"]] if isinstance(content.get("expr"), str) else []
        return own + [each for value in content.values() for each in expressions(value)]
    return [each for value in content for each in expressions(value)] if isinstance(content, list) else []


def sections() -> dict[str, str]:
    """Return the runbook's alerts with what stands below them."""
    text = read("docs/runbook.md").split("# From symptom to wall")[0]
    return dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("path", _FILES)
def test_a_file_is_the_one_that_the_generator_writes(path: str) -> None:
    """A change without `python tools/observability.py` turns red."""
    assert read(f"observability/{path}") == _FILES[path]


def test_the_chart_has_the_same_files() -> None:
    """A copy that is stale, or of a file that is gone, turns red."""
    folder = ROOT / "helm/tidegate/files"
    found = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == generator().chart_files()


def test_there_is_no_other_generated_file() -> None:
    """One that the generator has forgotten would never be changed again."""
    found = {
        path.relative_to(ROOT / "observability").as_posix()
        for path in (ROOT / "observability").rglob("*.json")
    }
    assert found == {path for path in _FILES if path.endswith(".json")}


@pytest.mark.parametrize("path", _FILES)
def test_every_metric_that_is_asked_for_is_emitted_with_its_labels(path: str) -> None:
    """A panel over a metric that nobody emits is empty for ever and looks like peace."""
    known = emitted()
    for expression in expressions(json.loads(_FILES[path])):
        names = set(_METRIC.findall(expression))
        assert names <= set(known), expression
        labels = {label for name in names for label in known[name]}
        asked = {
            label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")
        } | set(re.findall(r"[{,]\s*(\w+)\s*=", expression))
        assert asked <= labels | {"job"}, expression


def test_every_metric_that_is_emitted_is_documented() -> None:
    """In docs/telemetry.md, under the name that Prometheus shows."""
    page = read("docs/telemetry.md")
    for name in emitted():
        assert f"`{re.sub('_(bucket|count|sum)$', '', name)}`" in page or f"`{name}`" in page


def test_every_alert_has_its_twin_or_is_said_to_have_none() -> None:
    """Both lists are complete, and neither names an alert that does not exist."""
    module = generator()
    assert set(module.TWINS) | module.MONITOR_ONLY == set(_RULES)
    assert not set(module.TWINS) & module.MONITOR_ONLY


def test_every_rule_leads_to_its_section_of_the_runbook() -> None:
    """By the anchor of its link; the marks are those of the table."""
    listed = yaml.safe_load(_FILES["prometheus/rules.yml"])["groups"][0]["rules"]
    for rule in listed:
        anchor = rule["annotations"]["runbook_url"].rpartition("docs/runbook.md#")[2]
        assert anchor in sections()
        if anchor in _RULES:
            assert rule["labels"]["severity"] == _RULES[anchor].severity
            assert rule["annotations"]["summary"] == _RULES[anchor].summary


@pytest.mark.parametrize("name", [*_RULES, "metrics_absent"])
def test_every_alert_says_what_it_means_how_to_see_it_and_what_to_do(name: str) -> None:
    """At night nobody looks for the right page."""
    for part in ("Means", "See", "Do"):
        assert re.search(rf"^- \*\*{part}\*\*: \S", sections()[name], re.MULTILINE)


def test_the_runbook_has_no_alert_that_does_not_exist() -> None:
    """What was renamed is renamed here, too."""
    assert set(sections()) == {*_RULES, "metrics_absent"}


def test_metrics_and_events_in_the_runbook_exist() -> None:
    """A name that one cannot search for helps nobody."""
    page, text = read("docs/telemetry.md"), read("docs/runbook.md")
    for name in _METRIC.findall(text):
        assert name in emitted(), name
    events = set(re.findall(r"^\| `(\w+)` \| (?:info|warning|error|debug) \|", page, re.MULTILINE))
    said = {
        name
        for line in text.splitlines()
        if " event" in line or " log " in line
        for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", line)
    }
    unknown = {name for name in said if not name.startswith("tidegate") and name not in events}
    assert unknown <= {"crashed_the_service", "site_summary"}
