"""The storer's logic: a record becomes rows, and is done when ClickHouse has them.

A page is decompressed, parsed in a worker process and put into a batch with its body. When its parser
fails, the body is stored all the same, and the job's dead letter names it, so that a replay parses again
without a fetch (delivery.md O6). A row that ClickHouse refuses ends its job as a dead letter (O5); a dead
letter never does, it becomes a smaller row.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import zstandard
from tidegate.consume.service import Work
from tidegate.outcome import Dead, Done, ErrorClass, Outcome, Reason
from tidegate.records import HEADER_PAGE, Inbound, JobState, PageMeta, encode

from tidegate_storer.allowance import Allowance
from tidegate_storer.batch import Entry
from tidegate_storer.batch_writer import Refused
from tidegate_storer.parsed import Parsed, ParseFailed
from tidegate_storer.parsers import DEFAULT, PageInfo
from tidegate_storer.reading import DeadLetter, Item, Page, Solve, read
from tidegate_storer.redact import MAX_CHARACTERS
from tidegate_storer.rows import Write, body_write, dead_writes, page_writes, solve_writes

# What a row takes beside what is counted, roughly: enough to bound batches of small rows.
_ROW_BYTES = 2_048

Parse = Callable[[str, PageInfo, bytes], Awaitable[Parsed | ParseFailed]]


class Put(Protocol):
    """Writes a record's rows; at once where it is the ``last`` that comes until it is answered."""

    async def __call__(self, entry: Entry, *, last: bool = False) -> Refused | None:
        """Return None once all of them are acknowledged."""
        ...


class StorerService:
    """What the runtime calls. ``put`` returns when the rows are acknowledged, however long that takes."""

    def __init__(self, *, put: Put, parse: Parse, allowance: Allowance, max_body_bytes: int) -> None:
        self._put = put
        self._parse = parse
        self._allowance = allowance
        self._max_body_bytes = max_body_bytes
        self._decompressor = zstandard.ZstdDecompressor()

    def decode(self, record: Inbound) -> Work[Item]:
        """Read a record."""
        return read(record)

    async def prepare(self, partition: int) -> None:
        """Restore nothing: rows know by themselves which of them counts."""

    def release(self, partition: int) -> None:
        """Forget nothing."""

    async def handle(self, work: Work[Item]) -> Outcome:
        """Store what the record carries."""
        match work.payload:
            case Page(meta=meta):
                return await self._page(work.record, work.job.state, meta, last=work.alone)
            case DeadLetter(meta=dead, problem=problem):
                writes = dead_writes(work.record, work.job.state, dead, problem)
                size = _ROW_BYTES + min(len(work.record.value), MAX_CHARACTERS)
            case Solve(record=solve):
                writes, size = solve_writes(work.record, solve), _ROW_BYTES
        refused = await self._put(Entry(writes, size), last=work.alone)
        return Done() if refused is None else _refused(refused)

    async def _page(self, record: Inbound, state: JobState, meta: PageMeta, *, last: bool) -> Outcome:
        if meta.length > self._max_body_bytes:
            return _unreadable(
                f"The body has {meta.length} bytes; at most {self._max_body_bytes} are stored."
            )
        # All that the page's row has beside body and fields: addresses, headers, the job's metadata.
        beside = len(record.headers[HEADER_PAGE])
        async with self._allowance.hold(meta.length + beside):
            try:
                body = self._decompress(record.value, meta.length)
            except ValueError as error:
                return _unreadable(str(error))
            info = PageInfo(
                url=meta.final_url,
                status=meta.status,
                content_type=meta.content_type,
                charset=meta.charset,
                headers=meta.headers,
            )
            parsed = await self._parse(meta.parser or DEFAULT, info, body)
            content = body_write(state, meta, body)
            if isinstance(parsed, ParseFailed):
                return await self._unparsed(content, meta, parsed, last=last)
            writes = (content, *page_writes(record, state, meta, parsed))
            size = _ROW_BYTES + len(body) + beside + len(parsed.fields) + sum(map(len, parsed.links))
            refused = await self._put(Entry(writes, size), last=last)
            return Done() if refused is None else _refused(refused, meta)

    async def _unparsed(self, content: Write, meta: PageMeta, failed: ParseFailed, *, last: bool) -> Outcome:
        """Keep the body, and let the job end: its dead letter names the body."""
        refused = await self._put(Entry((content,), _ROW_BYTES + meta.length), last=last)
        if refused is not None:
            return _refused(refused, meta)
        return Dead(
            reason=Reason.UNKNOWN_PARSER if failed.unknown_parser else Reason.PARSE_ERROR,
            error_class=ErrorClass.PARSE_ERROR,
            message=failed.message,
            last_status=meta.status,
            final_url=meta.final_url,
            body_hash=meta.body_hash,
            page=encode(meta),
        )

    def _decompress(self, data: bytes, length: int) -> bytes:
        """Return a body of exactly ``length`` bytes; raises ValueError for anything else.

        The size that the frame declares is checked before a byte is allocated: it would be believed.
        """
        if not data and not length:
            return b""
        try:
            declared = zstandard.frame_content_size(data)
            if declared not in (-1, length):
                raise ValueError(f"The body is {declared} bytes by its frame and {length} by its metadata.")
            if declared == 0:
                return b""
            body = self._decompressor.decompress(data, max_output_size=length + 1)
        except zstandard.ZstdError as error:
            raise ValueError(f"The body cannot be decompressed: {error}.") from error
        if len(body) != length:
            raise ValueError(f"The body has {len(body)} bytes; its metadata says {length}.")
        return body


def _unreadable(message: str) -> Dead:
    return Dead(reason=Reason.BAD_STATE, error_class=ErrorClass.BAD_INPUT, message=message)


def _refused(refused: Refused, meta: PageMeta | None = None) -> Dead:
    """Return the dead letter of a refused row. ClickHouse's text may quote the row, so it is not in it."""
    kept = None if refused.table == "bodies" else meta
    return Dead(
        reason=Reason.ROW_REFUSED,
        error_class=ErrorClass.REFUSED,
        message=f"ClickHouse refused the row in {refused.table} with error {refused.code} ({refused.name}).",
        last_status=None if meta is None else meta.status,
        final_url=None if meta is None else meta.final_url,
        body_hash=None if kept is None else kept.body_hash,
        page=None if kept is None else encode(kept),
    )
