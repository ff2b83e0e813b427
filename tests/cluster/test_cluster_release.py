"""The chart's life on a cluster: accepted, installed, upgraded, rolled back, refused, removed."""

import asyncio
import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.chart import CHART, Manifest, Values, cases, values_of
from support.cluster import KINDS, RELEASE, Namespace, Programs, RefusedError, namespace, programs, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SECRETS = {
    "kafka": {"user": "tidegate", "password": "simulated"},
    "clickhouse": {"password": "simulated"},
    "solver": {"api-key": "simulated"},
    "monitor": {"token": "a-token-of-the-test"},
}
VALUES: Values = {
    "kafka": {"bootstrap": "kafka:9092", "prefix": "team-", "partitions": 6, "existingSecret": "kafka"},
    "clickhouse": {"url": "http://clickhouse:8123", "existingSecret": "clickhouse"},
    "services": {
        "solver": {"existingSecret": "solver"},
        "monitor": {"existingSecret": "monitor"},
    },
    "networkPolicy": {"dataPeers": [{"podSelector": {}}]},
}
SERVICES = ("fetcher", "solver", "storer", "monitor")
_OPERATOR = ("PodMonitor", "ServiceMonitor", "PrometheusRule")


def changed(**changes: Any) -> Values:
    """Return the release's values with some set: ``kafka__partitions=3``."""
    values = copy.deepcopy(VALUES)
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


@pytest.fixture(scope="module")
def both() -> Programs:
    """Return Helm and kubectl, with a cluster."""
    return programs()


@pytest.fixture
def space(both: Programs) -> Iterator[Namespace]:
    """Yield an empty namespace with the secrets that the release names."""
    with namespace(both) as made:
        made.secrets(SECRETS)
        yield made


