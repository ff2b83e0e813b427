"""One slow site's flood of jobs beside a thousand other sites, on Apache Kafka: a fetcher and sites, no more.

The other sites get jobs at a steady pace all the time. After a while the slow site's flood is produced; what
the sites wrote down, before and after, says whether the others were held up, and the delay topics say how
often each job of the flood was produced again. Instead of a storer the campaign commits the end of `pages`,
so that no wall of the flow control has a say in it.
"""

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from support.kafka import ignore
from tidegate.clock import SystemClock
from tidegate.records import job_state
from tidegate.settings import KafkaSettings
from tidegate.sites import partition_of
from tidegate.topics import DELAYS, Topic
from tidegate_cli.stack.environment import plain_environment
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.probes import LineReady
from tidegate_cli.stack.processes import Child, ProcessSpec
from tidegate_cli.stack.stack import running_stack
from tidegate_cli.stack.watchman import Watchman

CLOCK = SystemClock()
_SLOW = 0  # the number of the slow site
_DEADLINE_S = 30 * 86_400
_BATCH_BYTES = 500_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: ``flood`` jobs of one site, ``per_second`` jobs of the others in turn.

    ``alone_s`` seconds the others are alone, after ``warm_up_s``; then ``seconds`` the flood is there.
    """

    seconds: float = 600.0
    alone_s: float = 120.0
    warm_up_s: float = 20.0
    flood: int = 1_000_000
    others: int = 1000
    per_second: float = 50.0
    rate: float = 1.0
    partitions: int = 12
    deadline_s: float = _DEADLINE_S


class Visit(msgspec.Struct, frozen=True):
    """One request as a site saw it; ``waited_s`` since its job was produced, of others only."""

    at_s: float
    site: int
    waited_s: float


@asynccontextmanager
async def _sites(plan: Plan, folder: Path) -> AsyncIterator[list[int]]:
    """Run the sites; yield their ports."""
    watchman = Watchman()
    probe = LineReady("port")
    spec = ProcessSpec(
        name="sites",
        command=(
            *(sys.executable, "-m", "support.slots_sites"),
            *("--sites", str(plan.others + 1), "--log", str(folder / "visits.txt")),
        ),
        env={**plain_environment(), **watchman.mark, "PYTHONPATH": os.pathsep.join(sys.path)},
        ready=probe,
    )
    child = Child(spec, folder / "sites.log", CLOCK)
    child.spawn()
    try:
        await child.wait_ready()
        ports: Any = probe.find(child.log_path, 0)
        yield ports
    finally:
        await child.stop()
        watchman.dismiss()


def _partition(port: int, plan: Plan) -> int:
    return partition_of(f"{HOST}:{port}".encode(), plan.partitions)


async def _flood(kafka: KafkaSettings, port: int, plan: Plan) -> None:
    """Put the flood onto the normal lane, in large batches."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, max_batch_size=2 * _BATCH_BYTES, max_request_size=1 << 22
    )
    await producer.start()
    topic, site = kafka.prefix + Topic.URLS, f"{HOST}:{port}"
    partition, number = _partition(port, plan), 0
    try:
        while number < plan.flood:
            batch = producer.create_batch()
            while number < plan.flood:
                job = f'{{"url":"http://{site}/{number}","id":"{number}","deadline":{plan.deadline_s:.0f}}}'
                if batch.append(key=site.encode(), value=job.encode(), timestamp=None) is None:
                    break
                number += 1
            batch.close()
            await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


async def _offer(kafka: KafkaSettings, ports: list[int], plan: Plan, stop: asyncio.Event) -> int:
    """Produce jobs of the other sites at a pace, each with its moment in the path; return how many."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=5)
    await producer.start()
    began, count = CLOCK.monotonic(), 0
    try:
        while not stop.is_set():
            due = int((CLOCK.monotonic() - began) * plan.per_second)
            for number in range(count, due):
                port = ports[number % len(ports)]
                await producer.send(
                    kafka.prefix + Topic.URLS,
                    f"http://{HOST}:{port}/{CLOCK.wall_ms()}".encode(),
                    key=f"{HOST}:{port}".encode(),
                    partition=_partition(port, plan),
                )
            count = max(count, due)
            await CLOCK.sleep(0.02)
    finally:
        await producer.stop()
    return count


async def _store(kafka: KafkaSettings) -> None:
    """Commit the end of `pages` for the storer, until cancelled."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=kafka.prefix + "storer", enable_auto_commit=False
    )
    await consumer.start()
    parts = [TopicPartition(kafka.prefix + Topic.PAGES, number) for number in range(kafka.partitions)]
    consumer.assign(parts)
    try:
        while True:
            await consumer.commit(dict(await consumer.end_offsets(parts)))
            await CLOCK.sleep(0.5)
    finally:
        await consumer.stop()


