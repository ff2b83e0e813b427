"""What ClickHouse knows of a job: its page, its dead letter, its solves."""

# ruff: noqa: S608 -- only names of our own tables and columns are put into the text; values are parameters

from collections.abc import Sequence
from typing import Any

import msgspec

from tidegate_cli.warehouse import Warehouse, quoted

_MOST_RUNS = 20


class PageRow(msgspec.Struct, frozen=True, kw_only=True):
    """The page of a job; times in epoch milliseconds, cost in US dollars."""

    url: str
    site: str
    status: int
    lane: str
    attempts: dict[str, int]
    hop: int
    challenges: int
    solve_cost: float
    length: int
    proxy_id: str
    accepted_ms: int
    fetched_ms: int
    recorded_ms: int
    record_topic: str
    record_partition: int
    record_offset: int
    trace_id: str


class DeadRow(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letter of a job; times in epoch milliseconds."""

    url: str
    site: str
    reason: str
    error_class: str
    message: str
    service: str
    last_status: int
    lane: str
    attempts: dict[str, int]
    hop: int
    solve_cost: float
    accepted_ms: int
    dead_ms: int
    recorded_ms: int
    record_topic: str
    record_partition: int
    record_offset: int
    trace_id: str


class SolveRow(msgspec.Struct, frozen=True, kw_only=True):
    """One captcha request of a job that was answered."""

    request_id: str
    kind: str
    status: str
    provider: str
    cost: float
    error_code: str
    requested_ms: int
    created_ms: int | None
    answered_ms: int
    trace_id: str


class JobRows(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one (run, id); ``outcome`` is remembered when the row itself has expired."""

    run: str
    id: str
    outcome: str | None
    page: PageRow | None
    dead: DeadRow | None
    solves: tuple[SolveRow, ...]


async def runs_of(db: Warehouse, job_id: str) -> list[str]:
    """Return the runs that have an outcome or a solve of a job of this id. Raises ClickHouseError."""
    database = quoted(db.database)
    rows = await db.rows(
        f"SELECT DISTINCT run FROM (SELECT toString(run) AS run FROM {database}.jobs WHERE id = {{id:String}}"
        f" UNION ALL SELECT toString(run) FROM {database}.solves WHERE job_id = {{id:String}})"
        f" ORDER BY run LIMIT {_MOST_RUNS}",
        {"id": job_id},
    )
    return [str(row[0]) for row in rows]


async def rows_of(db: Warehouse, run: str, job_id: str) -> JobRows:
    """Return what there is. Raises ClickHouseError."""
    database, key = quoted(db.database), {"run": run, "id": job_id}
    mine = "WHERE run = {run:String} AND id = {id:String}"
    outcome = await db.rows(f"SELECT toString(outcome) FROM {database}.jobs {mine}", key)
    page = await _read(db, PageRow, f"{database}.pages {mine}", key)
    dead = await _read(db, DeadRow, f"{database}.dead_letters {mine}", key)
    solves = await _read(
        db,
        SolveRow,
        f"{database}.solves WHERE run = {{run:String}} AND job_id = {{id:String}} ORDER BY requested_at",
        key,
    )
    return JobRows(
        run=run,
        id=job_id,
        outcome=str(outcome[0][0]) if outcome else None,
        page=page[0] if page else None,
        dead=dead[0] if dead else None,
        solves=tuple(solves),
    )


_R = Any


async def _read(db: Warehouse, kind: type[msgspec.Struct], source: str, key: dict[str, str]) -> list[_R]:
    columns = ", ".join(_column(name) for name in kind.__struct_fields__)
    rows: Sequence[Sequence[Any]] = await db.rows(f"SELECT {columns} FROM {source}", key)
    return [
        msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=True)), kind, strict=False)
        for row in rows
    ]


def _column(name: str) -> str:
    return f"toUnixTimestamp64Milli({name.removesuffix('_ms')}_at)" if name.endswith("_ms") else name
