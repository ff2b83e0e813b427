"""Results on ClickHouse's own engine: documented queries, figures per minute, exports, one job's rows."""

import csv
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import chdb
import pytest
import pytest_asyncio
from support.packaging import read
from support.storer import EPOCH_MS, Endpoint, dead_record, job_state, page_record, solve_record, storing
from tidegate.captcha_records import SolutionStatus
from tidegate.clock import SystemClock
from tidegate.records import HEADER_TRACE, Inbound
from tidegate.settings import ClickHouseSettings
from tidegate_cli.export import export_query, save
from tidegate_cli.export_choices import ExportFormat, What
from tidegate_cli.jobs.report import report
from tidegate_cli.jobs.rows import rows_of, runs_of
from tidegate_cli.warehouse import Warehouse, warehouse
from tidegate_storer.batch import Limits
from tidegate_storer.clickhouse import connected
from tidegate_storer.migrate import migrate
from tidegate_storer.settings import StorerSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

_RUN = "my-run"
_MINUTE_MS = 60_000
_QUERIES = re.findall(r"^## (.+?)\n.*?```sql\n(.*?)```", read("docs/queries.md"), re.DOTALL | re.MULTILINE)


def records() -> list[Inbound]:
    """Return what two sites gave in two minutes: pages, dead letters, a page that displaces one, solves."""
    state = [
        job_state(f"job-{n}", run=_RUN, site=f"s{n % 2}.example", attempts={"blocked": n}) for n in range(8)
    ]
    pages = [
        page_record(
            state[n],
            b"\xff\x00 <title>%d</title>" % (n % 2),
            offset=n,
            timestamp_ms=EPOCH_MS + (n % 2) * _MINUTE_MS + n,
            challenges=n % 2,
        )
        for n in range(6)
    ]
    traced = pages[0]
    pages[0] = Inbound(
        **{
            **{name: getattr(traced, name) for name in traced.__struct_fields__},
            "headers": {**traced.headers, HEADER_TRACE: b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"},
        }
    )
    dead = [dead_record(state[n], offset=n, timestamp_ms=EPOCH_MS + n) for n in (5, 6, 7)]
    solves = [
        solve_record("r1", offset=1, run=_RUN, job_id="job-1", site="s1.example"),
        solve_record(
            "r2",
            offset=2,
            run=_RUN,
            job_id="job-3",
            site="s1.example",
            status=SolutionStatus.FAILED,
            cost=0.0,
            error_code="ERROR_CAPTCHA_UNSOLVABLE",
        ),
    ]
    return [*dead, *pages, *solves]


async def store(settings: ClickHouseSettings, batch: Sequence[Inbound]) -> None:
    """Write records as the storer does, each in a batch of its own rows."""
    async with (
        connected(settings, timeout_s=30) as clickhouse,
        storing(clickhouse, limits=Limits(age_s=0.05)) as service,
    ):
        for record in batch:
            await service.handle(service.decode(record))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def db(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Warehouse, ClickHouseSettings]]:
    """Start the engine once, with the records stored in it."""
    endpoint = Endpoint(tmp_path_factory.mktemp("clickhouse"))
    await endpoint.start()
    try:
        settings = endpoint.settings
        await migrate(settings, StorerSettings(), SystemClock())
        await store(settings, records())
        async with warehouse(settings) as db:
            yield db, settings
    finally:
        await endpoint.stop()


Db = tuple[Warehouse, ClickHouseSettings]


async def test_a_dozen_questions_are_documented() -> None:
    """Fewer would mean that the page was not understood."""
    assert len(_QUERIES) >= 12


@pytest.mark.parametrize("question", [title for title, _ in _QUERIES])
async def test_a_documented_query_runs_and_has_an_answer(db: Db, question: str) -> None:
    """Each is asked as it stands in docs/queries.md."""
    assert await db[0].rows(dict(_QUERIES)[question])


def names(folder: Path) -> list[str]:
    """Return what a folder holds."""
    return [each.name for each in folder.iterdir()]


_FIGURES = (
    "SELECT * FROM jobs_per_minute ORDER BY ALL",
    "SELECT * FROM pages_per_minute ORDER BY ALL",
    "SELECT * FROM dead_letters_per_minute ORDER BY ALL",
    "SELECT * FROM solves_per_minute ORDER BY ALL",
    "SELECT * FROM run_summary",
    "SELECT * FROM site_summary ORDER BY ALL",
)


async def test_the_figures_count_nothing_twice(db: Db) -> None:
    """Everything is delivered again, in another order: every figure stays as it was (O1, O4)."""
    before = [await db[0].rows(query) for query in _FIGURES]
    await store(db[1], [*reversed(records()), *records()[::3]])
    assert [await db[0].rows(query) for query in _FIGURES] == before


