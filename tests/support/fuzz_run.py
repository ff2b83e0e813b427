"""Malformed records through the services' decoders, as the runtime runs them, and what became of each.

Each service's own ``decode`` reads them inside the real runtime, on a broker in memory. What it reads takes
the first steps that need no network; what it refuses must become a dead letter that the storer can turn into
rows. Accounted for means: each was read or is such a dead letter, and its offset is committed.
"""

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast

import msgspec
from support import fuzz_records
from support.fuzz_seeds import NOW_MS
from support.virtual_time import LoopClock, virtually
from tidegate import records
from tidegate.captcha_records import request_id
from tidegate.clock import BrokerClock
from tidegate.consume.done_set import MAX_METADATA_BYTES, unpack
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.plan import Plan
from tidegate.consume.runtime import Runtime
from tidegate.consume.service import Work
from tidegate.consume.settling import settle
from tidegate.errors import RecordError
from tidegate.outcome import Defer, Done, ErrorClass, Outcome, Reason, Retry
from tidegate.records import Inbound
from tidegate.salvage import unread_job
from tidegate.settings import RuntimeSettings
from tidegate.sites import partition_of
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink, FakeSource
from tidegate.topics import Topic
from tidegate_fetcher import app as fetcher_app
from tidegate_fetcher import requests, tasks
from tidegate_solver import app as solver_app
from tidegate_solver.handler import Solver
from tidegate_solver.journal import Journal
from tidegate_solver.journal_log import restore
from tidegate_storer import app as storer_app
from tidegate_storer.allowance import Allowance
from tidegate_storer.batch import Entry, token
from tidegate_storer.handler import StorerService
from tidegate_storer.parsed import Parsed
from tidegate_storer.parsers import PageInfo
from tidegate_storer.reading import read
from tidegate_storer.rows import dead_writes

PARTITIONS = 2
# A record that takes longer than this to be read or refused would hold its partition.
SLOWEST_S = 2.0
_MOST_JOB_BYTES = 10 << 20
_PATIENCE_S = 600.0


class Tally(msgspec.Struct):
    """What became of the records of one run: counts by service and kind, and crashes with their records."""

    counts: dict[str, int] = {}
    crashes: list[str] = []
    slowest_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take another run's counts in."""
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.crashes += other.crashes[: 20 - len(self.crashes)]
        self.slowest_s = max(self.slowest_s, other.slowest_s)


class Subject:
    """A service as far as it can go without a network: it reads, and takes the first steps."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.name = name
        self.plan = plan
        self.seen: set[tuple[str, int, int]] = set()
        self.read = 0
        self.refused = 0
        self.crashes: list[str] = []
        self.slowest_s = 0.0

    def _decode(self, record: Inbound) -> Work[Any]:
        raise NotImplementedError

    async def _go_on(self, work: Work[Any]) -> None:
        raise NotImplementedError

    def decode(self, record: Inbound) -> Work[Any]:
        """Read a record, and take note of it."""
        self.seen.add((record.topic, record.partition, record.offset))
        begun = time.perf_counter()
        try:
            work = self._decode(record)
        except RecordError:
            self.refused += 1
            raise
        except BaseException as error:
            self._crashed(record, error)
            raise RecordError(Reason.BAD_STATE, "crashed") from error
        finally:
            self.slowest_s = max(self.slowest_s, time.perf_counter() - begun)
        self.read += 1
        return work

    async def handle(self, work: Work[Any]) -> Outcome:
        """Take the steps that need no network."""
        try:
            for outcome in _ENDS:
                _writable(settle(work.job, outcome, self.plan, NOW_MS).outgoing)
            await self._go_on(work)
        except Exception as error:  # noqa: BLE001 -- it is what is looked for
            self._crashed(work.record, error)
        return Done()

    async def prepare(self, partition: int) -> None:
        """Restore nothing."""

    def release(self, partition: int) -> None:
        """Forget nothing."""

    def _crashed(self, record: Inbound, error: BaseException) -> None:
        if len(self.crashes) < 20:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename}:{last.lineno}"
            headers = {name[:100]: value[:400] for name, value in record.headers.items()}
            shown = f"value {record.value[:400]!r} headers {headers!r}"
            self.crashes.append(f"{self.name} {record.topic}: {error!r} at {where}: {shown}")


_ENDS: tuple[Outcome, ...] = (
    Retry(error_class=ErrorClass.SERVER_ERROR, message="500"),
    Retry(error_class=ErrorClass.NETWORK, message="reset"),
    Defer(delay_s=10.0, message="later"),
)


class FetcherSubject(Subject):
    """The fetcher's decoder, and the request that it would send."""

    def __init__(self) -> None:
        super().__init__("fetcher", fetcher_app.PLAN)

    def _decode(self, record: Inbound) -> Work[Any]:
        return tasks.read(record, _MOST_JOB_BYTES)

    async def _go_on(self, work: Work[Any]) -> None:
        task: tasks.Task = work.payload
        requests.of_job(task.job, task.url, "Mozilla/5.0")
        request_id(work.job.state)


