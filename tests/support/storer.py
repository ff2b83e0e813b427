"""What the storer's tests share: records as the fetcher and the runtime write them, fake ClickHouses."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import zstandard
from tidegate.captcha_records import SolutionStatus, SolveRecord
from tidegate.clock import Clock, SystemClock
from tidegate.consume.dead_letters import dead_letter
from tidegate.errors import ClickHouseError
from tidegate.events import Emit, Event
from tidegate.outcome import Dead, ErrorClass, Reason
from tidegate.records import (
    HEADER_ORIGINAL,
    HEADER_PAGE,
    ChallengeKind,
    Inbound,
    Job,
    JobState,
    Origin,
    PageMeta,
    SolveSummary,
    body_hash,
    encode,
    job_headers,
)
from tidegate.settings import ClickHouseSettings
from tidegate.topics import Topic
from tidegate_storer.allowance import Allowance
from tidegate_storer.batch import Limits
from tidegate_storer.batch_writer import BatchWriter, Inserter
from tidegate_storer.batching import Batching
from tidegate_storer.handler import Parse, StorerService
from tidegate_storer.parsed import Parsed, ParseFailed
from tidegate_storer.parsers import PageInfo
from tidegate_storer.tables import Table

EPOCH_MS = 1_767_225_600_000  # 2026-01-01
_compressor = zstandard.ZstdCompressor(level=3)


def job_state(
    job_id: str = "job-1",
    *,
    run: str = "run",
    site: str = "shop.example",
    accepted_at_ms: int = EPOCH_MS,
    attempts: dict[str, int] | None = None,
    solves: tuple[SolveSummary, ...] = (),
) -> JobState:
    """Return the state of a job, as the fetcher writes it."""
    return JobState(
        run=run,
        id=job_id,
        site=site,
        origin=Origin(topic="urls", partition=1, offset=2, timestamp_ms=accepted_at_ms),
        accepted_at_ms=accepted_at_ms,
        attempts=attempts or {},
        solves=solves,
    )


def page_record(
    state: JobState,
    body: bytes = b"<html><title>A title</title><p>text",
    *,
    offset: int = 0,
    partition: int = 0,
    timestamp_ms: int | None = None,
    value: bytes | None = None,
    **meta: object,
) -> Inbound:
    """Return a page on its topic; ``meta`` replaces fields of its metadata."""
    fields: dict[str, object] = {
        "url": f"https://{state.site}/{state.id}",
        "final_url": f"https://{state.site}/{state.id}",
        "status": 200,
        "content_type": "text/html; charset=utf-8",
        "charset": "utf-8",
        "headers": {"content-type": "text/html; charset=utf-8", "server": "nginx"},
        "length": len(body),
        "body_hash": body_hash(body),
        "fetched_at_ms": EPOCH_MS + 1_000,
        "elapsed_ms": 12,
        "metadata": msgspec.Raw(b'{"row":1}'),
        **meta,
    }
    original = b'{"url":"https://%s/%s"}' % (state.site.encode(), state.id.encode())
    return Inbound(
        topic=Topic.PAGES,
        partition=partition,
        offset=offset,
        timestamp_ms=EPOCH_MS + offset if timestamp_ms is None else timestamp_ms,
        key=state.site.encode(),
        value=_compressor.compress(body) if value is None else value,
        headers={
            HEADER_PAGE: encode(PageMeta(**fields)),  # type: ignore[arg-type]
            HEADER_ORIGINAL: original,
            **dict(job_headers(state)),
        },
    )


def dead_record(
    state: JobState,
    original: bytes | None = None,
    *,
    offset: int = 0,
    partition: int = 0,
    timestamp_ms: int | None = None,
    reason: Reason = Reason.RETRIES_EXHAUSTED,
    message: str = "It failed.",
    final_url: str | None = None,
) -> Inbound:
    """Return a dead letter on its topic, as the runtime writes it."""
    dead = Dead(
        reason=reason,
        error_class=ErrorClass.BLOCKED,
        message=message,
        last_status=403,
        final_url=final_url,
    )
    if original is None:
        original = b'{"url":"https://%s/%s"}' % (state.site.encode(), state.id.encode())
    letter = dead_letter(Job(original, state), dead, service="fetcher", group="fetcher", now_ms=EPOCH_MS)
    assert letter.value is not None
    return Inbound(
        topic=Topic.DEAD_LETTER,
        partition=partition,
        offset=offset,
        timestamp_ms=EPOCH_MS + offset if timestamp_ms is None else timestamp_ms,
        key=state.site.encode(),
        value=letter.value,
        headers=dict(letter.headers),
    )


def solve_record(
    request_id: str = "request-1",
    *,
    offset: int = 0,
    status: SolutionStatus = SolutionStatus.SOLVED,
    cost: float = 0.002,
    **changes: Any,
) -> Inbound:
    """Return a solve on its topic, with any field of the record changed."""
    solve = SolveRecord(
        request_id=request_id,
        run="run",
        job_id="job-1",
        site="shop.example",
        kind=ChallengeKind.TURNSTILE,
        status=status,
        provider="capsolver",
        task_id="task-1",
        cost=cost,
        polls=3,
        error_code=None,
        requested_at_ms=EPOCH_MS,
        created_at_ms=EPOCH_MS + 10,
        answered_at_ms=EPOCH_MS + 9_000,
    )
    solve = msgspec.structs.replace(solve, **changes)
    return Inbound(
        topic=Topic.SOLVES,
        partition=0,
        offset=offset,
        timestamp_ms=EPOCH_MS + offset,
        key=b"shop.example",
        value=encode(solve),
        headers={},
    )


class FakeClickHouse:
    """Takes inserts as ClickHouse does: drops known tokens, refuses rows, fails when it is told to.

    ``refuses`` says which rows are refused, with a data error; ``failures`` are raised first, one an
    insert; ``away`` fails every insert.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[object, ...]]] = {}
        self.inserts: list[tuple[str, int]] = []
        self.tokens: set[str] = set()
        self.failures: list[ClickHouseError] = []
        self.away = False
        self.refuses: Callable[[Table, tuple[object, ...]], bool] = lambda table, row: False

    async def insert(self, table: Table, rows: Sequence[tuple[object, ...]], token: str) -> None:
        """Take rows, or raise."""
        await asyncio.sleep(0)  # noqa: TID251 -- a turn of the loop, as any server takes
        if self.away:
            raise ClickHouseError(0, "connection refused")
        if self.failures:
            raise self.failures.pop(0)
        if any(self.refuses(table, row) for row in rows):
            raise ClickHouseError(469, "Constraint is violated: secret-value")
        self.inserts.append((table.name, len(rows)))
        if token not in self.tokens:
            self.tokens.add(token)
            self.rows.setdefault(table.name, []).extend(rows)


