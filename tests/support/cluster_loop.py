"""The loop closed: real services for the replicas that KEDA sets, by the lag that those services leave.

A release runs on a cluster, its pods as processes (``support.cluster_nodes``) on real Apache Kafka and
ClickHouse's endpoint, before sites that take a second for an answer. URLs come at a steady pace, then ten
times as fast for a while, then as before. What is wanted and how far each group is, is recorded every second.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import clickhouse_connect
import msgspec
from aiokafka import AIOKafkaProducer
from support.chart import Values
from support.clickhouse import Process
from support.cluster import CLOCK, RELEASE, Namespace, quicken
from support.cluster_nodes import Nodes
from support.cluster_readings import Readings, serving
from support.cluster_scrapes import Scrapes
from support.kafka import local_kafka
from support.walls_campaign import sites
from tidegate.backlog import KafkaBacklog
from tidegate.errors import BrokerError
from tidegate.settings import KafkaSettings
from tidegate.sites import partition_of
from tidegate.topics import Topic
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.watchman import Watchman

PREFIX = "loop-"
# The chart's own take minutes: what they do is shown by the simulated day.
_UP = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}]}
_DOWN = {"stabilizationWindowSeconds": 30, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}
GROUPS = {"fetcher": Topic.URLS, "storer": Topic.PAGES}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What comes, in URLs a second, and what a fetcher can do: ``window`` at once, each takes ``delay_s``.

    As many slots again are kept for solutions, of which there are none.
    """

    steady_per_s: float = 4.0
    burst_per_s: float = 40.0
    before_s: float = 30.0
    burst_s: float = 45.0
    drained_s: float = 300.0
    after_s: float = 20.0
    window: int = 12
    delay_s: float = 1.0
    sites: int = 48
    partitions: int = 8
    most: int = 4
    lag_threshold: int = 80


class Moment(msgspec.Struct, frozen=True):
    """A second of it: replicas wanted, records not yet done by group, URLs submitted so far."""

    at_s: float
    wanted: dict[str, int]
    lag: dict[str, int]
    submitted: int