class SolverSubject(Subject):
    """The solver's decoder."""

    def __init__(self) -> None:
        super().__init__("solver", solver_app.PLAN)

    def _decode(self, record: Inbound) -> Work[Any]:
        return Solver.decode(cast(Solver, None), record)

    async def _go_on(self, work: Work[Any]) -> None:
        records.encode(work.payload)


class StorerSubject(Subject):
    """The whole storer, but for the parser and ClickHouse."""

    def __init__(self) -> None:
        super().__init__("storer", storer_app.PLAN)
        self._service = StorerService(
            put=self._put, parse=self._parse, allowance=Allowance(64 << 20), max_body_bytes=1 << 20
        )

    def _decode(self, record: Inbound) -> Work[Any]:
        return self._service.decode(record)

    async def _go_on(self, work: Work[Any]) -> None:
        outcome = await self._service.handle(work)
        if not isinstance(outcome, Done):
            _writable(settle(work.job, outcome, self.plan, NOW_MS).outgoing)

    async def _put(self, entry: Entry, *, last: bool = False) -> None:
        del last
        _storable(entry)

    async def _parse(self, parser: str, page: PageInfo, body: bytes) -> Parsed:
        return Parsed()


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "fetcher": FetcherSubject,
    "solver": SolverSubject,
    "storer": StorerSubject,
}


def run(seed: str, service: str, count: int) -> Tally:
    """Let so many malformed records, decided by ``seed``, go through a service."""
    return virtually(_run(Random(seed), SUBJECTS[service](), count))


