"""KEDA on a cluster reads the lag of real Apache Kafka, and scales by the chart's formulas."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec
import pytest
import pytest_asyncio
from support.chart import Values
from support.cluster import CLOCK, RELEASE, Namespace, namespace, programs, quicken, until
from support.cluster_readings import Lags, Readings, lag_set, serving
from support.kafka import local_kafka
from support.scaling_rows import ROWS, THRESHOLD, WORK, replicas

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]

PARTITIONS, MOST_LAG = 24, 12_000
PREFIX = "team-"
FETCHER, SOLVER, STORER = (f"{RELEASE}-{name}" for name in ("fetcher", "solver", "storer"))
TOPICS = {
    "fetcher": ("urls", "urls-high", "urls-low", "captcha-solutions"),
    "solver": ("captcha-requests",),
    "storer": ("pages", "solves", "dead-letter"),
}
_FINALIZER = "tests.tidegate.example/held"
# The chart's own windows and steps take minutes; what they do is shown by the simulated day.
_AT_ONCE = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 30, "periodSeconds": 15}]}
_CHANGED_S = 120.0
# Long enough for two readings of an autoscaler that takes one each 15 s, as Kubernetes' default is.
_HELD_S = 40.0


class Moment(msgspec.Struct, frozen=True):
    """What was there at a second of the test: fetchers wanted, and pods, the terminating ones too."""

    at_s: float
    what: str
    wanted: int
    pods: int
    terminating: int


class Scaled:
    """A release that KEDA scales, its lags and its readings; every second is recorded."""

    def __init__(self, space: Namespace, lags: Lags, readings: Readings) -> None:
        self.space = space
        self.readings = readings
        self.moments: list[Moment] = []
        self.real_count = True
        self._lags = lags
        self._doing = ""

    async def lag(self, service: str, **lags: int) -> None:
        """Set a service's lags; those that are not named are zero."""
        named = {topic.replace("_", "-"): lag for topic, lag in lags.items()}
        wanted = {f"{PREFIX}{topic}": named.get(topic, 0) for topic in TOPICS[service]}
        await lag_set(self._lags, f"{PREFIX}{service}", wanted)

    def read(self, deployment: str, **readings: float) -> None:
        """Set what Prometheus answers."""
        self.readings.values |= {(deployment, name): value for name, value in readings.items()}

    def doing(self, what: str) -> None:
        """Say what the next moments are about."""
        self._doing = what

    async def watch(self) -> None:
        """Look each second, and tell the readings what is wanted, as kube-state-metrics would."""
        began = CLOCK.monotonic()
        while True:
            wanted = await asyncio.to_thread(self.space.replicas, FETCHER)
            if self.real_count:
                self.read(FETCHER, wanted=wanted)
            pods = await asyncio.to_thread(
                self.space.items, "pods", "-l", "app.kubernetes.io/component=fetcher"
            )
            ending = sum("deletionTimestamp" in each["metadata"] for each in pods)
            at_s = round(CLOCK.monotonic() - began, 1)
            self.moments.append(Moment(at_s, self._doing, wanted, len(pods), ending))
            await CLOCK.sleep(1.0)

    async def becomes(self, deployment: str, count: int) -> None:
        """Wait until so many are wanted."""
        await until(
            lambda: self.space.replicas(deployment), lambda found: found == count, self._doing, _CHANGED_S
        )

    async def stays(self, count: int) -> None:
        """Watch for a while: so many fetchers are wanted all the time."""
        first = len(self.moments)
        await CLOCK.sleep(_HELD_S)
        assert {each.wanted for each in self.moments[first:]} == {count}, self._doing

    def hold_pods(self, *, held: bool) -> None:
        """Let fetchers that are to end stand there as terminating, or let them go."""
        for pod in self.space.items("pods", "-l", "app.kubernetes.io/component=fetcher"):
            patch = {"metadata": {"finalizers": [_FINALIZER] if held else None}}
            self.space.kubectl(
                "patch", "pod", pod["metadata"]["name"], "--type=merge", "-p", json.dumps(patch)
            )

    async def metric(self) -> float:
        """Return what the fetcher's autoscaler would read now."""
        found = await asyncio.to_thread(self.space.get, "hpa", f"keda-hpa-{FETCHER}")
        (metric,) = [each["external"]["metric"] for each in found["spec"]["metrics"]]
        ((key, value),) = metric["selector"]["matchLabels"].items()
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{self.space.name}/{quote(metric['name'])}"
        text = await asyncio.to_thread(
            self.space.kubectl, "get", "--raw", f"{path}?labelSelector={quote(f'{key}={value}', safe='')}"
        )
        (item,) = json.loads(text)["items"]
        quantity: str = item["value"]
        thousands = {"k": 1e3, "m": 1e-3}.get(quantity[-1])
        return float(quantity[:-1]) * thousands if thousands else float(quantity)


