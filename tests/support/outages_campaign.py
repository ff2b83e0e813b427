"""Something goes away for a minute and comes back: how long until everything flows as before?

Jobs come at a steady pace, well below what the stack can do, with the services' default settings. What is
stored is counted several times a second, straight from ClickHouse. An outage is over when its subject
answers again; the stack has recovered at the first moment from which the next two seconds, and the next five,
bring as many pages a second as came before. What lay waiting meanwhile makes it more, never less.
"""

import asyncio
import signal
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from confluent_kafka import Producer
from support.campaign import get_json
from support.chaos_jobs import JobStream, Mix, Submission
from support.chaos_rig import Rig, chaos_rig, restart_child
from support.faulty_proxy import Kind, NetworkFault
from support.kafka import ignore
from tidegate.clock import SystemClock
from tidegate.sites import partition_of, site_of
from tidegate_cli.stack.ports import HOST

CLOCK = SystemClock()
RUN = "outages"
# How long a recovery may take: the solving service's breaker is open for thirty seconds of its own.
LIMITS_S = {"clickhouse": 15.0, "broker": 15.0, "solving": 45.0}
SUBJECTS = tuple(LIMITS_S)
SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": HOST,
    # Rows are to be seen when they come, not every five seconds.
    "TIDEGATE_STORER__BATCH_AGE_S": "1",
}
_SPAN_S = 5.0
_BEGINNING_S = 2.0
_FULL = 0.95
_COUNTED_EVERY_S = 0.25
_ONLY_PAGES = dict.fromkeys(msgspec.structs.asdict(Mix()), 0.0)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: ``per_second`` jobs, ``protected`` of them behind a CAPTCHA; each outage lasts ``away_s``.

    ``watch_s`` is how long is looked at beyond the time in which a recovery must come.
    """

    subjects: tuple[str, ...] = SUBJECTS
    per_second: float = 20.0
    protected: float = 0.3
    away_s: float = 60.0
    warm_up_s: float = 30.0
    before_s: float = 20.0
    watch_s: float = 60.0


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One outage. ``recovered_s`` from the return to full throughput, None where that never came.

    ``before_per_s`` are pages stored a second before it, ``during_per_s`` those counted in its second half: a
    sign that it was one. ``least_after`` is the least that any span after the recovery brought, as a part of
    what came before.
    """

    subject: str
    before_per_s: float
    during_per_s: float
    recovered_s: float | None
    least_after: float
    limit_s: float

    @property
    def is_good(self) -> bool:
        """Whether it came in time."""
        return self.recovered_s is not None and self.recovered_s <= self.limit_s