async def _again(kafka: KafkaSettings, site: str) -> Counter[str]:
    """Count the records of each job of a site on all delay topics."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20
    )
    await consumer.start()
    number = partition_of(site.encode(), kafka.partitions)
    parts = [TopicPartition(kafka.prefix + topic, number) for topic in DELAYS]
    consumer.assign(parts)
    counts: Counter[str] = Counter()
    try:
        ends = await consumer.end_offsets(parts)
        left = parts
        while left := [part for part in left if await consumer.position(part) < ends[part]]:
            for records in (await consumer.getmany(*left, timeout_ms=500, max_records=10_000)).values():
                for record in records:
                    state = job_state(dict(record.headers))
                    if state is not None and state.site == site:
                        counts[state.id] += 1
    finally:
        await consumer.stop()
    return counts


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Carry it out in an empty folder; return the figures."""
    async with _sites(plan, folder) as ports:
        options = StackOptions(
            data_dir=folder / "stack",
            broker="kafka",
            clickhouse_url=f"http://{HOST}:9",  # nobody asks it
            services=(("fetcher", 1),),
            partitions=plan.partitions,
            env={
                "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
                "TIDEGATE_FETCHER__ROBOTS": "ignore",
                "TIDEGATE_FETCHER__SITE_RATE": str(plan.rate),
            },
        )
        async with running_stack(options, ignore) as stack, asyncio.TaskGroup() as tasks:
            kafka, stop = stack.settings.kafka, asyncio.Event()
            storing = tasks.create_task(_store(kafka))
            offering = tasks.create_task(_offer(kafka, ports[1:], plan, stop))
            await CLOCK.sleep(plan.warm_up_s)
            began_s = CLOCK.wall_ms() / 1000
            say(f"{plan.others} sites, {plan.per_second:g} jobs a second, alone")
            await CLOCK.sleep(plan.alone_s)
            flooded_s = CLOCK.wall_ms() / 1000
            say(f"now {plan.flood} jobs of one more site, {plan.rate:g} a second")
            await _flood(kafka, ports[_SLOW], plan)
            say(f"all of them are queued after {CLOCK.wall_ms() / 1000 - flooded_s:.0f} s")
            read_s = await _until_read(kafka, ports[_SLOW], plan, flooded_s)
            say(f"read for the first time after {read_s:.0f} s")
            await CLOCK.sleep(max(0.0, flooded_s + plan.seconds - CLOCK.wall_ms() / 1000))
            ended_s = CLOCK.wall_ms() / 1000
            stop.set()
            await offering
            await CLOCK.sleep(3.0)
            counts = await _again(kafka, f"{HOST}:{ports[_SLOW]}")
            storing.cancel()
    visits = _visits(folder / "visits.txt")
    moments = (began_s, flooded_s, ended_s)
    ours = _partition(ports[_SLOW], plan)
    near = {number for number, port in enumerate(ports) if _partition(port, plan) == ours}
    return {
        "flood": plan.flood,
        "others": plan.others,
        "minutes": round((ended_s - flooded_s) / 60, 1),
        "read_s": round(read_s, 1),
        "read_per_s": round(plan.flood / max(read_s, 0.1)),
        **_slow_figures(visits, flooded_s, ended_s),
        "deferred": len(counts),
        "produced_again_most": max(counts.values(), default=0),
        "produced_again_mean": round(fmean(counts.values()), 2) if counts else 0.0,
        **_figures("others", [visit for visit in visits if visit.site != _SLOW], moments),
        **_figures("elsewhere", [visit for visit in visits if visit.site not in near], moments),
        **_figures("neighbours", [visit for visit in visits if visit.site in near - {_SLOW}], moments),
    }


async def _until_read(kafka: KafkaSettings, port: int, plan: Plan, began_s: float) -> float:
    """Wait until the group has committed the flood's partition to its end; return the seconds it took."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=kafka.prefix + "fetcher", enable_auto_commit=False
    )
    await consumer.start()
    part = TopicPartition(kafka.prefix + Topic.URLS, _partition(port, plan))
    consumer.assign([part])
    try:
        while (now_s := CLOCK.wall_ms() / 1000) < began_s + plan.seconds:
            committed = await consumer.committed(part) or 0
            if (await consumer.end_offsets([part]))[part] - committed < 100:
                break
            await CLOCK.sleep(1.0)
        return now_s - began_s
    finally:
        await consumer.stop()


def _visits(path: Path) -> list[Visit]:
    visits = []
    for line in path.read_text().splitlines():
        at_ms, site, sent = line.split(" ")
        at_s = int(at_ms) / 1000
        visits.append(Visit(at_s, int(site), 0.0 if int(site) == _SLOW else at_s - int(sent) / 1000))
    return visits


def _slow_figures(visits: list[Visit], flooded_s: float, ended_s: float) -> dict[str, float]:
    """How often the slow site was asked, and the shortest time from one request to the next."""
    times = [visit.at_s for visit in visits if visit.site == _SLOW and visit.at_s < ended_s]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return {
        "slow_requests": len(times),
        "slow_per_s": round(len(times) / (ended_s - flooded_s), 3),
        "slow_shortest_gap_s": round(min(gaps, default=0.0), 3),
    }


def _figures(name: str, visits: list[Visit], moments: tuple[float, float, float]) -> dict[str, float]:
    """Pages a second and the 95th percentile of the way from producer to site, without and with the flood."""
    began_s, flooded_s, ended_s = moments
    alone = [visit for visit in visits if began_s <= visit.at_s < flooded_s]
    beside = [visit for visit in visits if flooded_s <= visit.at_s < ended_s]
    rates = len(alone) / (flooded_s - began_s), len(beside) / (ended_s - flooded_s)
    return {
        f"{name}_per_s_alone": round(rates[0], 2),
        f"{name}_per_s_beside": round(rates[1], 2),
        f"{name}_ratio": round(rates[1] / rates[0], 3) if rates[0] else 0.0,
        f"{name}_p95_s_alone": _p95(alone),
        f"{name}_p95_s_beside": _p95(beside),
    }


def _p95(visits: list[Visit]) -> float:
    waits = [visit.waited_s for visit in visits]
    return round(quantiles(waits, n=20)[-1], 3) if len(waits) > 1 else 0.0