def _values(bootstrap: str, prometheus: str) -> Values:
    def scaling(most: int, threshold: int) -> Values:
        return {"enabled": True, "minReplicas": 1, "maxReplicas": most, "lagThreshold": threshold}

    return {
        "kafka": {
            "bootstrap": bootstrap,
            "prefix": PREFIX,
            "securityProtocol": "PLAINTEXT",
            "partitions": PARTITIONS,
            "replication": 1,
            "minInsyncReplicas": 1,
        },
        "clickhouse": {"url": "http://clickhouse:8123"},
        "services": {
            "fetcher": {"autoscaling": {**scaling(21, THRESHOLD), "workPerReplica": WORK}},
            "solver": {"existingSecret": "solver", "autoscaling": scaling(4, 100)},
            "storer": {"autoscaling": scaling(6, 500)},
            "monitor": {"enabled": False},
        },
        "autoscaling": {"prometheusUrl": prometheus, "pollingSeconds": 5},
        "networkPolicy": {"enabled": False},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scaled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scaled]:
    """Yield a release that KEDA scales at once."""
    both = programs()
    readings = Readings()
    async with (
        local_kafka(tmp_path_factory.mktemp("kafka"), 1) as kafka,
        serving(readings) as prometheus,
    ):
        lags = Lags(kafka.bootstrap, PARTITIONS)
        topics = [f"{PREFIX}{topic}" for listed in TOPICS.values() for topic in listed]
        await asyncio.to_thread(lags.fill, dict.fromkeys(topics, 2400) | {f"{PREFIX}urls": MOST_LAG})
        with namespace(both) as space:
            release = Scaled(space, lags, readings)
            for service in TOPICS:
                await release.lag(service)
            space.secrets({"solver": {"api-key": "simulated"}})
            await asyncio.to_thread(space.release, "install", _values(kafka.bootstrap, prometheus))
            readings.learn(space.items("scaledobjects.keda.sh"))
            for name in (FETCHER, SOLVER, STORER):
                await quicken(space, name, _AT_ONCE, _AT_ONCE)
            watching = asyncio.create_task(release.watch())  # noqa: TID251 -- the fixture owns it
            try:
                yield release
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
                release.hold_pods(held=False)
                space.helm("uninstall", RELEASE)
    assert not readings.strangers


async def test_keda_computes_what_the_formula_table_says(scaled: Scaled) -> None:
    """Each row's lag on the broker and its readings in Prometheus: what the autoscaler is told follows."""
    scaled.doing("the formula table")
    scaled.real_count = False
    try:
        for row in ROWS:
            await scaled.lag("fetcher", urls=min(row.lag, MOST_LAG))
            scaled.read(FETCHER, work=row.work, captcha=row.captcha, held=row.held, wanted=row.wanted)
            metric = await scaled.metric()
            assert replicas(metric, row.wanted) == row.expected, (row, metric)
    finally:
        await scaled.lag("fetcher")
        scaled.read(FETCHER, work=0, captcha=0, held=0)
        scaled.real_count = True


async def test_the_brake_holds_through_a_rollout_and_terminating_pods(scaled: Scaled) -> None:
    """What is wanted is held: not what is there, which surging and terminating pods make more."""
    scaled.doing("nothing to do")
    await scaled.becomes(FETCHER, 1)
    scaled.doing("a lag of 1,500")
    await scaled.lag("fetcher", urls=1000, captcha_solutions=500)
    await scaled.becomes(FETCHER, 3)
    scaled.doing("the brake, and a lag of 5,000")
    scaled.read(FETCHER, captcha=0.5)
    await CLOCK.sleep(2.0)
    await scaled.lag("fetcher", urls=5000)
    await scaled.stays(3)
    scaled.doing("the brake, and a rollout whose old pods stay as terminating")
    await asyncio.to_thread(scaled.hold_pods, held=True)
    await asyncio.to_thread(scaled.space.kubectl, "rollout", "restart", "deployment", FETCHER)
    await scaled.stays(3)
    assert scaled.moments[-1].terminating == 3, "the rollout was to leave pods behind"
    scaled.doing("without the brake")
    await asyncio.to_thread(scaled.hold_pods, held=False)
    scaled.read(FETCHER, captcha=0.1)
    await scaled.becomes(FETCHER, 10)
    scaled.doing("a lag of 1,000")
    await until(lambda: scaled.moments[-1].pods, lambda pods: pods == 10, "the pods do not come", _CHANGED_S)
    await asyncio.to_thread(scaled.hold_pods, held=True)
    await scaled.lag("fetcher", urls=1000)
    await scaled.becomes(FETCHER, 2)
    scaled.doing("a wall holds the intake, and 8 of 10 pods are still terminating")
    scaled.read(FETCHER, held=2)
    await CLOCK.sleep(3.0)
    await scaled.lag("fetcher", urls=5000)
    await scaled.stays(2)
    assert scaled.moments[-1].terminating == 8
    scaled.doing("all is done")
    await asyncio.to_thread(scaled.hold_pods, held=False)
    scaled.read(FETCHER, captcha=0, held=0)
    await scaled.lag("fetcher")
    await scaled.becomes(FETCHER, 1)
    before = None
    for moment in scaled.moments:
        now = (moment.what, moment.wanted, moment.terminating)
        if now != before:
            print(json.dumps(msgspec.structs.asdict(moment)))  # noqa: T201 -- for the log of a run
        before = now


async def test_solvers_and_storers_follow_their_lag(scaled: Scaled) -> None:
    """Up by lag, kept by work, down without either."""
    await scaled.lag("solver", captcha_requests=250)
    await scaled.lag("storer", pages=1500, solves=100, dead_letter=400)
    scaled.doing("requests and pages")
    await scaled.becomes(SOLVER, 3)
    await scaled.becomes(STORER, 4)
    await scaled.lag("storer")
    await scaled.lag("solver")
    scaled.doing("work at hand, and no lag")
    scaled.read(STORER, work=950)
    await scaled.becomes(STORER, 2)
    scaled.doing("nothing to do")
    scaled.read(STORER, work=0)
    await scaled.becomes(SOLVER, 1)
    await scaled.becomes(STORER, 1)