class Looped(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. ``burst`` is from when to when; ``drained_s`` counts from the burst's end."""

    plan: Plan
    moments: list[Moment]
    burst: tuple[float, float]
    drained_s: float
    submitted: int
    outcomes: int
    rows: int
    dead: int
    hooks: list[str]
    processes: dict[str, int]
    killed: list[str]
    unprobed: list[str]

    @property
    def lost(self) -> int:
        """URLs that are neither a page nor a dead letter."""
        return self.submitted - self.outcomes - self.dead

    @property
    def duplicates(self) -> int:
        """Pages too many in the public view."""
        return self.rows - self.outcomes

    def steps(self, service: str) -> list[int]:
        """Return how a service's wanted replicas changed, in order."""
        counts = [each.wanted[service] for each in self.moments]
        return [now - before for before, now in pairwise(counts) if now != before]


def values(plan: Plan, bootstrap: str, clickhouse: str, prometheus: str) -> Values:
    """Return the release's values."""
    return {
        "kafka": {
            "bootstrap": bootstrap,
            "prefix": PREFIX,
            "securityProtocol": "PLAINTEXT",
            "partitions": plan.partitions,
            "replication": 1,
            "minInsyncReplicas": 1,
        },
        "clickhouse": {"url": clickhouse},
        "services": {
            "fetcher": {
                "settings": {"ALLOW_PRIVATE": "true", "ROBOTS": "ignore"},
                "extraEnv": [{"name": "TIDEGATE_RUNTIME__WINDOW", "value": str(2 * plan.window)}],
                "autoscaling": {
                    "enabled": True,
                    "minReplicas": 1,
                    "maxReplicas": plan.most,
                    "lagThreshold": plan.lag_threshold,
                    "workPerReplica": plan.window,
                },
            },
            "solver": {"existingSecret": "solver"},
            "storer": {
                "replicas": 1,
                "settings": {"BATCH_AGE_S": "1"},
                "autoscaling": {"enabled": True, "maxReplicas": 2, "lagThreshold": 1000},
            },
            "monitor": {"enabled": False},
        },
        "autoscaling": {"prometheusUrl": prometheus, "pollingSeconds": 5},
        "networkPolicy": {"enabled": False},
    }


class Loop:
    """A running release and what is seen of it."""

    def __init__(self, plan: Plan, space: Namespace, kafka: KafkaSettings, ports: list[int]) -> None:
        self.moments: list[Moment] = []
        self.submitted = 0
        self._plan = plan
        self._space = space
        self._kafka = kafka
        self._ports = ports
        self._per_s = 0.0

    @property
    def lag(self) -> int:
        """Return the fetchers' lag as it was last read."""
        return self.moments[-1].lag["fetcher"] if self.moments else 0

    def pace(self, per_s: float) -> None:
        """Submit so many URLs a second from now on."""
        self._per_s = per_s

    async def submit(self) -> None:
        """Submit URLs, each of them once, until cancelled."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka.bootstrap, linger_ms=20)
        await producer.start()
        due, last = 0.0, CLOCK.monotonic()
        try:
            while True:
                now = CLOCK.monotonic()
                due, last = due + (now - last) * self._per_s, now
                while self.submitted < int(due):
                    site = f"{HOST}:{self._ports[self.submitted % len(self._ports)]}".encode()
                    url = b"http://%s/%d" % (site, self.submitted)
                    partition = partition_of(site, self._kafka.partitions)
                    topic = self._kafka.prefix + Topic.URLS
                    await producer.send(topic, url, key=site, partition=partition)
                    self.submitted += 1
                await CLOCK.sleep(0.05)
        finally:
            await producer.stop()

    async def watch(self, scrapes: Scrapes) -> None:
        """Record every second, and let the readings follow, until cancelled."""
        backlog = KafkaBacklog(self._kafka, self._kafka.partitions)
        began = CLOCK.monotonic()
        try:
            while True:
                found = await asyncio.to_thread(self._space.items, "deployments")
                wanted = {
                    each["metadata"]["name"].removeprefix(f"{RELEASE}-"): each["spec"]["replicas"]
                    for each in found
                }
                await scrapes.once(wanted["fetcher"])
                with contextlib.suppress(BrokerError):
                    lag = {}
                    for group, topic in GROUPS.items():
                        standing = await backlog.read(topic, group)
                        lag[group] = standing.end - standing.done
                    at_s = round(CLOCK.monotonic() - began, 1)
                    self.moments.append(Moment(at_s, wanted, lag, self.submitted))
                await CLOCK.sleep(1.0)
        finally:
            await backlog.stop()


async def run(plan: Plan, space: Namespace, folder: Path, say: Callable[[str], None]) -> Looped:
    """Carry it out in an empty folder that any user may pass through."""
    readings = Readings()
    async with AsyncExitStack() as opened:
        kafka = await opened.enter_async_context(local_kafka(folder / "kafka", 1))
        clickhouse = Process(folder / "clickhouse")
        opened.callback(clickhouse.stop)
        ports = (await opened.enter_async_context(sites(plan.sites, 1, plan.delay_s, folder)))["clean"]
        prometheus = await opened.enter_async_context(serving(readings))
        watchman = Watchman()
        opened.callback(watchman.dismiss)
        space.secrets({"solver": {"api-key": "simulated"}})
        chosen = values(plan, kafka.bootstrap, f"http://{HOST}:{clickhouse.port}", prometheus)
        await asyncio.to_thread(space.release, "install", chosen)
        objects = await asyncio.to_thread(space.items, "scaledobjects.keda.sh")
        readings.learn(objects)
        for name in ("fetcher", "storer"):
            await quicken(space, f"{RELEASE}-{name}", _UP, _DOWN)
        nodes = Nodes(space, folder, watchman.mark)
        hooks = await nodes.run_hooks()
        say(f"installed; the hooks {' and '.join(hooks)} have run")
        settings = KafkaSettings(bootstrap=kafka.bootstrap, prefix=PREFIX, partitions=plan.partitions)
        loop = Loop(plan, space, settings, ports)
        async with _owned(nodes.follow(), loop.watch(Scrapes(nodes, readings))):
            async with _owned(loop.submit()):
                loop.pace(plan.steady_per_s)
                await _until(lambda: loop.lag < plan.steady_per_s * 5 and loop.submitted > 20, plan.drained_s)
                await CLOCK.sleep(plan.before_s)
                began = loop.moments[-1].at_s
                say(f"after {began:.0f} s: {plan.burst_per_s:g} URLs a second")
                loop.pace(plan.burst_per_s)
                await CLOCK.sleep(plan.burst_s)
                ended = loop.moments[-1].at_s
                say(f"after {ended:.0f} s: {plan.steady_per_s:g} URLs a second, a lag of {loop.lag}")
                loop.pace(plan.steady_per_s)
                await _until(lambda: loop.lag <= plan.lag_threshold, plan.drained_s)
                drained = loop.moments[-1].at_s
                say(f"after {drained:.0f} s: drained")
                await _until(lambda: loop.moments[-1].wanted["fetcher"] == 1, plan.drained_s)
                say(f"after {loop.moments[-1].at_s:.0f} s: one fetcher again")
                await CLOCK.sleep(plan.after_s)
            rows, outcomes, dead = await _outcomes(clickhouse.port, loop.submitted)
        runs = nodes.runs
    assert not readings.strangers, readings.strangers
    return Looped(
        plan=plan,
        moments=loop.moments,
        burst=(began, ended),
        drained_s=round(drained - ended, 1),
        submitted=loop.submitted,
        outcomes=outcomes,
        rows=rows,
        dead=dead,
        hooks=hooks,
        processes={
            service: sum(each.service == service for each in runs.values())
            for service in ("fetcher", "solver", "storer")
        },
        killed=[name for name, each in runs.items() if each.killed or each.child.exit_code],
        unprobed=[name for name, each in runs.items() if len(each.probed) < len(each.pod.probes)],
    )


@asynccontextmanager
async def _owned(*coroutines: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run these until the block is left; what they raise is raised."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each) for each in coroutines]
        yield
        for each in running:
            each.cancel()


async def _until(good: Callable[[], bool], timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        while not good():
            await CLOCK.sleep(0.5)


async def _outcomes(port: int, submitted: int) -> tuple[int, int, int]:
    """Wait until every URL has an outcome; return pages, the URLs among them, and dead letters."""
    client = await asyncio.to_thread(
        clickhouse_connect.get_client, dsn=f"http://{HOST}:{port}", username="default", database="tidegate"
    )
    dead = "SELECT countIf(outcome != 'page') FROM jobs"
    query = f"SELECT count(), uniqExact(url), ({dead}) FROM pages"
    try:
        deadline = CLOCK.monotonic() + 60
        while True:
            (row,) = (await asyncio.to_thread(client.query, query)).result_rows
            if row[1] + row[2] >= submitted or CLOCK.monotonic() > deadline:
                return int(row[0]), int(row[1]), int(row[2])
            await CLOCK.sleep(1.0)
    finally:
        client.close()
