"""The proof of the walls: a solver that gets ten times what it can take, beside a million clean URLs.

A stack runs; the clean URLs are queued while no fetcher runs. Their rate is measured alone, then with the
challenged jobs that a producer adds at a pace; memory and lags are sampled all the time. At the end the
solving service's charges are held against the life of each captcha request.
"""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import psutil
from aiokafka import AIOKafkaProducer
from support.campaign import get_json
from support.kafka import ignore
from tidegate.backlog import KafkaBacklog
from tidegate.captcha_records import CaptchaRequest
from tidegate.clock import SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.errors import BrokerError
from tidegate.records import decoder
from tidegate.settings import KafkaSettings
from tidegate.sites import partition_of
from tidegate.topics import Topic
from tidegate_cli.simulator.__main__ import read_charges
from tidegate_cli.simulator.charges import Charge
from tidegate_cli.stack.environment import plain_environment
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.probes import LineReady
from tidegate_cli.stack.processes import Child, ProcessSpec
from tidegate_cli.stack.stack import Stack, running_stack
from tidegate_cli.stack.watchman import Watchman

CLOCK = SystemClock()
SERVICES = ("fetcher", "solver", "storer")
_REQUEST = decoder(CaptchaRequest)
_BATCH_BYTES = 500_000
_MIB = 1 << 20


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. The fetcher's window and ``delay_s`` make the clean sites' rate, not the machine.

    ``settle_s`` is what the stack gets to run in, before anything is measured; ``marks`` are the two of the
    lag of captcha-requests.
    """

    broker: str = "kafka"
    queued: int = 1_000_000
    seconds: float = 600.0
    baseline_s: float = 60.0
    settle_s: float = 30.0
    offered_per_s: float = 100.0
    solver_per_s: float = 10.0
    clean_sites: int = 200
    challenged_sites: int = 16
    delay_s: float = 2.0
    partitions: int = 12
    lifetime_s: float = 120.0
    marks: tuple[int, int] = (100, 1000)
    env: dict[str, str] = {}


class Sample(msgspec.Struct, frozen=True):
    """One second: counts of the sites, lags in records, bytes held by each service."""

    at_s: float
    clean: int
    requests: int
    pages: int
    memory: dict[str, int]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign saw. ``late`` are charges for requests whose life was over, or that nobody made."""

    plan: Plan
    baseline: list[Sample]
    loaded: list[Sample]
    offered: int
    held: int
    opened: int
    charges: int
    late: list[str]
    dead: int


