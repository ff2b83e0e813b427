"""Every instance of every service is replaced under load, one by one: how long does a group stand still?

Jobs come at a steady pace, a part of them behind CAPTCHAs. Several times a second it is read how far each
group is. A stall is the longest time in which a group with records before it got no further, as commits tell
it: so a commit interval and a batch's age are in every figure, without any restart.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import clickhouse_connect
import msgspec
from support.campaign import get_json
from support.chaos_jobs import JobStream, Mix
from support.chaos_rig import Rig, chaos_rig
from support.kafka import ignore
from support.outages_campaign import SETTINGS, Load
from support.versions import Versions
from tidegate.backlog import KafkaBacklog
from tidegate.clock import SystemClock
from tidegate.errors import BrokerError
from tidegate.topics import LANES, Topic

CLOCK = SystemClock()
RUN = "rolling"
GROUPS: dict[str, tuple[Topic, ...]] = {
    "fetcher": tuple(LANES.values()),
    "solver": (Topic.CAPTCHA_REQUESTS,),
    "storer": (Topic.PAGES,),
}
LIMIT_S = 10.0
_READ_EVERY_S = 0.25
# A stall that the last restart causes is over by then, or too long.
_SETTLED_S = LIMIT_S + 2
_ONLY_PAGES = dict.fromkeys(msgspec.structs.asdict(Mix()), 0.0)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: ``per_second`` jobs, ``protected`` of them behind a CAPTCHA, ``instances`` of each service.

    Restarts begin after ``before_s``, which shows the stalls without any, and are ``apart_s`` apart. Of a
    ``commit`` the services run first, are replaced by this tree's, and these by the commit's again.
    """

    per_second: float = 20.0
    protected: float = 0.3
    instances: int = 3
    before_s: float = 20.0
    apart_s: float = 5.0
    drained_s: float = 60.0
    commit: str | None = None


class Reading(msgspec.Struct, frozen=True):
    """How far a group was at a moment: records done, and whether there were more."""

    at_s: float
    done: int
    waiting: bool


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Stalls are seconds by group, without restarts and during them."""

    submitted: int
    jobs: int
    rows: int
    restarts: int
    stalls_before_s: dict[str, float]
    stalls_s: dict[str, float]

    @property
    def lost(self) -> int:
        """Jobs without an outcome."""
        return self.submitted - self.jobs

    @property
    def duplicates(self) -> int:
        """Outcomes too many in the public view."""
        return self.rows - self.jobs

    @property
    def is_good(self) -> bool:
        """Whether nothing is lost or there twice, and no group stood still for too long."""
        return self.lost == self.duplicates == 0 and max(self.stalls_s.values()) < LIMIT_S


def longest_stall_s(readings: Sequence[Reading]) -> float:
    """Return the longest time between two advances in which there was always something to do.

    What was waiting at a reading without an advance counts from the reading before it.
    """
    longest, since = 0.0, readings[0].at_s if readings else 0.0
    for before, now in pairwise(readings):
        if not before.waiting:
            since = before.at_s
        longest = max(longest, now.at_s - since) if before.waiting else longest
        if now.done > before.done:
            since = now.at_s
    return round(longest, 2)


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> Rolled:
    """Carry it out in an empty folder."""
    versions = Versions(folder / "versions", plan.commit) if plan.commit else None
    if versions:
        versions.choose(other=True)
    settings = {**SETTINGS, **(versions.env if versions else {})}
    async with chaos_rig(folder, nodes=1, emit=ignore, settings=settings, instances=plan.instances) as rig:
        for service in GROUPS:
            for number in range(2, plan.instances + 1):
                await rig.stack.restart(f"{service}-{number}")
        manifest = await asyncio.to_thread(get_json, f"{rig.demo_url}/manifest.json")
        mix = Mix(**{**_ONLY_PAGES, "protected": plan.protected})
        load = Load(rig, iter(JobStream(1, RUN, manifest, rig.sites, mix)), plan.per_second)
        readings: dict[str, list[Reading]] = {group: [] for group in GROUPS}
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(_watch(rig, group, readings[group])) for group in GROUPS]
            loading = tasks.create_task(load.run())
            await CLOCK.sleep(plan.before_s)
            began_s = CLOCK.monotonic()
            if versions:
                versions.choose(other=False)
                # As the chart's hook does before it replaces anything.
                await asyncio.to_thread(_migrate, rig.stack.env)
            restarts = await _replaced(rig, plan, say)
            if versions:
                versions.choose(other=True)
                restarts += await _replaced(rig, plan, say)
            await CLOCK.sleep(_SETTLED_S)
            ended_s = CLOCK.monotonic()
            loading.cancel()
            rows, jobs = await _drained(rig, load, plan.drained_s)
            for task in watching:
                task.cancel()
    return Rolled(
        submitted=load.count,
        jobs=jobs,
        rows=rows,
        restarts=restarts,
        stalls_before_s=_stalls(readings, 0.0, began_s),
        stalls_s=_stalls(readings, began_s, ended_s),
    )


async def _replaced(rig: Rig, plan: Plan, say: Callable[[str], None]) -> int:
    """Replace every instance, one after the other; return how many there were."""
    names = [
        service if number == 1 else f"{service}-{number}"
        for service in GROUPS
        for number in range(1, plan.instances + 1)
    ]
    for name in names:
        started_s = CLOCK.monotonic()
        await rig.stack.restart(name)
        say(f"{name} was replaced in {CLOCK.monotonic() - started_s:.1f} s")
        await CLOCK.sleep(plan.apart_s)
    return len(names)


def _stalls(readings: dict[str, list[Reading]], start_s: float, end_s: float) -> dict[str, float]:
    return {
        group: longest_stall_s([each for each in found if start_s <= each.at_s < end_s])
        for group, found in readings.items()
    }


async def _watch(rig: Rig, group: str, readings: list[Reading]) -> None:
    """Read a group's standing until cancelled; a reading that fails is none."""
    backlog = KafkaBacklog(rig.kafka_settings, rig.kafka_settings.partitions)
    try:
        while True:
            try:
                found = [await backlog.read(topic, group) for topic in GROUPS[group]]
            except BrokerError:
                pass
            else:
                done, end = sum(each.done for each in found), sum(each.end for each in found)
                readings.append(Reading(CLOCK.monotonic(), done, end > done))
            await CLOCK.sleep(_READ_EVERY_S)
    finally:
        await backlog.stop()


async def _drained(rig: Rig, load: Load, patience_s: float) -> tuple[int, int]:
    """Wait until every job has an outcome; return the rows of the view, and how many jobs they name."""
    load.flush()
    deadline = CLOCK.monotonic() + patience_s
    while True:
        rows, jobs = await asyncio.to_thread(_outcomes, rig.clickhouse_url)
        if jobs >= load.count or CLOCK.monotonic() > deadline:
            return rows, jobs
        await CLOCK.sleep(1.0)


def _migrate(env: Mapping[str, str]) -> None:
    command = (sys.executable, "-m", "tidegate_storer", "migrate")
    subprocess.run(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, check=True)


def _outcomes(url: str) -> tuple[int, int]:
    client = clickhouse_connect.get_client(dsn=url, username="default", database="tidegate")
    try:
        (row,) = client.query("SELECT count(), uniqExact(run, id) FROM jobs").result_rows
        return int(row[0]), int(row[1])
    finally:
        client.close()
