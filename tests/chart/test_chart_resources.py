"""Custom resources by their schemas, rules by Prometheus' own tool, renders as they were last looked at."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.chart import CHART, Manifest, cases, of_kind, render, values_of
from support.goldens import GOLDENS, golden, written
from support.scaling_policy import compiled
from support.scaling_rows import ROWS, THRESHOLD, WORK, Row

pytestmark = pytest.mark.chart

_SCHEMAS = Path(__file__).with_name("schemas")
_PROMTOOL = os.environ.get("TEST_PROMTOOL") or shutil.which("promtool")
_HPA = CHART / "ci/hpa-values.yaml"
needs_promtool = pytest.mark.skipif(
    _PROMTOOL is None, reason="promtool is not here; Debian's package prometheus brings it"
)


def complaints(manifest: Manifest) -> list[str]:
    """Return what a custom resource's schema has against it."""
    import jsonschema  # noqa: PLC0415 -- there only where the chart's tests run

    schema = json.loads((_SCHEMAS / f"{manifest['kind']}.json").read_text("utf-8"))
    return [each.message for each in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_every_custom_resource_is_what_its_operator_takes(path: Path) -> None:
    """By schemas written from the operators' definitions: closed, so that an unknown field is found."""
    kinds = {each.stem for each in _SCHEMAS.glob("*.json")}
    for manifest in render(values_of(path)):
        api, _, _ = manifest["apiVersion"].partition("/")
        assert (api in {"keda.sh", "monitoring.coreos.com"}) == (manifest["kind"] in kinds)
        if manifest["kind"] in kinds:
            assert complaints(manifest) == [], manifest["metadata"]["name"]


def test_the_schemas_refuse_what_an_operator_would() -> None:
    """A misspelt field, a number where a text is wanted, a rule that is neither of the two."""
    everything = render(values_of(CHART / "ci/everything-values.yaml"))
    scaled = of_kind(everything, "ScaledObject")["demo-fetcher"]
    trigger, scaling = scaled["spec"]["triggers"][0], scaled["spec"]["advanced"]["scalingModifiers"]
    rule = of_kind(everything, "PrometheusRule")["demo"]
    endpoint = of_kind(everything, "ServiceMonitor")["demo"]["spec"]["endpoints"][0]
    for owner, place, change in (
        (scaled, trigger["metadata"], {"lagTreshold": "1"}),
        (scaled, trigger["metadata"], {"lagThreshold": 1}),
        (scaled, trigger["metadata"], {"excludePersistentLag": False}),
        (scaled, scaling, {"target": 500}),
        (scaled, scaled["spec"], {"replicas": 1}),
        (rule, rule["spec"]["groups"][0]["rules"][0], {"record": "both:of_them"}),
        (rule, rule["spec"]["groups"][0], {"interval": "often"}),
        (of_kind(everything, "ServiceMonitor")["demo"], endpoint, {"interval": 15}),
    ):
        before = dict(place)
        place.update(change)
        assert complaints(owner), change
        place.clear()
        place.update(before)
        assert not complaints(owner)


def promtool(*arguments: str) -> None:
    """Run it; what it says is the failure's text."""
    assert _PROMTOOL is not None
    ran = subprocess.run([_PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_rendered_rules_are_valid(tmp_path: Path) -> None:
    """Those of the alerts, and those that a plain HPA scales by."""
    seen = set()
    for path in (CHART / "ci/everything-values.yaml", _HPA):
        for name, manifest in of_kind(render(values_of(path)), "PrometheusRule").items():
            file = tmp_path / f"{path.stem}-{name}.yml"
            file.write_text(yaml.safe_dump(manifest["spec"]), "utf-8")
            promtool("check", "rules", str(file))
            seen.add(name)
    assert seen == {"demo", "demo-scaling"}


def series(row: Row) -> list[dict[str, str]]:
    """Return what Prometheus has scraped for readings: two fetchers, two monitors, and other namespaces."""
    ours = 'namespace="scraping"'
    found = {
        f'tidegate_topic_lag{{{ours},pod="demo-monitor-a",topic="urls"}}': f"{row.lag}x20",
        f'tidegate_topic_lag{{{ours},pod="demo-monitor-b",topic="urls"}}': f"{row.lag}x20",
        f'tidegate_topic_lag{{{ours},pod="demo-monitor-a",topic="pages"}}': "77777x20",
        'tidegate_topic_lag{namespace="other",pod="demo-monitor-a",topic="urls"}': "88888x20",
        f'tidegate_records_in_hand{{{ours},pod="demo-fetcher-a"}}': f"{row.work}x20",
        f'tidegate_records_in_hand{{{ours},pod="demo-storer-a"}}': "99999x20",
        f'tidegate_gate_share_clean{{{ours},pod="demo-fetcher-a"}}': f"{0 if row.held else 1}x20",
        f'tidegate_gate_share_clean{{{ours},pod="demo-fetcher-b"}}': "1x20",
        f'tidegate_challenges_total{{{ours},pod="demo-fetcher-a"}}': f"0+{row.captcha * 6000:g}x20",
        f'tidegate_fetches_total{{{ours},pod="demo-fetcher-a",outcome="page"}}': (
            f"0+{(1 - row.captcha) * 6000:g}x20"
        ),
        f'kube_deployment_spec_replicas{{{ours},deployment="demo-fetcher"}}': f"{row.wanted}x20",
    }
    return [{"series": name, "values": values} for name, values in found.items()]


@needs_promtool
def test_the_plain_hpa_is_told_what_kedas_formula_says(tmp_path: Path) -> None:
    """The same table, through the rules; without the monitor there is no result, and nothing scales."""
    manifests = render(values_of(_HPA))
    rules = of_kind(manifests, "PrometheusRule")["demo-scaling"]["spec"]
    metric = compiled(
        f"(captcha > 0.3 or held > 0) and wanted > 0 ? min(max(lag, work / {WORK} * {THRESHOLD}), "
        f"wanted * {THRESHOLD}) : max(lag, work / {WORK} * {THRESHOLD})"
    )
    labels = 'tidegate:scaling_records{namespace="scraping",release="demo",service="fetcher"}'
    # Rates of counters are no round numbers: the mark itself is left to KEDA's table.
    rows = [row if row.captcha != 0.3 else row._replace(captcha=0.29) for row in ROWS]
    silent = [each for each in series(rows[2]) if "topic_lag" not in each["series"]]
    told = [(series(row), [{"labels": labels, "value": metric(row._asdict())}]) for row in rows]
    tests: list[dict[str, Any]] = [
        {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [
                {
                    "expr": 'tidegate:scaling_records{service="fetcher"}',
                    "eval_time": "10m",
                    "exp_samples": expected,
                }
            ],
        }
        for given, expected in [*told, (silent, [])]
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules), "utf-8")
    path = tmp_path / "rules.test.yml"
    path.write_text(json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": tests}))
    promtool("test", "rules", str(path))


def test_the_plain_hpa_behaves_as_kedas_does_and_asks_for_what_the_rules_record() -> None:
    """Bounds, windows and steps are the same; the document's adapter makes the one of the other."""
    hpa = render(values_of(_HPA))
    keda = render({**values_of(_HPA), "autoscaling": {"prometheusUrl": "http://prometheus:9090"}})
    scaled = of_kind(keda, "ScaledObject")
    autoscalers = of_kind(hpa, "HorizontalPodAutoscaler")
    assert set(autoscalers) == set(scaled) == {"demo-fetcher", "demo-solver", "demo-storer"}
    assert not of_kind(hpa, "ScaledObject")
    assert not of_kind(keda, "HorizontalPodAutoscaler")
    (group,) = of_kind(hpa, "PrometheusRule")["demo-scaling"]["spec"]["groups"]
    recorded = [each["labels"] for each in group["rules"] if each["record"] == "tidegate:scaling_records"]
    for name, each in autoscalers.items():
        spec, other = each["spec"], scaled[name]["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (
            other["minReplicaCount"],
            other["maxReplicaCount"],
        )
        assert spec["behavior"] == other["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert spec["scaleTargetRef"]["name"] == other["scaleTargetRef"]["name"] == name
        (external,) = [metric["external"] for metric in spec["metrics"]]
        assert external["target"] == {
            "type": "AverageValue",
            "averageValue": other["advanced"]["scalingModifiers"]["target"],
        }
        selected = external["metric"]["selector"]["matchLabels"].items()
        assert len([labels for labels in recorded if selected <= labels.items()]) == 1
        text = (CHART.parents[1] / "docs/scaling.md").read_text("utf-8")
        assert f"as: {external['metric']['name']}\n" in text
    deployments = of_kind(hpa, "Deployment")
    assert {name for name, each in deployments.items() if "replicas" in each["spec"]} == {"demo-monitor"}


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_renders_are_those_that_were_last_looked_at(name: str) -> None:
    """Look at the difference, then `make goldens`."""
    assert written(name).read_text("utf-8") == golden(name)


def test_no_golden_is_left_over() -> None:
    """Of one that is not rendered any more."""
    assert {path.stem for path in written("any").parent.glob("*.yaml")} == set(GOLDENS)


def test_a_change_of_settings_rolls_those_pods_that_read_them() -> None:
    """The digest is of the environment, and a policy, which is read anew, is not in it."""
    values = values_of(_HPA)

    def digests(changed: dict[str, Any]) -> dict[str, str]:
        return {
            name: each["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for name, each in of_kind(render(changed), "Deployment").items()
        }

    before = digests(values)
    values["services"]["solver"]["settings"] = {"CONCURRENCY": 10}
    after = digests(values)
    assert {name for name in before if before[name] != after[name]} == {"demo-solver"}
    values["services"]["fetcher"]["policy"] = '[[host]]\nmatch = ["a.example"]\nrate = 1\n'
    named = digests(values)
    values["services"]["fetcher"]["policy"] = '[[host]]\nmatch = ["a.example"]\nrate = 2\n'
    assert named == digests(values)


def asked(folder: Path, template: str, values: dict[str, Any]) -> str:
    """Return what a piece of the chart's templates says, by a copy of the chart with one template more."""
    import helm_python  # noqa: PLC0415 -- there only where the chart's tests run

    copy = folder / "tidegate"
    shutil.copytree(CHART, copy, dirs_exist_ok=True)
    (copy / "templates/asked.yaml").write_text(f"said: {{{{ {template} | quote }}}}\n", "utf-8")
    with helm_python.Chart.load(str(copy)) as chart:
        files = chart.render({"checkCapabilities": False, **values}, name="demo", namespace="scraping")
    (text,) = [text for name, text in files.items() if name.endswith("/asked.yaml")]
    said: str = yaml.safe_load(text)["said"]
    return said


@pytest.mark.parametrize(
    ("was", "sentence"),
    [
        ({"TIDEGATE_KAFKA__PREFIX": "", "TIDEGATE_KAFKA__PARTITIONS": "24"}, ""),
        ({"TIDEGATE_KAFKA__PREFIX": "", "TIDEGATE_KAFKA__PARTITIONS": "12"}, ""),
        (
            {"TIDEGATE_KAFKA__PARTITIONS": "48"},
            "lowered from 48 to 24: topics keep their partitions. Set it back",
        ),
        ({"TIDEGATE_KAFKA__PREFIX": "team-"}, 'kafka.prefix changes from "team-" to ""'),
        ({"TIDEGATE_CLICKHOUSE__DATABASE": "old"}, 'clickhouse.database changes from "old" to "tidegate"'),
    ],
    ids=str,
)
def test_a_dangerous_upgrade_is_refused_with_a_sentence(
    was: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    """By the environment that the release's pods have now; to look it up needs a cluster."""
    literal = " ".join(f'"{key}" "{value}"' for key, value in was.items())
    template = f'include "tidegate.upgradeRefusal" (dict "was" (dict {literal}) "values" .Values)'
    said = asked(tmp_path, template, values_of(_HPA))
    assert (sentence in said) if sentence else not said


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ("fetcher", {"kafka-credentials/user"}),
        ("storer", {"kafka-credentials/user", "clickhouse-credentials/password"}),
        ("solver", {"kafka-credentials/user", "solver-credentials/api-key"}),
        ("monitor", {"kafka-credentials/user", "monitor-credentials/token"}),
    ],
)
def test_secrets_that_are_read_once_roll_their_pods(service: str, keys: set[str], tmp_path: Path) -> None:
    """Those that docs/operations.md says need a restart; what is in them is looked up in the cluster."""
    template = f'include "tidegate.readOnce" (dict "root" . "service" "{service}")'
    said = asked(tmp_path, template, values_of(CHART / "examples/strimzi.yaml"))
    assert set(said.split(",")) == keys
    several = values_of(CHART / "examples/strimzi.yaml")
    several["services"]["solver"]["providersKey"] = "accounts"
    said = asked(tmp_path, template, several)
    assert set(said.split(",")) == {each.replace("api-key", "accounts") for each in keys}
    # aiokafka keeps a password of PLAIN as it was at the start.
    said = asked(tmp_path, template, values_of(CHART / "examples/managed.yaml"))
    assert set(said.split(",")) == keys | {"kafka-credentials/password"}
