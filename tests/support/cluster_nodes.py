"""What nodes would do: a process of this machine for every pod that a cluster wants of a release.

A pod's specification is read from the cluster and run as ``support.pod`` says; a pod that the cluster ends
gets SIGTERM and its grace period. So the count of processes follows the replicas that an autoscaler sets.
"""

import asyncio
import base64
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from support.chart import Manifest, of_kind, pod_specs
from support.cluster import CLOCK, RELEASE, Namespace
from support.pod import PodProcess, Surroundings, pod_process
from tidegate_cli.stack.ports import PortPool
from tidegate_cli.stack.processes import Child

_LOOKED_EVERY_S = 1.0
_HOOK_S = 120.0


class Run(msgspec.Struct):
    """A pod's process, and what became of it. ``probed`` are the probes that it has passed."""

    pod: PodProcess
    child: Child
    service: str
    probed: frozenset[str] = frozenset()
    killed: bool = False
    ended: bool = False


class Nodes:
    """Runs a release's pods. ``runs`` are all processes there ever were, by the pod's name."""

    def __init__(self, space: Namespace, folder: Path, more: Mapping[str, str]) -> None:
        self._space = space
        self._folder = folder
        self._more = dict(more)
        self._ports = PortPool()
        self._count = itertools.count()
        self.runs: dict[str, Run] = {}

    async def run_hooks(self) -> list[str]:
        """Run what the release's hooks run, one after the other; return their names."""
        text = await asyncio.to_thread(self._space.helm, "get", "hooks", RELEASE)
        hooks = [each for each in yaml.safe_load_all(text) if each]
        specs = pod_specs(list(of_kind(hooks, "Job").values()))
        weights = {
            name: int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
            for name, each in of_kind(hooks, "Job").items()
        }
        around = await self._around()
        for name in sorted(specs, key=weights.__getitem__):
            child = self._child(name, specs[name], around)[1]
            child.spawn()
            assert await child.wait_exit(_HOOK_S), child.describe("does not end")
            assert child.exit_code == 0, child.describe(f"ended with {child.exit_code}")
        return sorted(specs, key=weights.__getitem__)

    def pages(self, service: str) -> dict[str, str]:
        """Return the addresses of the metrics of a service's running processes, by pod."""
        return {
            name: f"http://127.0.0.1:{run.pod.ports['health']}/metrics"
            for name, run in self.runs.items()
            if run.service == service and run.child.running and not run.ended
        }

    async def follow(self) -> None:
        """Start and end processes as pods come and go, until cancelled; then end all."""
        around = await self._around()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    pods = await asyncio.to_thread(self._pods)
                    for name in pods.keys() - self.runs.keys():
                        service = pods[name]["metadata"]["labels"]["app.kubernetes.io/component"]
                        pod, child = self._child(name, pods[name]["spec"], around)
                        self.runs[name] = run = Run(pod, child, service)
                        child.spawn()
                        tasks.create_task(self._probe(run))
                    for name, run in self.runs.items():
                        if name not in pods and not run.ended:
                            run.ended = True
                            tasks.create_task(self._end(run))
                    await CLOCK.sleep(_LOOKED_EVERY_S)
        finally:
            left = [run for run in self.runs.values() if not run.ended]
            await asyncio.gather(*(self._end(run) for run in left))

    def _pods(self) -> dict[str, Manifest]:
        """Return the pods of deployments that are to run."""
        return {
            each["metadata"]["name"]: each
            for each in self._space.items("pods", "-l", f"app.kubernetes.io/instance={RELEASE}")
            if "deletionTimestamp" not in each["metadata"]
            and any(owner["kind"] == "ReplicaSet" for owner in each["metadata"].get("ownerReferences", ()))
        }

    async def _probe(self, run: Run) -> None:
        """Ask the probes as a kubelet does: the first one until it passes, then each of them once."""
        await run.child.wait_ready()
        async with aiohttp.ClientSession() as session:
            for name, url in run.pod.probes.items():
                async with session.get(url) as response:
                    if response.status == 200:
                        run.probed |= {name}

    async def _end(self, run: Run) -> None:
        run.killed = await run.child.stop()
        run.ended = True

    def _child(self, name: str, spec: Manifest, around: Surroundings) -> tuple[PodProcess, Child]:
        folder = self._folder / f"{name}-{next(self._count)}"
        pod = pod_process(name, spec, folder, around, self._ports)
        return pod, Child(pod.process, self._folder / f"{name}.log", CLOCK)

    async def _around(self) -> Surroundings:
        """Return what the namespace holds."""
        secrets = await asyncio.to_thread(self._space.items, "secrets", "--field-selector=type=Opaque")
        maps = await asyncio.to_thread(self._space.items, "configmaps")
        return Surroundings(
            secrets={each["metadata"]["name"]: _decoded(each.get("data", {})) for each in secrets},
            config_maps={each["metadata"]["name"]: each.get("data", {}) for each in maps},
            more=self._more,
        )


def _decoded(data: Mapping[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in data.items()}
