"""The solver's row: two thousand tasks at a solving service at once, on one core."""

import asyncio
import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

import psutil
from bench.report import RowSpec, Spec
from bench.rig import Rig, cpu_s, put, resident_mb
from support.campaign import get_json
from support.solver import a_request
from tidegate.outcome import Outgoing
from tidegate.records import encode
from tidegate.topics import Topic

TASKS = 2_000
_SECONDS = 8
SPEC = RowSpec(
    name="solver",
    title=f"{TASKS:,} tasks in flight on one core",
    how=f"{TASKS:,} captcha requests, a simulated solving service that takes longer than the measurement, "
    "polled every 5 s as vendors ask for. The service is held to one core; CPU and memory are taken over "
    f"{_SECONDS} s with all tasks in flight.",
    figures=(
        Spec("tasks in flight", "", "higher", must=2_000, aim=10_000),
        Spec("most memory", "MiB", "lower", must=300.0),
        Spec("share of the core", "", "lower", must=1.0),
        Spec("CPU to buy, journal included", "µs/task", "lower"),
    ),
)


def requests() -> Iterator[Outgoing]:
    """Yield the requests of so many jobs."""
    for number in range(TASKS):
        request = a_request(f"job-{number}", lifetime_s=600)
        yield Outgoing(topic=Topic.CAPTCHA_REQUESTS, site=f"site-{number % 64}.test", value=encode(request))


def misbehave(url: str, behaviour: dict[str, object]) -> None:
    """Tell the simulated solving service how to behave."""
    request = Request(f"{url}/control/behaviour", json.dumps(behaviour).encode(), method="POST")
    with urlopen(request, timeout=10) as answer:
        answer.read()


async def in_flight(url: str) -> int:
    """Return how many tasks the solving service works on."""
    stats = await asyncio.to_thread(get_json, f"{url}/control/stats")
    return sum(int(figures["in_flight"]) for figures in stats["vendors"].values())


async def measure(rig: Rig) -> dict[str, float]:
    """Fill it up, and watch."""
    env = {
        "TIDEGATE_RUNTIME__WINDOW": str(TASKS + 200),
        "TIDEGATE_SOLVER__CONCURRENCY": str(TASKS),
        "TIDEGATE_SOLVER__CREATE_RATE": "500",
        "TIDEGATE_SOLVER__CREATE_BURST": "500",
        "TIDEGATE_SOLVER__POLL_FIRST_DELAY_S": "5",
        "TIDEGATE_SOLVER__POLL_INTERVAL_S": "5",
    }
    options = {"services": (("solver", 1),), "simulator": True, "clickhouse_url": "http://127.0.0.1:9"}
    async with rig.stack(env=env, **options) as stack:
        assert stack.simulator_url is not None
        solver = stack.process("solver").pid
        psutil.Process(solver).cpu_affinity([0])
        slow = {"vendor": "*", "latency_ms": 110_000, "spread": 0}
        await asyncio.to_thread(misbehave, stack.simulator_url, slow)
        before = cpu_s(solver)
        await put(stack.bootstrap, stack.settings.kafka.prefix, requests())
        async with asyncio.timeout(90):
            while await in_flight(stack.simulator_url) < TASKS:  # noqa: ASYNC110 -- nor has it an event
                await asyncio.sleep(0.2)  # noqa: TID251 -- real processes, real time
        bought, most = cpu_s(solver), 0.0
        for _ in range(_SECONDS * 4):
            await asyncio.sleep(0.25)  # noqa: TID251 -- real processes, real time
            most = max(most, resident_mb(solver))
        busy = (cpu_s(solver) - bought) / _SECONDS
        flying = await in_flight(stack.simulator_url)
    return {
        "tasks in flight": flying,
        "most memory": most,
        "share of the core": busy,
        "CPU to buy, journal included": (bought - before) / TASKS * 1e6,
    }
