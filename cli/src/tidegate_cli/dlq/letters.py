"""Dead letters as the public view ``dead_letters`` shows them: redacted rows (delivery.md O7)."""

# ruff: noqa: S608 -- only names of our own tables and columns are put into the text; values are parameters

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from tidegate.records import body_hash

from tidegate_cli.dlq.selection import Condition
from tidegate_cli.warehouse import Warehouse, quoted

PAGE_ROWS = 5_000
_HASH = re.compile(r"[0-9a-f]{32}")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A row but for its original. ``record_partition`` and ``record_offset`` are its place on the topic."""

    run: str
    id: str
    site: str
    reason: str
    error_class: str
    last_status: int
    url: str
    message: str
    service: str
    hop: int
    recorded_ms: int
    record_partition: int
    record_offset: int
    original_length: int
    original_hash: str
    body_hash: str


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters a reason and class have; times in epoch milliseconds."""

    reason: str
    error_class: str
    count: int
    sites: int
    oldest_ms: int
    newest_ms: int


_MS = "toUnixTimestamp64Milli(recorded_at)"
_COLUMNS = ", ".join(
    _MS if name == "recorded_ms" else f"toString({name})" if name in ("run", "site", "reason") else name
    for name in Letter.__struct_fields__
)
_DETAILS = (
    "run",
    "id",
    "url",
    "final_url",
    "site",
    "reason",
    "error_class",
    "message",
    "service",
    "last_status",
    "lane",
    "attempts",
    "hop",
    "solve_cost",
    "body_hash",
    "original",
    "original_length",
    "original_hash",
    "minimal",
    "accepted_at",
    "dead_at",
    "recorded_at",
    "origin_topic",
    "origin_partition",
    "origin_offset",
    "record_topic",
    "record_partition",
    "record_offset",
    "trace_id",
)


class Letters:
    """The dead letters of an installation."""

    def __init__(self, db: Warehouse) -> None:
        self._db = db
        database = quoted(db.database)
        self._view = f"{database}.dead_letters"
        self._jobs = f"{database}.jobs"
        self._bodies = f"{database}.bodies"

    async def now_ms(self) -> int:
        """Return ClickHouse's time: one for all who ask."""
        return int((await self._db.rows("SELECT toUnixTimestamp64Milli(now64(3))"))[0][0])

    async def newest(self, wanted: Condition, limit: int) -> list[Letter]:
        """Return the newest ones, the newest first."""
        order = "recorded_at DESC, record_partition DESC, record_offset DESC"
        return await self._letters(wanted, f"1 ORDER BY {order} LIMIT {limit}", {})

    async def count(self, wanted: Condition) -> int:
        """Count them."""
        query = f"SELECT count() FROM {self._view} WHERE {wanted.sql}"
        return int((await self._db.rows(query, wanted.parameters))[0][0])

    async def counts(self, wanted: Condition) -> list[ReasonCount]:
        """Count them by reason and class, the most frequent first."""
        rows = await self._db.rows(
            f"SELECT toString(reason), toString(error_class), count() AS many, uniqExact(site), min({_MS}),"
            f" max({_MS}) FROM {self._view} WHERE {wanted.sql}"
            " GROUP BY reason, error_class ORDER BY many DESC, reason, error_class",
            wanted.parameters,
        )
        return [msgspec.convert(row, ReasonCount, strict=False) for row in _named(ReasonCount, rows)]

    async def oldest_first(self, wanted: Condition) -> AsyncIterator[list[Letter]]:
        """Yield those that are there at the call, page by page, the oldest first.

        What dies while the pages are read is not among them: a replay must not meet its own dead letters.
        """
        query = f"SELECT max({_MS}) FROM {self._view} WHERE {wanted.sql}"
        until_ms = int((await self._db.rows(query, wanted.parameters))[0][0] or 0)
        after = (0, 0, -1)
        while True:
            page = await self._letters(
                wanted,
                f"{_MS} <= {{until:Int64}} AND"
                f" ({_MS}, toInt64(record_partition), toInt64(record_offset)) >"
                " ({after_ms:Int64}, {after_partition:Int64}, {after_offset:Int64})"
                f" ORDER BY recorded_at, record_partition, record_offset LIMIT {PAGE_ROWS}",
                {
                    "until": until_ms,
                    "after_ms": after[0],
                    "after_partition": after[1],
                    "after_offset": after[2],
                },
            )
            if page:
                yield page
            if len(page) < PAGE_ROWS:
                return
            last = page[-1]
            after = (last.recorded_ms, last.record_partition, last.record_offset)

    async def one(self, run: str, job_id: str) -> dict[str, Any] | None:
        """Return all that is known of one, its redacted original included; None where there is none."""
        rows = await self._db.rows(
            f"SELECT {', '.join(_DETAILS)} FROM {self._view}"
            " WHERE run = {run:String} AND id = {id:String}",
            {"run": run, "id": job_id},
        )
        return {name: _utc(value) for name, value in zip(_DETAILS, rows[0], strict=True)} if rows else None

    async def outcome(self, run: str, job_id: str) -> str | None:
        """Return ``page`` or ``dead_letter``, None for a job without an outcome."""
        rows = await self._db.rows(
            f"SELECT outcome FROM {self._jobs} WHERE run = {{run:String}} AND id = {{id:String}}",
            {"run": run, "id": job_id},
        )
        return str(rows[0][0]) if rows else None

    async def body(self, digest: str) -> bytes | None:
        """Return a stored body; None where it is not there (any more)."""
        if not _HASH.fullmatch(digest):
            return None
        query = f"SELECT body FROM {self._bodies} WHERE body_hash = '{digest}' LIMIT 1"
        body = b"".join([chunk async for chunk in self._db.formatted(query, "RawBLOB")])
        return body if body_hash(body) == digest else None

    async def _letters(self, wanted: Condition, more: str, values: dict[str, Any]) -> list[Letter]:
        rows = await self._db.rows(
            f"SELECT {_COLUMNS} FROM {self._view} WHERE {wanted.sql} AND {more}",
            {**wanted.parameters, **values},
        )
        return [msgspec.convert(row, Letter, strict=False) for row in _named(Letter, rows)]


def _utc(value: Any) -> Any:
    # The columns are in UTC, and the driver leaves that out.
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _named(kind: type[msgspec.Struct], rows: Any) -> list[dict[str, Any]]:
    return [dict(zip(kind.__struct_fields__, row, strict=True)) for row in rows]
