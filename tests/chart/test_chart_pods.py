"""What the chart says is what runs: its pods as processes, on a broker and a database."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.chart import Manifest, of_kind, pod_specs, render
from support.clickhouse import Process
from support.demo_processes import process
from support.kafka import Broker
from support.pod import PodError, PodProcess, Surroundings, pod_process
from tidegate.clock import SystemClock
from tidegate_cli.stack.broker_tansu import SETTINGS
from tidegate_cli.stack.ports import PortPool
from tidegate_cli.stack.processes import Child
from tidegate_cli.stack.watchman import Watchman

pytestmark = [pytest.mark.chart, pytest.mark.timeout(600)]

_SECRETS = {
    "solver": {"api-key": "simulated"},
    "clickhouse": {"password": ""},
    "proxies": {"proxies": "http://127.0.0.1:9"},
    "monitor": {"token": "a-token-of-the-test", "hook": "https://hooks.example.com/x"},
}
_POLICY = '[[host]]\nmatch = ["shop.example"]\nrate = 0.5\n'


def values(bootstrap: str = "kafka:9092", clickhouse: str = "http://clickhouse:8123") -> dict[str, Any]:
    """Return values with every file that a pod may have, but those of a secured Kafka."""
    return {
        "kafka": {
            "bootstrap": bootstrap,
            "prefix": "pods-",
            "securityProtocol": "PLAINTEXT",
            "partitions": 3,
            "replication": 1,
            "minInsyncReplicas": 1,
        },
        "clickhouse": {"url": clickhouse, "existingSecret": "clickhouse"},
        "services": {
            "fetcher": {"policy": _POLICY},
            "solver": {"existingSecret": "solver", "settings": {"PROVIDER": "capmonster"}},
            "monitor": {"existingSecret": "monitor", "webhookKey": "hook"},
        },
        "telemetry": {"podMonitor": {"enabled": True}},
        "networkPolicy": {"enabled": False},
    }


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that the pods' user may pass through, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


class Namespace:
    """Starts pods of one release, and ends them all."""

    def __init__(self, manifests: list[Manifest], folder: Path, more: dict[str, str]) -> None:
        config_maps = {name: each["data"] for name, each in of_kind(manifests, "ConfigMap").items()}
        self._around = Surroundings(secrets=_SECRETS, config_maps=config_maps, more=more)
        self._folder = folder
        self._ports = PortPool()
        self._count = itertools.count()
        self.specs = pod_specs(manifests)
        self.running: dict[str, tuple[PodProcess, Child]] = {}

    def spawn(self, name: str) -> Child:
        """Start a pod."""
        folder = self._folder / f"{name}-{next(self._count)}"
        pod = pod_process(name, self.specs[name], folder, self._around, self._ports)
        child = Child(pod.process, self._folder / f"{name}.log", SystemClock())
        child.spawn()
        self.running[name] = pod, child
        return child

    async def run(self, name: str) -> None:
        """Run a pod that ends."""
        child = self.spawn(name)
        assert await child.wait_exit(60), child.describe("does not end")
        assert child.exit_code == 0, child.describe(f"ended with {child.exit_code}")

    async def stop(self) -> None:
        """End all."""
        for _, child in self.running.values():
            await child.stop()


@pytest.fixture
async def namespace(tansu: Broker, folder: Path) -> AsyncIterator[Namespace]:
    """Yield a release on a broker, a database and a simulated solving service; nothing of it runs yet."""
    watchman = Watchman()
    with ExitStack() as stack:
        clickhouse = Process(folder / "clickhouse")
        stack.callback(clickhouse.stop)
        simulator = stack.enter_context(
            process("tidegate_cli.simulator", "--data", str(folder / "simulator"))
        )
        chosen = values(tansu.bootstrap, f"http://127.0.0.1:{clickhouse.port}")
        chosen["services"]["solver"]["settings"]["BASE_URL"] = f"{simulator}/capmonster"
        release = Namespace(render(chosen), folder, {**SETTINGS, **watchman.mark})
        try:
            yield release
        finally:
            await release.stop()
            watchman.dismiss()


async def test_hooks_run_then_every_service_is_ready_and_the_test_pod_passes(namespace: Namespace) -> None:
    """Commands, variables, files, user, ports and probe paths are those of the rendered pods."""
    for hook in ("demo-topics", "demo-migrate", "demo-topics"):
        await namespace.run(hook)
    services = [f"demo-{name}" for name in ("fetcher", "solver", "storer", "monitor")]
    children = [namespace.spawn(name) for name in services]
    for child in children:
        await child.wait_ready()
    async with aiohttp.ClientSession() as session:
        for name in services:
            pod, _ = namespace.running[name]
            assert set(pod.probes) == {"startupProbe", "livenessProbe", "readinessProbe"}
            asked = {*pod.probes.values(), f"http://127.0.0.1:{pod.ports['health']}/metrics"}
            for url in asked:
                async with session.get(url) as response:
                    assert response.status == 200, url
        monitor, _ = namespace.running["demo-monitor"]
        state = f"http://127.0.0.1:{monitor.ports['page']}/state"
        known = {"Authorization": f"Bearer {_SECRETS['monitor']['token']}"}
        for headers, status in (({}, 401), (known, 200)):
            async with session.get(state, headers=headers) as response:
                assert response.status == status, "the page does not ask for the token of its secret"
    await namespace.run("demo-doctor")
    for child in children:
        assert not await child.stop(), child.describe("had to be killed")
        assert child.exit_code == 0, child.describe(f"ended with {child.exit_code}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda pod: pod["containers"][0]["env"].append({"name": "TIDEGATE_X__FILE", "value": "/etc/x"}),
            "nobody mounts",
        ),
        (lambda pod: pod["containers"][0]["ports"][0].update(containerPort=8091), "nothing listens on 8091"),
        (
            lambda pod: pod["containers"][0]["readinessProbe"]["httpGet"].update(port="page"),
            "does not declare",
        ),
        (lambda pod: pod["volumes"].clear(), "there is no volume tmp"),
        (lambda pod: pod["containers"][0].update(command=["nonsense"]), "no program nonsense"),
        (lambda pod: pod["volumes"][-1]["configMap"].update(name="other"), "there is no other"),
        (lambda pod: pod["securityContext"].update(runAsNonRoot=False), "not restricted"),
    ],
)
def test_a_pod_that_no_cluster_would_start_is_refused(change: Any, why: str, folder: Path) -> None:
    """The helper finds what is wrong, instead of running something else."""
    pod = pod_specs(render(values()))["demo-fetcher"]
    change(pod)
    around = Surroundings(secrets=_SECRETS, config_maps={"demo-policy": {"policy.toml": _POLICY}})
    with pytest.raises(PodError, match=why):
        pod_process("demo-fetcher", pod, folder / "pod", around, PortPool())