async def parse_nothing(parser: str, page: PageInfo, body: bytes) -> Parsed | ParseFailed:
    """Parse as the pool does, without a process: no fields."""
    return Parsed()


@asynccontextmanager
async def storing(
    inserter: Inserter,
    *,
    limits: Limits | None = None,
    in_flight: int = 2,
    clock: Clock | None = None,
    parse: Parse = parse_nothing,
    emit: Emit | None = None,
    max_body_bytes: int = 1 << 20,
    bytes_in_hand: int = 64 << 20,
) -> AsyncIterator[StorerService]:
    """Build a storer on some ClickHouse: everything but Kafka."""
    events: list[Event] = []
    emit = emit or events.append
    clock = clock or SystemClock()
    writer = BatchWriter(inserter, clock=clock, random=Random(1), emit=emit)
    batching = Batching(
        writer.write, limits=limits or Limits(age_s=0.05), in_flight=in_flight, clock=clock, emit=emit
    )
    async with batching.running():
        yield StorerService(
            put=batching.put,
            parse=parse,
            allowance=Allowance(bytes_in_hand),
            max_body_bytes=max_body_bytes,
        )


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so, in processes that cannot tell us."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- there is no event to wait for
            await asyncio.sleep(0.02)  # noqa: TID251 -- processes know no manual clock


class Endpoint:
    """ClickHouse's engine behind HTTP, as a process that may be stopped and started."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def settings(self) -> ClickHouseSettings:
        """Where it is."""
        return ClickHouseSettings(url=f"http://127.0.0.1:{self.port}")

    async def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidegate_cli.clickhouse",
            "--data",
            str(self._data),
            "--port",
            str(self.port),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        self.port = msgspec.json.decode(line)["port"]

    async def stop(self, *, kill: bool = False) -> None:
        """End it and wait."""
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        await self._process.wait()
        self._process = None