def _definition(kind: str) -> Manifest:
    """Return the least definition of one of the Prometheus operator's kinds."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}},
                }
            ],
        },
    }


@pytest.fixture
async def operator(space: Namespace) -> Any:
    """Have the kinds of the Prometheus operator in the cluster; its own where it is there, bare ones else."""
    there = {each["metadata"]["name"] for each in space.items("customresourcedefinitions")}
    made = [each for each in map(_definition, _OPERATOR) if each["metadata"]["name"] not in there]
    if made:
        space.kubectl("create", "-f", "-", given=made)
        for each in made:
            space.kubectl("wait", "--for=condition=Established", f"crd/{each['metadata']['name']}")
        await until(
            lambda: _serves(space, "monitoring.coreos.com"), bool, "the kinds are not served after all"
        )
    yield
    for each in made:
        space.kubectl("delete", "crd", each["metadata"]["name"])


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
async def test_every_object_is_accepted_by_the_server(path: Path, space: Namespace, operator: None) -> None:
    """By its validation and admission, hooks and test pod too; what pods may not do it would warn of."""
    if values_of(path).get("autoscaling", {}).get("by") == "hpa" and not _serves(
        space, "external.metrics.k8s.io"
    ):
        pytest.skip("the cluster has no adapter for external metrics; KEDA is one")
    text = space.helm("template", RELEASE, str(CHART), "-f", str(path), "--validate")
    manifests = [each for each in yaml.safe_load_all(text) if each]
    taken, warnings = space.warned("create", "--dry-run=server", "-o", "name", "-f", "-", given=manifests)
    assert len(taken.splitlines()) == len(manifests)
    assert {each["kind"] for each in manifests} >= {"Deployment", "ServiceAccount", "Pod"}
    assert not warnings


def _serves(space: Namespace, group: str) -> bool:
    """Tell whether the cluster serves a group of resources."""
    return f"{group}/" in space.kubectl("api-versions")


def test_the_namespace_takes_no_pod_that_is_not_restricted(space: Namespace) -> None:
    """Otherwise acceptance would say nothing."""
    root = {"containers": [{"name": "root", "image": "busybox:1"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": root}
    with pytest.raises(RefusedError, match="violates PodSecurity"):
        space.kubectl("create", "--dry-run=server", "-f", "-", given=pod)


def _environment(space: Namespace, service: str) -> dict[str, str]:
    spec = space.get("deployment", f"{RELEASE}-{service}")["spec"]["template"]["spec"]
    return {each["name"]: each.get("value", "") for each in spec["containers"][0]["env"]}


def _history(space: Namespace) -> list[tuple[int, str]]:
    found = yaml.safe_load(space.helm("history", RELEASE, "-o", "yaml"))
    return [(each["revision"], each["status"]) for each in found]


async def test_install_upgrade_rollback_and_uninstall(space: Namespace) -> None:
    """Hooks end, pods get ready, each step changes what it says, and nothing is left in the end."""
    space.release("install", VALUES, "--wait", "--timeout", "120s")
    deployments = {each["metadata"]["name"]: each for each in space.items("deployments")}
    assert set(deployments) == {f"{RELEASE}-{name}" for name in SERVICES}
    for name, each in deployments.items():
        assert each["status"]["readyReplicas"] == each["spec"]["replicas"], name
    assert not space.items("jobs"), "a hook that succeeded is removed"
    first = deployments[f"{RELEASE}-storer"]["spec"]["template"]["metadata"]["annotations"]

    space.release("upgrade", changed(services__storer={"settings": {"BATCH_AGE_S": "3"}}), "--wait")
    assert _environment(space, "storer")["TIDEGATE_STORER__BATCH_AGE_S"] == "3"
    second = space.get("deployment", f"{RELEASE}-storer")["spec"]["template"]["metadata"]["annotations"]
    assert second["checksum/config"] != first["checksum/config"]
    untouched = space.get("deployment", f"{RELEASE}-solver")["metadata"]
    assert untouched["generation"] == deployments[f"{RELEASE}-solver"]["metadata"]["generation"]

    space.helm("rollback", RELEASE, "1", "--wait")
    assert "TIDEGATE_STORER__BATCH_AGE_S" not in _environment(space, "storer")
    assert _history(space) == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

    space.helm("uninstall", RELEASE, "--wait")
    selector = f"app.kubernetes.io/instance={RELEASE}"
    await until(lambda: space.items(KINDS, "-l", selector), lambda found: not found, "left behind")


def test_a_new_password_rolls_those_who_read_it_at_their_start(space: Namespace) -> None:
    """At the next upgrade, for the storer; the solver reads none of it."""
    space.release("install", VALUES)
    before = {name: space.get("deployment", f"{RELEASE}-{name}") for name in ("storer", "solver")}
    space.secrets({"clickhouse": {"password": "another"}})
    held = space.get("secret", "clickhouse")["data"]["password"]
    assert base64.b64decode(held) == b"another"
    space.release("upgrade", VALUES)
    after = {name: space.get("deployment", f"{RELEASE}-{name}") for name in before}
    rolled = {name for name in before if before[name]["spec"] != after[name]["spec"]}
    assert rolled == {"storer"}


async def test_an_upgrade_keeps_the_replicas_that_an_autoscaler_set(space: Namespace) -> None:
    """The chart gives an autoscaled deployment no count: Helm leaves the one that is there."""
    scaled = changed(services__storer={"autoscaling": {"enabled": True, "maxReplicas": 5}})
    space.release("install", scaled)
    await asyncio.to_thread(space.kubectl, "scale", "deployment", f"{RELEASE}-storer", "--replicas=4")
    scaled["services"]["storer"]["settings"] = {"BATCH_AGE_S": "3"}
    space.release("upgrade", scaled)
    assert space.replicas(f"{RELEASE}-storer") == 4


async def test_switching_the_autoscaler_on_keeps_the_replicas_for_good(space: Namespace) -> None:
    """Helm would take away the count that it gave, Kubernetes fill in one, and all others go at once."""
    space.release("install", VALUES)
    fetchers = f"{RELEASE}-fetcher"
    space.kubectl("scale", "deployment", fetchers, "--replicas=4")
    scaled = changed(services__fetcher={"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 5}})
    for pace in ("1", "2"):
        scaled["services"]["fetcher"]["settings"] = {"SITE_CONCURRENCY": pace}
        space.release("upgrade", scaled)
        assert space.replicas(fetchers) == 4
    assert _environment(space, "fetcher")["TIDEGATE_FETCHER__SITE_CONCURRENCY"] == "2"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kafka__prefix": "other-"}, "every job that waits in the topics of now would be left there"),
        ({"kafka__partitions": 3}, "kafka.partitions is lowered from 6 to 3"),
        ({"clickhouse__database": "elsewhere"}, 'clickhouse.database changes from "tidegate" to "elsewhere"'),
        ({"services__fetcher": {"replicas": 9}}, "with 6 partitions the rest would do nothing: lower it"),
        ({"services__fetcher": {"replica": 2}}, "replica"),
        ({"kafka__replication": 1}, "nothing could be produced"),
    ],
    ids=["prefix", "partitions", "database", "replicas", "typo", "in-sync"],
)
def test_a_dangerous_upgrade_changes_nothing(
    change: dict[str, Any], sentence: str, released: Namespace
) -> None:
    """It is refused with a sentence that says why, before a hook has run."""
    before = [each["spec"] for each in released.items("deployments")]
    with pytest.raises(RefusedError) as refusal:
        released.release("upgrade", changed(**change))
    assert sentence in str(refusal.value)
    assert _history(released) == [(1, "deployed")]
    assert [each["spec"] for each in released.items("deployments")] == before


@pytest.fixture(scope="module")
def released(both: Programs) -> Iterator[Namespace]:
    """Yield a namespace with the release in it."""
    with namespace(both) as made:
        made.secrets(SECRETS)
        made.release("install", VALUES)
        yield made


def test_an_install_without_the_operators_kinds_is_refused(space: Namespace) -> None:
    """By name of what is missing, instead of half a release."""
    names = {each["metadata"]["name"] for each in space.items("customresourcedefinitions")}
    if "podmonitors.monitoring.coreos.com" in names:
        pytest.skip("the cluster has the Prometheus operator's kinds")
    with pytest.raises(RefusedError, match="needs the Prometheus operator"):
        space.release("install", changed(telemetry__podMonitor__enabled=True))
    assert not space.items(KINDS, "-l", f"app.kubernetes.io/instance={RELEASE}")