class Counts:
    """Pages stored by time; the rate of a span is what came in it, by straight lines between two counts."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.pages: list[int] = []

    def add(self, at_s: float, pages: int) -> None:
        """Take a count."""
        self.times.append(at_s)
        self.pages.append(pages)

    def per_second(self, start_s: float, end_s: float) -> float:
        """Return pages a second in a span."""
        return (self._at(end_s) - self._at(start_s)) / (end_s - start_s)

    def counted(self, start_s: float, end_s: float) -> float:
        """Return pages a second between the first and the last count in a span; 0 with fewer than two."""
        first, last = bisect_left(self.times, start_s), bisect_left(self.times, end_s) - 1
        if last <= first:
            return 0.0
        return (self.pages[last] - self.pages[first]) / (self.times[last] - self.times[first])

    def _at(self, moment: float) -> float:
        after = bisect_left(self.times, moment)
        if after in (0, len(self.times)):
            return float(self.pages[min(after, len(self.times) - 1)])
        start, end = self.times[after - 1], self.times[after]
        part = (moment - start) / (end - start)
        return self.pages[after - 1] + part * (self.pages[after] - self.pages[after - 1])


def judge(
    subject: str, counts: Counts, *, gone_s: float, back_s: float, end_s: float, plan: Plan
) -> Recovery:
    """Say when full throughput was there again."""
    before = counts.per_second(gone_s - plan.before_s, gone_s)
    starts = [back_s + 0.25 * step for step in range(int((end_s - back_s - _SPAN_S) / 0.25) + 1)]
    rates = [counts.per_second(start, start + _SPAN_S) for start in starts]
    first = next(
        (
            place
            for place, (start, rate) in enumerate(zip(starts, rates, strict=True))
            if min(rate, counts.per_second(start, start + _BEGINNING_S)) >= _FULL * before
        ),
        None,
    )
    return Recovery(
        subject=subject,
        before_per_s=round(before, 2),
        during_per_s=round(counts.counted((gone_s + back_s) / 2, back_s), 2),
        recovered_s=None if first is None else round(starts[first] - back_s, 2),
        least_after=0.0 if first is None else round(min(rates[first:]) / before, 2),
        limit_s=LIMITS_S[subject],
    )


class Load:
    """Produces jobs at a pace, by librdkafka: its own return after an outage takes a second, not more."""

    def __init__(self, rig: Rig, stream: Iterator[Submission], per_second: float) -> None:
        self._rig = rig
        self._stream = stream
        self._per_second = per_second
        self.count = 0
        self._producer = Producer(
            {
                "bootstrap.servers": rig.kafka_settings.bootstrap,
                "message.timeout.ms": 600_000,
                "reconnect.backoff.max.ms": 500,
                "linger.ms": 5,
                "log_level": 0,  # of a broker that is away it has nothing new to say
            }
        )

    async def run(self) -> None:
        """Produce until cancelled."""
        kafka = self._rig.kafka_settings
        began_s = CLOCK.monotonic()
        while True:
            due = int((CLOCK.monotonic() - began_s) * self._per_second)
            for _ in range(self.count, due):
                job = next(self._stream)
                key = site_of(job.url).encode()
                self._producer.produce(
                    kafka.prefix + job.topic,
                    job.value,
                    key=key,
                    partition=partition_of(key, kafka.partitions),
                )
                self.count += 1
            self._producer.poll(0)
            await CLOCK.sleep(0.05)

    def flush(self) -> None:
        """Wait until the broker has everything that was produced."""
        self._producer.flush(30)


class _Watch:
    """Counts stored pages, of protected places only or all."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self.all = Counts()
        self.solved = Counts()

    async def run(self) -> None:
        """Count until cancelled; nothing is counted while ClickHouse is away."""
        while True:
            try:
                pages, solved = await asyncio.to_thread(self._count)
            except (ClickHouseError, OSError):
                self._client = None
            else:
                now_s = CLOCK.monotonic()
                self.all.add(now_s, pages)
                self.solved.add(now_s, solved)
            await CLOCK.sleep(_COUNTED_EVERY_S)

    def _count(self) -> tuple[int, int]:
        if self._client is None:
            self._client = clickhouse_connect.get_client(
                dsn=self._url, username="default", database="tidegate", send_receive_timeout=5
            )
        query = "SELECT count(), countIf(challenges > 0) FROM pages_log"
        (row,) = self._client.query(query).result_rows
        return int(row[0]), int(row[1])


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> list[Recovery]:
    """Carry it out in an empty folder."""
    async with chaos_rig(folder, nodes=1, emit=ignore, settings=SETTINGS, instances=1) as rig:
        manifest = await asyncio.to_thread(get_json, f"{rig.demo_url}/manifest.json")
        mix = Mix(**{**_ONLY_PAGES, "protected": plan.protected})
        load = Load(rig, iter(JobStream(1, RUN, manifest, rig.sites, mix)), plan.per_second)
        watch = _Watch(rig.clickhouse_url)
        recoveries = []
        async with asyncio.TaskGroup() as tasks:
            going = [tasks.create_task(load.run()), tasks.create_task(watch.run())]
            await CLOCK.sleep(plan.warm_up_s)
            for subject in plan.subjects:
                await CLOCK.sleep(plan.before_s)
                gone_s = CLOCK.monotonic()
                say(f"{subject} goes away")
                await _OUTAGES[subject](rig, plan.away_s)
                back_s = CLOCK.monotonic()
                say(f"{subject} is back after {back_s - gone_s:.0f} s")
                await CLOCK.sleep(LIMITS_S[subject] + plan.watch_s)
                counts = watch.solved if subject == "solving" else watch.all
                recovery = judge(
                    subject, counts, gone_s=gone_s, back_s=back_s, end_s=CLOCK.monotonic(), plan=plan
                )
                recoveries.append(recovery)
                say(str(recovery))
            for task in going:
                task.cancel()
    return recoveries


async def _without_clickhouse(rig: Rig, away_s: float) -> None:
    rig.clickhouse.send(signal.SIGKILL)
    await CLOCK.sleep(away_s)
    await restart_child(rig.clickhouse)


async def _without_broker(rig: Rig, away_s: float) -> None:
    await rig.kafka.kill(rig.kafka.nodes[0])
    await CLOCK.sleep(away_s)
    await rig.kafka.start_node(rig.kafka.nodes[0])


async def _without_solving(rig: Rig, away_s: float) -> None:
    rig.break_network("solving", NetworkFault(kind=Kind.RESET))
    await CLOCK.sleep(away_s)
    rig.break_network("solving", NetworkFault())


_OUTAGES: dict[str, Callable[[Rig, float], Awaitable[None]]] = {
    "clickhouse": _without_clickhouse,
    "broker": _without_broker,
    "solving": _without_solving,
}


def report(recoveries: list[Recovery]) -> dict[str, Any]:
    """Return the figures by subject."""
    return {each.subject: msgspec.structs.asdict(each) | {"good": each.is_good} for each in recoveries}
