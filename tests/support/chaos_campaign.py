"""A chaos campaign: start, submit, break, heal, let the dust settle, judge."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from support.campaign import get_json
from support.chaos_evidence import gather
from support.chaos_faults import Executor
from support.chaos_jobs import JobStream, Submission
from support.chaos_rig import Rig, chaos_rig
from support.chaos_schedule import SERVICES, schedule
from support.chaos_verdict import Judgement, judged
from tidegate.clock import SystemClock
from tidegate.errors import BrokerError, RecordError
from tidegate.events import Event
from tidegate.settings import KafkaSettings
from tidegate.sites import partition_of, site_of
from tidegate_cli.lag import read_lag
from tidegate_cli.stack.events import ProcessDied

CLOCK = SystemClock()
RUN = "chaos"
_IN_FLIGHT = 500
_SHOWN = 20


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: ``per_second`` jobs for ``minutes``; then ``settle_s`` at most until all is done."""

    seed: int
    minutes: float = 1.0
    nodes: int = 1
    per_second: float = 20.0
    settle_s: float = 900.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: ``report`` is the last line, ``problems`` what is wrong in sentences."""

    report: dict[str, Any]
    problems: tuple[str, ...]


async def run_campaign(campaign: Campaign, folder: Path, say: Callable[[str], None]) -> Result:
    """Carry a campaign out in an empty folder."""
    faults = schedule(campaign.seed, minutes=campaign.minutes, nodes=campaign.nodes)
    deaths: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, ProcessDied):
            deaths.append(f"{event.name} ended by itself with {event.exit_code}: {event.log_tail[-600:]}")

    began_s = CLOCK.monotonic()
    async with chaos_rig(folder, nodes=campaign.nodes, emit=emit) as rig:
        manifest = await asyncio.to_thread(get_json, f"{rig.demo_url}/manifest.json")
        say(f"everything runs after {CLOCK.monotonic() - began_s:.1f} s")
        executor = Executor(rig, say)
        stream = JobStream(campaign.seed, RUN, manifest, rig.sites)
        submitter = _Submitter(rig.kafka_settings, iter(stream))
        memory: dict[str, int] = {}
        end_s = campaign.minutes * 60
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(_watch_memory(rig, memory))
            stop = asyncio.Event()
            submitting = tasks.create_task(submitter.run(campaign.per_second, stop))
            await executor.carry_out(faults, end_s=end_s)
            stop.set()
            say("the schedule has ended; healing")
            await executor.heal()
            await submitting
            healed_s = CLOCK.monotonic()
            ids = {each.id for each in submitter.submitted if each.id is not None}
            left = await _settled(rig, len(ids), campaign.settle_s, say)
            settled_s = CLOCK.monotonic() - healed_s
            watcher.cancel()
        manifest = await asyncio.to_thread(get_json, f"{rig.demo_url}/manifest.json")
        evidence = await gather(rig, RUN)
    judgement = judged(submitter.submitted, evidence, manifest)
    problems = [*_sentences(judgement), *(f"not done in time: {each}" for each in left)]
    verdict = judgement.verdict
    report = {
        "seed": campaign.seed,
        "nodes": campaign.nodes,
        "minutes": campaign.minutes,
        "faults": executor.done.total(),
        "planned": len(faults),
        "submitted": verdict.submitted,
        "pages": verdict.pages,
        "dead_letters": verdict.dead_letters,
        "lost": len(verdict.lost),
        "duplicates": len(verdict.duplicates),
        "invented": len(verdict.invented),
        "altered": len(verdict.altered),
        "unexpected": len(judgement.unexpected),
        "overcharged": len(judgement.money),
        "unfinished": len(left),
        "kills": dict(sorted(executor.kills.items())),
        "deaths": len(deaths),
        **judgement.figures,
        "settled_s": round(settled_s, 1),
        "memory_mib": {name: size >> 20 for name, size in sorted(memory.items())},
        "good": not problems,
    }
    for note in (*executor.notes, *deaths):
        say(f"note: {note}")
    return Result(report=report, problems=tuple(problems))


def _sentences(judgement: Judgement) -> Iterator[str]:
    verdict = judgement.verdict
    for name in ("lost", "duplicates", "invented", "altered"):
        ids = getattr(verdict, name)
        if ids:
            yield f"{name}: {len(ids)}, such as {', '.join(ids[:_SHOWN])}"
    yield from judgement.unexpected[:_SHOWN]
    yield from judgement.money[:_SHOWN]


class _Submitter:
    """Produces the stream at a pace, each record until it is acknowledged.

    It is not idempotent: a record may stand in the log twice, as with any producer, and is one job.
    """

    def __init__(self, settings: KafkaSettings, stream: Iterator[Submission]) -> None:
        self._settings = settings
        self._stream = stream
        self.submitted: list[Submission] = []

    async def run(self, per_second: float, stop: asyncio.Event) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap, acks="all", request_timeout_ms=10_000
        )
        await producer.start()
        places = asyncio.Semaphore(_IN_FLIGHT)
        try:
            async with asyncio.TaskGroup() as tasks:
                while not stop.is_set():
                    await places.acquire()
                    submission = next(self._stream)
                    self.submitted.append(submission)
                    tasks.create_task(self._one(producer, submission, places))
                    await CLOCK.sleep(1 / per_second)
        finally:
            await producer.stop()

    async def _one(
        self, producer: AIOKafkaProducer, submission: Submission, places: asyncio.Semaphore
    ) -> None:
        key = _key(submission)
        partition = None if key is None else partition_of(key, self._settings.partitions)
        while True:
            try:
                await producer.send_and_wait(
                    self._settings.prefix + submission.topic, submission.value, key=key, partition=partition
                )
            except KafkaError:
                await CLOCK.sleep(0.5)
            else:
                places.release()
                return


def _key(submission: Submission) -> bytes | None:
    """Return the site as a good producer's key; None where it leaves it out or there is none."""
    if not submission.keyed:
        return None
    try:
        return site_of(submission.url).encode()
    except RecordError:
        return None


async def _settled(rig: Rig, jobs: int, within_s: float, say: Callable[[str], None]) -> list[str]:
    """Wait until every job has an outcome and every record is committed; return what is left in the end."""
    until_s = CLOCK.monotonic() + within_s
    left = ["nothing was looked at"]
    told = ""
    while CLOCK.monotonic() < until_s:
        try:
            topics, _ = await read_lag(rig.kafka_settings)
            left = [
                f"{lag} records of {topic.name} by {group}"
                for topic in topics
                for group, lag in topic.lags.items()
                if lag
            ]
            found = await asyncio.to_thread(_jobs, rig.clickhouse_url)
            if found < jobs:
                left.append(f"{jobs - found} jobs without an outcome")
        except (BrokerError, OSError) as error:
            left = [repr(error)]
        if not left:
            return []
        if (telling := ", ".join(left)) != told:
            say(f"left: {telling}")
            told = telling
        await CLOCK.sleep(2.0)
    return left


def _jobs(url: str) -> int:
    client = clickhouse_connect.get_client(dsn=url, username="default", database="tidegate")
    rows = client.query("SELECT count() FROM jobs WHERE run = {run:String}", parameters={"run": RUN})
    return int(rows.result_rows[0][0])


async def _watch_memory(rig: Rig, highest: dict[str, int]) -> None:
    """Keep the highest resident size of each service, in bytes."""
    while True:
        for child in rig.stack.processes:
            service = child.name.split("-")[0]
            if service in SERVICES and child.running:
                try:
                    size = psutil.Process(child.pid).memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                highest[service] = max(highest.get(service, 0), size)
        await CLOCK.sleep(1.0)
