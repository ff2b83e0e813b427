"""Keeps 2,000 tasks in flight in one solver for minutes; the last line is JSON. Exits 1 beyond the bounds.

``PYTHONPATH=tests python tests/load/solver_in_flight.py --minutes 10``: one solver, a simulated solving
service that takes a minute for a task, polled every 5 s as vendors ask for, Apache Kafka. Judged are the
CPU (one core), the memory (300 MiB), and that neither grows after the warm-up (1 MiB and 2 % of a core a
minute). It takes more than one core in all: a solver without its share of the machine buys late.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, mean
from urllib.request import Request, urlopen

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from msgspec.structs import replace
from support.campaign import get_json
from support.kafka import ignore, local_kafka
from support.solver import a_request
from tidegate.clock import SystemClock
from tidegate.records import encode
from tidegate.sites import partition_of
from tidegate.topics import Topic
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

PARTITIONS = 12
LATENCY_S = 60.0
SAMPLE_S = 2.0
WARM_UP_S = 150.0
MOST_MIB, MOST_MIB_A_MINUTE, MOST_CORE_A_MINUTE = 300.0, 1.0, 0.02
# So many more have a place: some tasks are solved already and not yet asked after.
_ROOM = 1.1
# So many requests are in hand: those that wait for a place hold memory, too.
_IN_HAND = 1.2
# Answered requests remembered for each partition, 0.8 KB each. The default, 10,000, takes an hour to fill.
JOURNAL_ENTRIES = 200


def behave(url: str, behaviour: dict[str, object]) -> None:
    """Tell the simulated solving service how to behave."""
    request = Request(f"{url}/control/behaviour", json.dumps(behaviour).encode(), method="POST")
    with urlopen(request, timeout=10) as answer:
        answer.read()


@asynccontextmanager
async def stack_of(folder: Path, bootstrap: str, tasks: int) -> AsyncIterator[Stack]:
    """Run one solver and the simulated service on a broker."""
    places = str(int(tasks * _ROOM))
    env = {
        # Both are full before the warm-up ends: what is judged is that nothing grows beyond its bound.
        "TIDEGATE_RUNTIME__WINDOW": str(int(tasks * _IN_HAND)),
        "TIDEGATE_SOLVER__JOURNAL_ENTRIES": str(JOURNAL_ENTRIES),
        "TIDEGATE_SOLVER__CONCURRENCY": places,
        "TIDEGATE_SOLVER__LEAST_CONCURRENCY": places,
        "TIDEGATE_SOLVER__CREATE_RATE": "1000",
        "TIDEGATE_SOLVER__CREATE_BURST": "1000",
        # A busy machine is no reason to mistrust the group.
        "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "45",
        "TIDEGATE_SOLVER__TIME_LIMIT_S": "300",
        "TIDEGATE_SOLVER__POLL_FIRST_DELAY_S": "5",
        "TIDEGATE_SOLVER__POLL_INTERVAL_S": "5",
        "TIDEGATE_TELEMETRY__LOG_LEVEL": "error",
    }
    options = StackOptions(
        data_dir=folder / "stack",
        broker=bootstrap,
        prefix="load.",
        partitions=PARTITIONS,
        services=(("solver", 1),),
        simulator=True,
        clickhouse_url="http://127.0.0.1:9",
        env=env,
    )
    async with running_stack(options, ignore) as stack:
        yield stack


async def feed(bootstrap: str, prefix: str, tasks: int, until_s: float) -> None:
    """Produce so many requests each ``LATENCY_S``, evenly, and a few more than have a place; until then."""
    clock, number = SystemClock(), 0
    began = clock.monotonic()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20)
    await producer.start()
    try:
        while (now := clock.monotonic()) < until_s:
            # A little more than leaves: the rest waits for a place, so that all places are taken. Evenly from
            # the start, because tasks that begin together end together.
            passed = (now - began) / LATENCY_S
            wanted = int(tasks * (_ROOM * passed + min(0.3, passed / 5)))
            for _ in range(wanted - number):
                number += 1
                request, name = a_request(f"job-{number}", lifetime_s=900.0), f"site-{number % 64}.test"
                # The answer goes to the partition of the job's own site, and unread ones hold that one back.
                request = replace(request, state=replace(request.state, site=name))
                site = name.encode()
                await producer.send(
                    prefix + Topic.CAPTCHA_REQUESTS,
                    encode(request),
                    key=site,
                    partition=partition_of(site, PARTITIONS),
                )
            await clock.sleep(0.5)
    finally:
        await producer.stop()


async def read(bootstrap: str, prefix: str) -> None:
    """Take the answers as a fetcher does, or else nothing more would be bought; until cancelled."""
    consumer = AIOKafkaConsumer(
        prefix + Topic.CAPTCHA_SOLUTIONS,
        bootstrap_servers=bootstrap,
        group_id=f"{prefix}fetcher",
        auto_offset_reset="earliest",
        auto_commit_interval_ms=1000,
    )
    await consumer.start()
    try:
        while True:
            await consumer.getmany(timeout_ms=1000)
    finally:
        await consumer.stop()


def waited_s(pid: int) -> float:
    """Return how long a process wanted a core and got none, in seconds; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return 0.0


