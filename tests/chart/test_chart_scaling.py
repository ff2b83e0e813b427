"""What the autoscaler makes of lag, challenges and walls: the chart's formula, evaluated."""

import copy
import re

import pytest
from support.chart import CHART, Manifest, of_kind, render, values_of
from support.scaling_policy import compiled, policies
from support.scaling_rows import ROWS, THRESHOLD, Row, replicas

pytestmark = pytest.mark.chart


def scaled_objects() -> dict[str, Manifest]:
    """Return the scaled objects of a release with everything on."""
    return of_kind(render(values_of(CHART / "ci/everything-values.yaml")), "ScaledObject")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_brake_holds_and_never_ratchets(row: Row) -> None:
    """Replicas by the formula, from what is wanted now."""
    scaling = scaled_objects()["demo-fetcher"]["spec"]["advanced"]["scalingModifiers"]
    parts = re.findall(r"lag_\w+", scaling["formula"].rpartition(":")[2])
    readings: dict[str, float] = {name: row.lag / len(parts) for name in parts}
    readings |= {"work": row.work, "captcha": row.captcha, "held": row.held, "wanted": row.wanted}
    metric = compiled(scaling["formula"])(readings)
    assert scaling["target"] == str(THRESHOLD)
    assert replicas(metric, row.wanted) == row.expected


def test_the_brake_counts_what_is_wanted_and_not_what_is_there() -> None:
    """Terminating and surging pods would ratchet a count of pods up."""
    triggers = {each["name"]: each for each in scaled_objects()["demo-fetcher"]["spec"]["triggers"]}
    assert "kube_deployment_spec_replicas" in triggers["wanted"]["metadata"]["query"]
    assert not any(each["type"] == "kubernetes-workload" for each in triggers.values())


def test_lag_is_that_of_the_topics_that_are_work() -> None:
    """Intake and unread solutions for the fetcher, never the delay topics: what waits there is not due."""
    topics = {
        name: [each["metadata"]["topic"] for each in manifest["spec"]["triggers"] if each["type"] == "kafka"]
        for name, manifest in scaled_objects().items()
    }
    assert topics == {
        "demo-fetcher": ["team-urls-high", "team-urls", "team-urls-low", "team-captcha-solutions"],
        "demo-solver": ["team-captcha-requests"],
        "demo-storer": ["team-pages", "team-solves", "team-dead-letter"],
    }


def test_triggers_are_safe_against_the_scalers_pitfalls() -> None:
    """A new group reads as lag, slow work is no stuck partition, and every name in a formula is a trigger."""
    for manifest in scaled_objects().values():
        spec = manifest["spec"]
        for each in spec["triggers"]:
            if each["type"] == "kafka":
                metadata = each["metadata"]
                assert metadata["offsetResetPolicy"] == "earliest"
                assert metadata["excludePersistentLag"] == "false"
                assert each["authenticationRef"] == {"name": "demo-kafka"}
        names = set(re.findall(r"[a-z_]+", spec["advanced"]["scalingModifiers"]["formula"]))
        assert names - {"min", "max", "and", "or"} <= {each["name"] for each in spec["triggers"]}
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]


def test_metrics_in_queries_are_metrics_of_ours() -> None:
    """A renamed metric would switch the brake off without a word."""
    import importlib  # noqa: PLC0415 -- the services' metrics are loaded by name

    from tidegate.telemetry.metric import prometheus_name  # noqa: PLC0415 -- with its neighbour
    from tidegate.telemetry.runtime_metrics import RUNTIME_METRICS  # noqa: PLC0415 -- with its neighbour

    for name, manifest in scaled_objects().items():
        own = importlib.import_module(f"tidegate_{name.removeprefix('demo-')}.metrics").METRICS
        ours = {prometheus_name(metric) for metric in (*RUNTIME_METRICS, *own)}
        named = set(re.findall(r"\btidegate_\w+", str(manifest["spec"]["triggers"])))
        assert named
        assert named <= ours


def test_the_simulation_reads_what_the_chart_renders() -> None:
    """docs/scaling.md and its assertions rest on a reading of the templates without Helm."""
    plain = values_of(CHART / "ci/plain-values.yaml")
    for prometheus in ("", "http://prometheus:9090"):
        values = {**copy.deepcopy(plain), "autoscaling": {"prometheusUrl": prometheus}}
        for service in ("fetcher", "solver", "storer"):
            values["services"].setdefault(service, {})["autoscaling"] = {"enabled": True}
        rendered = of_kind(render(values), "ScaledObject")
        for service, policy in policies(prometheus=bool(prometheus)).items():
            spec = rendered[f"demo-{service}"]["spec"]
            modifiers = spec["advanced"]["scalingModifiers"]
            behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
            assert (policy.formula, str(policy.threshold)) == (modifiers["formula"], modifiers["target"])
            assert str(policy.activation) == modifiers["activationTarget"]
            assert (policy.minimum, policy.maximum) == (spec["minReplicaCount"], spec["maxReplicaCount"])
            assert (policy.polling_s, policy.cooldown_s) == (spec["pollingInterval"], spec["cooldownPeriod"])
            for rule, key in ((policy.up, "scaleUp"), (policy.down, "scaleDown")):
                (only,) = behaviour[key]["policies"]
                assert rule.window_s == behaviour[key]["stabilizationWindowSeconds"]
                assert (rule.pods, rule.period_s) == (only["value"], only["periodSeconds"])