@asynccontextmanager
async def sites(
    clean: int, challenged: int, delay_s: float, folder: Path
) -> AsyncIterator[dict[str, list[int]]]:
    """Run so many sites of each kind; yield their ports by kind."""
    watchman = Watchman()
    probe = LineReady("port")
    counts = ("--clean", clean, "--challenged", challenged, "--delay-s", delay_s)
    spec = ProcessSpec(
        name="sites",
        command=(sys.executable, "-m", "support.walls_sites", *map(str, counts)),
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


async def queue_up(kafka: KafkaSettings, ports: list[int], count: int) -> None:
    """Put URLs of the clean sites onto the low lane, in large batches; each has its own path."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, max_batch_size=2 * _BATCH_BYTES, max_request_size=1 << 22
    )
    await producer.start()
    topic = kafka.prefix + Topic.URLS_LOW
    by_partition: dict[int, list[int]] = defaultdict(list)
    for port in ports:
        by_partition[partition_of(f"{HOST}:{port}".encode(), kafka.partitions)].append(port)
    each, more = divmod(count, len(by_partition))
    left = {partition: each + (turn < more) for turn, partition in enumerate(by_partition)}
    try:
        while left:
            sending = []
            for partition in list(left):
                batch, its = producer.create_batch(), by_partition[partition]
                while left[partition]:
                    number = left[partition]
                    site = f"{HOST}:{its[number % len(its)]}"
                    url = f"http://{site}/{number}".encode()
                    if batch.append(key=site.encode(), value=url, timestamp=None) is None:
                        break
                    left[partition] -= 1
                if not left[partition]:
                    del left[partition]
                batch.close()
                sending.append(await producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*sending)
    finally:
        await producer.stop()


async def offer(kafka: KafkaSettings, ports: list[int], per_second: float, stop: asyncio.Event) -> int:
    """Produce jobs of the challenged sites onto the normal lane at a pace; return how many."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=20)
    await producer.start()
    began, count = CLOCK.monotonic(), 0
    try:
        while not stop.is_set():
            due = int((CLOCK.monotonic() - began) * per_second)
            for number in range(count, due):
                site = f"{HOST}:{ports[number % len(ports)]}"
                await producer.send(
                    kafka.prefix + Topic.URLS,
                    f"http://{site}/c/{number}".encode(),
                    key=site.encode(),
                    partition=partition_of(site.encode(), kafka.partitions),
                )
            count = max(count, due)
            await CLOCK.sleep(0.05)
    finally:
        await producer.stop()
    return count


def resident(stack: Stack, service: str) -> int:
    """Return the bytes that a service holds, with what it started."""
    process = psutil.Process(stack.process(service).pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


class _Sampler:
    def __init__(self, stack: Stack, control: int) -> None:
        self._stack = stack
        self._control = f"http://{HOST}:{control}/count"
        kafka = stack.settings.kafka
        self._backlog = KafkaBacklog(kafka, kafka.partitions)

    async def watch(self, seconds: float) -> list[Sample]:
        """Sample once a second."""
        began, samples = CLOCK.monotonic(), list[Sample]()
        while (now := CLOCK.monotonic()) - began < seconds:
            samples.append(await self.sample())
            await CLOCK.sleep(max(0.0, 1.0 - (CLOCK.monotonic() - now)))
        return samples

    async def sample(self) -> Sample:
        counts = await asyncio.to_thread(get_json, self._control)
        return Sample(
            CLOCK.monotonic(),
            counts["clean"],
            await self.lag(Topic.CAPTCHA_REQUESTS, "solver"),
            await self.lag(Topic.PAGES, "storer"),
            {service: resident(self._stack, service) for service in SERVICES},
        )

    async def lag(self, topic: Topic, group: str) -> int:
        standing = await self._backlog.read(topic, group)
        return standing.end - standing.done

    async def ready(self) -> None:
        """Wait until lags can be read: a fresh broker takes a moment to find its groups' coordinators."""
        while True:
            try:
                await self.sample()
            except BrokerError:
                await CLOCK.sleep(0.5)
            else:
                return

    async def all_looked_at(self, within_s: float = 60.0) -> None:
        """Wait until each challenged job was asked for or put aside: a busy machine lags behind."""
        ends = CLOCK.monotonic() + within_s
        while await self.lag(Topic.URLS, "fetcher") and CLOCK.monotonic() < ends:
            await CLOCK.sleep(0.2)

    async def stop(self) -> None:
        await self._backlog.stop()


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> Measured:
    """Carry a plan out in an empty folder."""
    async with AsyncExitStack() as opened:
        ports = await opened.enter_async_context(
            sites(plan.clean_sites, plan.challenged_sites, plan.delay_s, folder)
        )
        stack = await opened.enter_async_context(running_stack(_options(plan, folder), ignore))
        kafka = stack.settings.kafka
        say("the stack runs")
        await stack.stop("fetcher")
        began = CLOCK.monotonic()
        await queue_up(kafka, ports["clean"], plan.queued)
        say(f"{plan.queued} URLs are queued after {CLOCK.monotonic() - began:.0f} s")
        await stack.restart("fetcher")
        sampler = _Sampler(stack, ports["control"][0])
        opened.push_async_callback(sampler.stop)
        await sampler.ready()
        await CLOCK.sleep(plan.settle_s)
        baseline = await sampler.watch(plan.baseline_s)
        say(f"clean sites alone: {rate(baseline):.1f} pages/s; now {plan.offered_per_s:g} challenged jobs/s")
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            offering = tasks.create_task(offer(kafka, ports["challenged"], plan.offered_per_s, stop))
            loaded = await sampler.watch(plan.seconds)
            stop.set()
        await sampler.all_looked_at()
        held = await sampler.lag(Topic.HELD, "fetcher")
        dead = await sampler.lag(Topic.DEAD_LETTER, "nobody")
        counts = await asyncio.to_thread(get_json, f"http://{HOST}:{ports['control'][0]}/count")
        charges = read_charges(stack.data_dir / "simulator" / "charges.jsonl")
        requests = await _requests(kafka)
    return Measured(
        plan=plan,
        baseline=baseline,
        loaded=loaded,
        offered=offering.result(),
        held=held,
        opened=counts["opened"],
        charges=len(charges),
        late=late(charges, requests),
        dead=dead,
    )


def _options(plan: Plan, folder: Path) -> StackOptions:
    return StackOptions(
        data_dir=folder / "stack",
        broker=plan.broker,
        simulator=True,
        partitions=plan.partitions,
        start_timeout_s=120.0,
        env={
            "TIDEGATE_TELEMETRY__LOG_LEVEL": "warning",
            "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
            "TIDEGATE_FETCHER__ROBOTS": "ignore",
            "TIDEGATE_FETCHER__SOLVE_HOSTS": HOST,
            "TIDEGATE_FETCHER__CAPTCHA_LIFETIME_S": str(plan.lifetime_s),
            "TIDEGATE_FETCHER__GATE_REQUESTS_LOW": str(plan.marks[0]),
            "TIDEGATE_FETCHER__GATE_REQUESTS_HIGH": str(plan.marks[1]),
            "TIDEGATE_SOLVER__CREATE_RATE": str(plan.solver_per_s),
            "TIDEGATE_SOLVER__CREATE_BURST": str(max(1.0, plan.solver_per_s)),
            **plan.env,
        },
    )


async def _requests(kafka: KafkaSettings) -> dict[str, list[tuple[int, float]]]:
    """Return append time and lifetime of all captcha requests, by the page they are for."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    reader = KafkaReader(kafka)
    for partition in range(kafka.partitions):
        async for record in reader.read(Topic.CAPTCHA_REQUESTS, partition):
            request = _REQUEST.decode(record.value)
            found[request.challenge.page_url].append((record.timestamp_ms, request.lifetime_s))
    return found


def late(charges: tuple[Charge, ...], requests: dict[str, list[tuple[int, float]]]) -> list[str]:
    """Name the charges that fall into the life of no request for their page."""
    return [
        f"{charge.url} at {charge.time_ms}"
        for charge in charges
        if not any(
            made_ms <= charge.time_ms <= made_ms + lives_s * 1000
            for made_ms, lives_s in requests.get(charge.url, ())
        )
    ]


def rate(samples: list[Sample]) -> float:
    """Return clean pages a second."""
    first, last = samples[0], samples[-1]
    return (last.clean - first.clean) / (last.at_s - first.at_s)


def slope(points: list[tuple[float, float]]) -> float:
    """Return the least-squares slope."""
    x, y = fmean(point[0] for point in points), fmean(point[1] for point in points)
    spread = sum((point[0] - x) ** 2 for point in points)
    return sum((point[0] - x) * (point[1] - y) for point in points) / spread if spread else 0.0


def report(measured: Measured, warm_up_s: float) -> dict[str, Any]:
    """Return the figures; memory's slope is that of the loaded phase after ``warm_up_s``, in MiB a minute."""
    loaded, plan = measured.loaded, measured.plan
    warm = [sample for sample in loaded if sample.at_s - loaded[0].at_s >= warm_up_s] or loaded
    every = (*measured.baseline, *loaded)
    memory = {
        service: {
            "most_mib": round(max(sample.memory[service] for sample in every) / _MIB, 1),
            "mib_per_min": round(
                slope([(sample.at_s / 60, sample.memory[service] / _MIB) for sample in warm]), 2
            ),
        }
        for service in SERVICES
    }
    base, with_challenges = rate(measured.baseline), rate(loaded)
    return {
        "broker": plan.broker,
        "queued": plan.queued,
        "seconds": plan.seconds,
        "offered": measured.offered,
        "bought": measured.charges,
        "bought_per_s": round(measured.charges / plan.seconds, 2),
        "bought_late": len(measured.late),
        "opened": measured.opened,
        "held": measured.held,
        "dead_letters": measured.dead,
        "clean_per_s": round(base, 1),
        "clean_per_s_beside": round(with_challenges, 1),
        "clean_ratio": round(with_challenges / base, 3) if base else 0.0,
        "lag_marks": list(plan.marks),
        "lag_most": max(sample.requests for sample in loaded),
        "lag_late_mean": round(fmean(sample.requests for sample in warm), 1),
        "pages_lag_most": max(sample.pages for sample in every),
        # Of the whole machine: above its cores, the rates are the machine's and not the walls'.
        "load_average": round(os.getloadavg()[1], 1),
        "cores": os.cpu_count(),
        "memory": memory,
    }


def problems(figures: dict[str, Any]) -> list[str]:
    """Name every promise that the figures break, in sentences."""
    found = []
    if figures["clean_ratio"] < 0.9:
        found.append(f"clean sites keep {figures['clean_ratio']:.0%} of their rate, not 90 %")
    if figures["lag_most"] > figures["lag_marks"][1]:
        found.append(f"{figures['lag_most']} captcha requests waited, above the mark")
    if figures["bought_late"]:
        found.append(f"{figures['bought_late']} requests were bought after their deadline")
    if not figures["bought"]:
        found.append("nothing was bought at all")
    for service, held in figures["memory"].items():
        if held["most_mib"] > 300:
            found.append(f"the {service} held {held['most_mib']} MiB, not 300")
        if held["mib_per_min"] > 1.0:
            found.append(f"the {service} grew by {held['mib_per_min']} MiB a minute, not 1")
    return found