async def _run(rng: Random, subject: Subject, count: int) -> Tally:
    clock = LoopClock()
    broker = FakeBroker(clock, partitions=PARTITIONS)
    sent: Counter[TopicPartition] = Counter()
    for _ in range(count):
        where = TopicPartition(str(rng.choice(subject.plan.all_topics)), rng.randrange(PARTITIONS))
        broker.logs[where].append(fuzz_records.record(where.topic, where.partition, sent[where], rng))
        sent[where] += 1
    source = FakeSource(broker, group=subject.plan.group, topics=subject.plan.all_topics)
    stop = asyncio.Event()
    runtime = Runtime(
        plan=subject.plan,
        service=subject,
        source=source,
        sink=FakeSink(broker),
        settings=RuntimeSettings(commit_interval_s=1.0),
        clock=clock,
        broker_clock=BrokerClock(clock),
        emit=lambda event: None,
    )
    running = asyncio.ensure_future(runtime.run(stop))
    waited_s = 0.0
    while not running.done() and waited_s < _PATIENCE_S:
        held = [w for w, n in sent.items() if (broker.committed(subject.plan.group, w) or 0) < n]
        if not held:
            break
        await clock.sleep(1)
        waited_s += 1
    stop.set()
    await asyncio.wait([running])
    crashes = list(subject.crashes)
    if error := running.exception():
        crashes.append(f"{subject.name}: the runtime ended: {error!r}")
    if held:
        crashes.append(f"{subject.name}: partitions are held: {held}")
    letters = [
        letter
        for letter in broker.records(Topic.DEAD_LETTER)
        if letter.offset >= sent[TopicPartition(letter.topic, letter.partition)]
    ]
    for letter in letters:
        crashes += _unstorable(letter)
    crashes += await _odds(rng, count // 10)
    missing = {(*where, offset) for where, n in sent.items() for offset in range(n)} - subject.seen
    if missing:
        crashes.append(f"{subject.name}: never read: {sorted(missing)[:5]}")
    if len(letters) != subject.refused + len(subject.crashes):
        crashes.append(f"{subject.name}: {subject.refused} were refused, {len(letters)} dead letters made")
    read, dead = f"{subject.name}_read", f"{subject.name}_dead_letters"
    return Tally({"records": count, read: subject.read, dead: len(letters)}, crashes, subject.slowest_s)


async def _odds(rng: Random, count: int) -> list[str]:
    """Metadata of commits, journals, and jobs that are looked for in what cannot be read."""
    crashes = []
    broker = FakeBroker(LoopClock(), partitions=1)
    broker.logs[TopicPartition(Topic.CAPTCHA_TASKS, 0)] = [
        fuzz_records.record(Topic.CAPTCHA_TASKS, 0, offset, rng) for offset in range(count)
    ]
    try:
        journal = Journal(keep_ms=86_400_000, max_answered=1_000)
        await restore(FakeReader(broker), 0, journal, BrokerClock(LoopClock()))
    except Exception as error:  # noqa: BLE001 -- it is what is looked for
        crashes.append(f"journal: {error!r}")
    for _ in range(count):
        metadata = fuzz_records.commit_metadata(rng)
        record = fuzz_records.record(rng.choice(list(Topic)), 0, 0, rng)
        try:
            done = unpack(metadata, 100)
            assert len(done) <= 10 * 20_000, f"{len(done)} offsets are believed"
            assert len(metadata) > MAX_METADATA_BYTES or done == sorted(set(done))
            unread_job(record)
        except Exception as error:  # noqa: BLE001 -- it is what is looked for
            crashes.append(f"{error!r}: {metadata[:300]!r} {record!r}"[:1000])
    return crashes


def _writable(outgoing: tuple[Any, ...]) -> None:
    """A record that is to be produced has a partition, bytes and headers that Kafka takes."""
    for record in outgoing:
        assert 0 <= partition_of(record.site.encode(), PARTITIONS) < PARTITIONS
        assert record.value is None or isinstance(record.value, bytes)
        for name, value in record.headers:
            assert isinstance(name.encode() + value, bytes)


def _unstorable(letter: Inbound) -> list[str]:
    """Say what keeps a dead letter from becoming rows, if anything."""
    try:
        work = read(letter)
        assert records.HEADER_JOB in letter.headers
        _storable(Entry(_rows_of(letter, work), 0))
    except Exception as error:  # noqa: BLE001 -- it is what is looked for
        return [f"the dead letter {letter!r} cannot be stored: {error!r}"[:2000]]
    return []


def _rows_of(letter: Inbound, work: Work[Any]) -> Any:
    assert not work.payload.problem or work.payload.meta is not None, work.payload.problem
    return dead_writes(letter, work.job.state, work.payload.meta)


def _storable(entry: Entry) -> None:
    """Rows are as wide as their tables, and all text in them is text."""
    for write in entry.writes:
        assert len(write.row) == len(write.table.columns)
        for cell in write.row:
            if isinstance(cell, str):
                cell.encode()
    token("t", entry.writes)