async def test_the_figures_add_up(db: Db) -> None:
    """Six pages in two minutes and two dead letters: the one that a page displaced is in none of them."""
    ((pages, dead),) = await db[0].rows("SELECT sum(pages), sum(dead_letters) FROM jobs_per_minute")
    assert (pages, dead) == (6, 2)
    minutes = await db[0].rows(
        "SELECT toUnixTimestamp(minute) * 1000 AS at, sum(pages), sum(challenged) FROM pages_per_minute "
        "GROUP BY at ORDER BY at"
    )
    assert list(minutes) == [(EPOCH_MS, 3, 0), (EPOCH_MS + _MINUTE_MS, 3, 3)]
    assert await db[0].rows("SELECT sum(dead_letters) FROM dead_letters_per_minute") == [(2,)]
    ((run, solves, cost),) = await db[0].rows("SELECT run, solves, toFloat64(cost_usd) FROM run_summary")
    assert (run, solves, cost) == (_RUN, 2, 0.002)
    sites = await db[0].rows("SELECT site, pages, challenge_share FROM site_summary ORDER BY site")
    assert list(sites) == [("s0.example", 3, 0.0), ("s1.example", 3, 1.0)]


async def exported(
    db: Warehouse, kind: ExportFormat, what: What = What.PAGES, *, bodies: bool = False
) -> bytes:
    """Return what an export writes."""
    query = export_query(db.database, what, bodies=bodies)
    chunks = db.formatted(query.sql, kind.in_clickhouse, parameters={"run": _RUN}, settings=query.settings)
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    ("what", "count"), [(What.PAGES, 6), (What.DEAD_LETTERS, 2), (What.JOBS, 8), (What.SOLVES, 2)]
)
async def test_an_export_has_every_row_of_the_run(db: Db, what: What, count: int) -> None:
    """In JSON lines, in CSV with its names, in Parquet that another reader reads."""
    lines = [json.loads(line) for line in (await exported(db[0], ExportFormat.JSONL, what)).splitlines()]
    table = list(csv.DictReader(StringIO((await exported(db[0], ExportFormat.CSV, what)).decode())))
    assert len(lines) == len(table) == count
    assert {row["run"] for row in table} == {_RUN}


async def test_parquet_is_whole_and_has_typed_columns(db: Db, tmp_path: Path) -> None:
    """It appears under its name when it is complete."""
    path = tmp_path / "pages.parquet"
    data = await exported(db[0], ExportFormat.PARQUET)

    async def chunks() -> AsyncIterator[bytes]:
        yield data[:100]
        assert not path.exists()
        yield data[100:]

    assert await save(chunks(), path) == len(data)
    assert names(tmp_path) == ["pages.parquet"]
    answer = chdb.query(  # type: ignore[no-untyped-call]
        f"SELECT count(), sum(attempts['blocked']), toTypeName(any(status)) FROM file('{path}', 'Parquet')",
        "CSV",
    )
    assert str(answer).strip() == '6,15,"UInt16"'


async def test_bodies_come_byte_for_byte(db: Db) -> None:
    """Six pages share two contents; each has its own in the export."""
    lines = (await exported(db[0], ExportFormat.JSONL, bodies=True)).splitlines()
    bodies: dict[str, bytes] = {}
    for line in lines:
        row: dict[str, Any] = json.loads(line)
        bodies[row["id"]] = b64decode(row["body_base64"])
    assert bodies == {f"job-{n}": b"\xff\x00 <title>%d</title>" % (n % 2) for n in range(6)}


async def test_a_job_is_told_from_its_rows(db: Db) -> None:
    """With its outcome, its solves and their times; also without its run."""
    assert await runs_of(db[0], "job-1") == [_RUN]
    assert await runs_of(db[0], "nobody") == []
    page = report(_RUN, "job-1", await rows_of(db[0], _RUN, "job-1"), [])
    assert page is not None
    assert (page.state, page.solve_cost, page.attempts) == ("page", 0.002, {"blocked": 1})
    assert [step.at_ms for step in page.history] == sorted(step.at_ms for step in page.history)
    dead = report(_RUN, "job-7", await rows_of(db[0], _RUN, "job-7"), [])
    assert dead is not None
    assert dead.state == "dead_letter"
    traced = await rows_of(db[0], _RUN, "job-0")
    assert traced.page is not None
    assert traced.page.trace_id == "a" * 32


async def test_a_site_without_a_page_has_no_time_and_no_bytes(db: Db) -> None:
    """NULL: a zero would be the fastest site of all. The last test here, as it adds a run."""
    state = job_state("gone", run="another", site="none.example")
    await store(db[1], [dead_record(state, offset=90, timestamp_ms=EPOCH_MS)])
    row = await db[0].rows(
        "SELECT pages, dead_letters, challenged_pages, challenge_share, bytes, median_s, p95_s "
        "FROM site_summary WHERE site = 'none.example'"
    )
    assert list(row) == [(0, 1, 0, None, None, None, None)]
    other = await db[0].rows(
        "SELECT bytes > 0, median_s IS NOT NULL, p95_s IS NOT NULL "
        "FROM site_summary WHERE site = 's0.example'"
    )
    assert list(other) == [(1, 1, 1)]