async def watch(stack: Stack, until_s: float) -> list[tuple[float, float, float, int, float]]:
    """Return (second, CPU seconds, MiB, tasks in flight, seconds without a core) every two seconds."""
    clock, url = SystemClock(), stack.simulator_url
    process = psutil.Process(stack.process("solver").pid)
    rows = []
    while (now := clock.monotonic()) < until_s:
        stats = await asyncio.to_thread(get_json, f"{url}/control/stats")
        flying = sum(int(figures["in_flight"]) for figures in stats["vendors"].values())
        times = process.cpu_times()
        mib, waited = process.memory_info().rss / (1 << 20), waited_s(process.pid)
        rows.append((now, times.user + times.system, mib, flying, waited))
        await clock.sleep(SAMPLE_S)
    return rows


async def run(tasks: int, minutes: float, folder: Path) -> dict[str, float | bool]:
    """Fill it up, keep it full, and say what it took."""
    async with local_kafka(folder / "kafka", 1) as kafka, stack_of(folder, kafka.bootstrap, tasks) as stack:
        assert stack.simulator_url is not None
        slow: dict[str, object] = {"vendor": "*", "latency_ms": LATENCY_S * 1000, "spread": 0.2}
        await asyncio.to_thread(behave, stack.simulator_url, slow)
        until_s = SystemClock().monotonic() + WARM_UP_S + minutes * 60
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(kafka.bootstrap, stack.settings.kafka.prefix))
            group.create_task(feed(kafka.bootstrap, stack.settings.kafka.prefix, tasks, until_s))
            watching = group.create_task(watch(stack, until_s))
            await asyncio.wait([watching])
            reading.cancel()
        charges = await asyncio.to_thread(get_json, f"{stack.simulator_url}/control/charges?limit=1")
    rows = watching.result()
    steady = [row for row in rows if row[0] >= rows[0][0] + WARM_UP_S]
    seconds = [row[0] for row in steady]
    slope, _ = linear_regression(seconds, [row[2] for row in steady])
    shares = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(steady)]
    core_slope, _ = linear_regression(seconds[1:], shares)
    figures: dict[str, float | bool] = {
        "minutes": round((seconds[-1] - seconds[0]) / 60, 1),
        "tasks_in_flight_mean": round(mean(row[3] for row in steady)),
        "tasks_in_flight_least": min(row[3] for row in steady),
        "tasks_bought": charges["total"],
        "share_of_a_core": round((steady[-1][1] - steady[0][1]) / (seconds[-1] - seconds[0]), 3),
        # Where this is near one the solver was held up by the machine: these figures are not its own.
        "waited_for_a_core": round((steady[-1][4] - steady[0][4]) / (seconds[-1] - seconds[0]), 3),
        "most_mib": round(max(row[2] for row in rows), 1),
        "mib_a_minute": round(slope * 60, 2),
        "core_a_minute": round(core_slope * 60, 4),
    }
    good = (
        figures["tasks_in_flight_mean"] >= tasks
        and figures["share_of_a_core"] <= 1.0
        and figures["most_mib"] <= MOST_MIB
        and figures["mib_a_minute"] <= MOST_MIB_A_MINUTE
        and figures["core_a_minute"] <= MOST_CORE_A_MINUTE
    )
    return {**figures, "good": good}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2_000, help="tasks in flight")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, after the warm-up")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-in-flight-") as folder:
        figures = asyncio.run(run(arguments.tasks, arguments.minutes, Path(folder)))
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0 if figures["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
