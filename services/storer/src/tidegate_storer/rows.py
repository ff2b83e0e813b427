"""What a record becomes: rows. Pure: the same record always makes the same rows.

A row is a tuple in the order of its table's columns. Times are epoch milliseconds, as ClickHouse's
DateTime64(3) counts them. What would not fit a column is brought into its range here, so that no honest
record is refused; what ClickHouse refuses all the same is isolated by the writer (delivery.md O5). Text is
safe to write as UTF-8, for the decoders let nothing else through.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from tidegate import records
from tidegate.captcha_records import SolveRecord
from tidegate.outcome import Reason
from tidegate.records import DeadMeta, Inbound, JobState, PageMeta

from tidegate_storer import redact
from tidegate_storer.parsed import Parsed
from tidegate_storer.tables import BODIES, DEAD_LETTERS, OUTCOMES, PAGES, SOLVES, Table
from tidegate_storer.versions import dead_version, page_version, solve_version

_LATEST_MS = 9_999_999_999_999
_NOT_STORED = frozenset({"set-cookie", "set-cookie2", "authorization", "proxy-authorization", "cookie"})
_MAX_MESSAGE_CHARACTERS = 2_000
_MAX_NAME_CHARACTERS = 1_024
_MAX_URL_CHARACTERS = 8_192

Row = tuple[Any, ...]


class Write(msgspec.Struct, frozen=True):
    """One row to be written. ``key`` is its identity with its version: what a token is made of (O4).

    ``fallback`` is written in its place when ClickHouse refuses it.
    """

    table: Table
    row: Row
    key: bytes
    fallback: "Write | None" = None


def page_writes(record: Inbound, state: JobState, meta: PageMeta, parsed: Parsed) -> tuple[Write, ...]:
    """Return the rows of a page beside its body: the page and the outcome of its job."""
    version = page_version(record)
    accepted = _time(state.accepted_at_ms)
    site = _name(state.site)
    row = (
        state.run,
        state.id,
        version,
        meta.url,
        meta.final_url,
        site,
        _uint(meta.status, 16),
        _name(meta.content_type),
        _name(meta.charset or ""),
        _name(meta.body_hash),
        _uint(meta.length, 64),
        parsed.title,
        _uint(parsed.text_length, 64),
        _uint(parsed.link_count, 32),
        list(parsed.links),
        parsed.canonical,
        _name(parsed.language),
        parsed.fields,
        {k: v for k, v in meta.headers.items() if k.lower() not in _NOT_STORED},
        bytes(meta.metadata).decode(errors="replace"),
        _name(meta.parser or ""),
        state.lane.value,
        _counts(state.attempts),
        _uint(state.hop, 32),
        _uint(meta.challenges, 32),
        _cost(state),
        _name(meta.proxy_id or ""),
        _time(meta.fetched_at_ms),
        _uint(meta.elapsed_ms, 32),
        accepted,
        *_record(record),
    )
    outcome = (
        state.run,
        state.id,
        version,
        "page",
        site,
        _uint(meta.status, 16),
        "",
        accepted,
        _time(record.timestamp_ms),
    )
    key = _key(row[0], row[1], version)
    return (Write(PAGES, row, key), Write(OUTCOMES, outcome, key))


def body_write(state: JobState, meta: PageMeta, body: bytes) -> Write:
    """Return the row of a body: one a content and month."""
    accepted = _time(state.accepted_at_ms)
    row = (meta.body_hash, accepted, len(body), body)
    return Write(BODIES, row, _key(row[0], "", accepted))


def dead_writes(
    record: Inbound, state: JobState, meta: DeadMeta | None, problem: str = ""
) -> tuple[Write, ...]:
    """Return the rows of a dead letter. Without ``meta``, ``problem`` says what could not be read of it."""
    version = dead_version(record)
    if meta is None:
        meta = DeadMeta(
            reason=Reason.BAD_STATE,
            error_class="bad_input",
            message=problem,
            service="",
            dead_at_ms=record.timestamp_ms,
        )
    length = len(record.value) if meta.truncated_length is None else meta.truncated_length
    digest = meta.original_hash or hashlib.blake2b(record.value, digest_size=16).hexdigest()
    original = redact.original(record.value)
    row = _dead_row(
        record,
        state,
        meta,
        version,
        url=_url_of(record.value),
        message=redact.scrub(meta.message[:_MAX_MESSAGE_CHARACTERS]),
        original=original,
        length=length,
        digest=digest,
        minimal=False,
    )
    smallest = _dead_row(
        record,
        msgspec.structs.replace(state, site="", attempts={}, solves=()),
        msgspec.structs.replace(meta, final_url=None, body_hash=None, error_class="", service=""),
        version,
        url="",
        message=f"The full row was refused. {meta.reason.value}",
        original="",
        length=length,
        digest=digest,
        minimal=True,
    )
    outcome = (
        row[0],
        row[1],
        version,
        "dead_letter",
        _name(state.site),
        _uint(meta.last_status or 0, 16),
        meta.reason.value,
        _time(state.accepted_at_ms),
        _time(record.timestamp_ms),
    )
    key = _key(row[0], row[1], version)
    minimal = Write(DEAD_LETTERS, smallest, key + b"/minimal")
    return (Write(DEAD_LETTERS, row, key, minimal), Write(OUTCOMES, outcome, key))


def solve_writes(record: Inbound, solve: SolveRecord) -> tuple[Write, ...]:
    """Return the row of a solve, identified by its request."""
    version = solve_version(record, solve)
    row = (
        solve.request_id,
        version,
        _name(solve.run),
        _name(solve.job_id),
        _name(solve.site),
        solve.kind.value,
        solve.status.value,
        _name(solve.provider or ""),
        _name(solve.task_id or ""),
        solve.cost,
        solve.in_doubt or solve.error_code == "in_doubt",
        _uint(solve.polls, 32),
        _name(solve.error_code or ""),
        _time(solve.requested_at_ms),
        None if solve.created_at_ms is None else _time(solve.created_at_ms),
        _time(solve.answered_at_ms),
        *_record(record),
    )
    return (Write(SOLVES, row, _key(row[0], "", version)),)


def _dead_row(
    record: Inbound,
    state: JobState,
    meta: DeadMeta,
    version: int,
    *,
    url: str,
    message: str,
    original: str,
    length: int,
    digest: str,
    minimal: bool,
) -> Row:
    origin = state.origin
    return (
        state.run,
        state.id,
        version,
        url,
        redact.url(meta.final_url) if meta.final_url else "",
        _name(state.site),
        meta.reason.value,
        _name(meta.error_class),
        message,
        _name(meta.service),
        _uint(meta.last_status or 0, 16),
        state.lane.value,
        _counts(state.attempts),
        _uint(state.hop, 32),
        _cost(state),
        _name(meta.body_hash or ""),
        original,
        _uint(length, 64),
        _name(digest),
        minimal,
        _time(state.accepted_at_ms),
        _time(meta.dead_at_ms),
        _name(origin.topic),
        _uint(origin.partition, 32),
        _uint(origin.offset, 64),
        *_record(record),
    )


class _Url(msgspec.Struct):
    url: str


_URL = msgspec.json.Decoder(_Url)


def _url_of(original: bytes) -> str:
    """Return the URL that a job names, redacted; "" where it names none."""
    text = original[: redact.MAX_CHARACTERS].removeprefix(b"\xef\xbb\xbf").strip()
    if text[:1] == b"{":
        try:
            return redact.url(_URL.decode(text).url[:_MAX_URL_CHARACTERS])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
    line = text[:_MAX_URL_CHARACTERS].decode(errors="replace")
    return redact.url(line) if len(text) <= _MAX_URL_CHARACTERS and line.isprintable() else ""


def _record(record: Inbound) -> Row:
    return (
        record.topic,
        _uint(record.partition, 32),
        _uint(record.offset, 64),
        _time(record.timestamp_ms),
        _trace_id(record.headers.get(records.HEADER_TRACE, b"")),
    )


def _trace_id(traceparent: bytes) -> str:
    parts = traceparent.split(b"-")
    usable = len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() and parts[1].strip(b"0")
    return parts[1].decode() if usable else ""


def _key(first: str, second: str, version: int) -> bytes:
    """Return identity and version as bytes; lengths keep two identities from reading the same."""
    return f"{len(first)}:{first}/{len(second)}:{second}/{version}".encode()


def _cost(state: JobState) -> float:
    return sum(solve.cost for solve in state.solves) if state.solves else 0.0


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {_name(name): _uint(count, 32) for name, count in counts.items()} if counts else {}


def _uint(value: int, bits: int) -> int:
    # Nearly all of them fit, and some ten are asked for in each row.
    return value if 0 <= value < (1 << bits) else min(max(value, 0), (1 << bits) - 1)


def _time(ms: int) -> int:
    return ms if 0 <= ms <= _LATEST_MS else min(max(ms, 0), _LATEST_MS)


def _name(text: str) -> str:
    return text[:_MAX_NAME_CHARACTERS]
