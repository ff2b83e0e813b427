"""A Kubernetes cluster for tests: whichever one KUBECONFIG names, by Helm's and Kubernetes' own programs.

``HELM`` and ``KUBECTL`` name the programs where they are not on the PATH. ``TEST_CLUSTER=required`` makes a
missing cluster a failure; otherwise the tests are skipped with the reason. Nothing here knows what the
cluster is: kind, k3d, or a control plane whose nodes are simulated.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pytest
import yaml
from support.chart import CHART, Manifest, Values
from tidegate.clock import SystemClock

T = TypeVar("T")
CLOCK = SystemClock()
RELEASE = "demo"
_CALL_S = 240.0
# What `kubectl get` is asked for to see everything that a release may make.
KINDS = (
    "deployments,jobs,pods,services,serviceaccounts,configmaps,poddisruptionbudgets,networkpolicies,"
    "horizontalpodautoscalers,scaledobjects.keda.sh,triggerauthentications.keda.sh"
)


class RefusedError(Exception):
    """A program ended with an error; the message is what it wrote."""


class Programs(msgspec.Struct, frozen=True):
    """Paths of Helm and kubectl."""

    helm: str
    kubectl: str

    def run(self, *command: str, given: str = "") -> tuple[str, str]:
        """Run one of them; return its output and its warnings. Raises RefusedError."""
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_CALL_S, check=False
        )
        if done.returncode:
            raise RefusedError(done.stderr.strip() or done.stdout.strip())
        return done.stdout, done.stderr


class Namespace:
    """A namespace of its own with restricted pod security enforced, and what a test does in it."""

    def __init__(self, programs: Programs, name: str) -> None:
        self.name = name
        self._programs = programs

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        """Run kubectl in the namespace, with manifests on its input where some are given."""
        return self.warned(*arguments, given=given)[0]

    def warned(self, *arguments: str, given: Any = None) -> tuple[str, str]:
        """Run kubectl; return its output and the server's warnings."""
        text = "" if given is None else yaml.safe_dump_all(given if isinstance(given, list) else [given])
        return self._programs.run(self._programs.kubectl, "-n", self.name, *arguments, given=text)

    def get(self, *arguments: str) -> Manifest:
        """Return what ``kubectl get`` says, as JSON."""
        found: Manifest = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def items(self, *arguments: str) -> list[Manifest]:
        """Return a list of objects."""
        found: list[Manifest] = self.get(*arguments)["items"]
        return found

    def helm(self, *arguments: str) -> str:
        """Run Helm in the namespace."""
        return self._programs.run(self._programs.helm, "-n", self.name, *arguments)[0]

    def release(self, action: str, values: Values, *more: str) -> str:
        """Install or upgrade the release with these values."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(values, file)
            file.flush()
            return self.helm(action, RELEASE, str(CHART), "-f", file.name, *more)

    def replicas(self, deployment: str) -> int:
        """Return how many the deployment wants."""
        return int(self.get("deployment", deployment)["spec"]["replicas"])

    def secrets(self, texts: Mapping[str, Mapping[str, str]]) -> None:
        """Make or change secrets."""
        self.kubectl(
            "apply",
            "-f",
            "-",
            given=[
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(text)}
                for name, text in texts.items()
            ],
        )


def programs() -> Programs:
    """Return the programs, where a cluster answers; skips the test or fails it otherwise."""
    found = {name: shutil.which(os.environ.get(name.upper(), name)) for name in ("helm", "kubectl")}
    missing = [name for name, path in found.items() if path is None]
    if not os.environ.get("KUBECONFIG"):
        _absent("KUBECONFIG names no cluster: kind or k3d make one")
    if missing:
        _absent(f"not on the PATH: {' and '.join(missing)}; {' and '.join(missing).upper()} may name them")
    both = Programs(helm=str(found["helm"]), kubectl=str(found["kubectl"]))
    try:
        both.run(both.kubectl, "get", "--raw", "/readyz", "--request-timeout=10s")
    except RefusedError as error:
        _absent(f"the cluster does not answer: {error}")
    return both


@contextmanager
def namespace(both: Programs) -> Iterator[Namespace]:
    """Yield a namespace, and delete it with all that is in it."""
    space = Namespace(both, f"tidegate-{uuid4().hex[:8]}")
    levels = {f"pod-security.kubernetes.io/{each}": "restricted" for each in ("enforce", "warn", "audit")}
    space.kubectl(
        "create",
        "-f",
        "-",
        given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name, "labels": levels}},
    )
    try:
        yield space
    finally:
        space.kubectl("delete", "namespace", space.name, "--wait=false")


async def until(ask: Callable[[], T], good: Callable[[T], bool], what: str, timeout_s: float = 90.0) -> T:
    """Ask once a second until the answer is good, and return it; fails the test with the last one."""
    deadline = CLOCK.monotonic() + timeout_s
    while not good(answer := await asyncio.to_thread(ask)):
        assert CLOCK.monotonic() < deadline, f"{what}: {answer} after {timeout_s:g} s"
        await CLOCK.sleep(1.0)
    return answer


async def quicken(space: Namespace, deployment: str, up: Values, down: Values) -> None:
    """Give a deployment's autoscaler other windows and steps than the chart's, and wait until it has them."""
    behaviour = {"scaleUp": up, "scaleDown": down}
    patch = {"spec": {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": behaviour}}}}
    space.kubectl("patch", "scaledobject", deployment, "--type=merge", "-p", json.dumps(patch))

    def windows() -> list[int]:
        return [
            each["spec"]["behavior"][which]["stabilizationWindowSeconds"]
            for each in space.items("hpa", "--field-selector", f"metadata.name=keda-hpa-{deployment}")
            for which in behaviour
        ]

    wanted = [each["stabilizationWindowSeconds"] for each in behaviour.values()]
    await until(windows, lambda found: found == wanted, "KEDA makes no such autoscaler")


def _absent(why: str) -> None:
    if os.environ.get("TEST_CLUSTER") == "required":
        raise AssertionError(why)
    pytest.skip(why)
