"""What becomes of a record: done, or a dead letter with a reason, and what is stored on the way."""

import asyncio

import msgspec
import pytest
import zstandard
from support.storer import FakeClickHouse, dead_record, job_state, page_record, solve_record, storing
from tidegate.errors import RecordError
from tidegate.outcome import Dead, Done, ErrorClass, Outcome, Reason
from tidegate.records import HEADER_PAGE, Inbound, body_hash
from tidegate_storer.allowance import Allowance
from tidegate_storer.batch import Entry, Limits
from tidegate_storer.handler import Parse, StorerService
from tidegate_storer.parsed import Parsed, ParseFailed
from tidegate_storer.parsers import PageInfo

_ONE = Limits(rows=1)


async def handled(
    clickhouse: FakeClickHouse, record: Inbound, parse: Parse | None = None, max_body_bytes: int = 1 << 20
) -> Outcome:
    """Store one record."""
    options = {} if parse is None else {"parse": parse}
    async with storing(clickhouse, limits=_ONE, max_body_bytes=max_body_bytes, **options) as service:  # type: ignore[arg-type]
        return await service.handle(service.decode(record))


async def test_a_page_is_done_when_body_page_and_outcome_are_there() -> None:
    """And its body is what the site served."""
    clickhouse = FakeClickHouse()
    body = b"<html>\x00\xff bytes"
    assert await handled(clickhouse, page_record(job_state("a"), body)) == Done()
    assert {table: len(rows) for table, rows in clickhouse.rows.items()} == {
        "bodies": 1,
        "pages_log": 1,
        "outcomes": 1,
    }
    assert clickhouse.rows["bodies"][0][3] == body


@pytest.mark.parametrize(
    "record",
    [page_record(job_state("a"), b"body"), solve_record(), dead_record(job_state("d"))],
    ids=["page", "solve", "dead_letter"],
)
async def test_a_record_in_hand_alone_is_stored_without_waiting_for_others(record: Inbound) -> None:
    """A partition that is read one record at a time costs no batch's age for each (C10)."""
    async with storing(FakeClickHouse(), limits=Limits(age_s=3600)) as service:
        work = msgspec.structs.replace(service.decode(record), alone=True)
        assert await asyncio.wait_for(service.handle(work), 5) == Done()


async def test_an_unparsed_page_in_hand_alone_waits_for_no_others() -> None:
    """Its body is stored by itself, and it is stored at once, too."""

    async def parse(parser: str, page: PageInfo, body: bytes) -> Parsed | ParseFailed:
        return ParseFailed(message="It raised.")

    async with storing(FakeClickHouse(), limits=Limits(age_s=3600), parse=parse) as service:
        work = msgspec.structs.replace(service.decode(page_record(job_state("a"), b"body")), alone=True)
        outcome = await asyncio.wait_for(service.handle(work), 5)
    assert isinstance(outcome, Dead)


async def test_solves_and_dead_letters_are_done_when_their_rows_are_there() -> None:
    """One table each, and the outcome of the dead one."""
    clickhouse = FakeClickHouse()
    assert await handled(clickhouse, solve_record()) == Done()
    assert await handled(clickhouse, dead_record(job_state("d"))) == Done()
    assert set(clickhouse.rows) == {"solves_log", "dead_letters_log", "outcomes"}


@pytest.mark.parametrize("body", [b"", b"x", b"y" * 500_000])
async def test_bodies_of_any_size_are_stored(body: bytes) -> None:
    """The empty one too."""
    clickhouse = FakeClickHouse()
    assert await handled(clickhouse, page_record(job_state("a"), body)) == Done()
    assert clickhouse.rows["bodies"][0][3] == body


async def test_the_parser_of_the_job_sees_what_the_site_said() -> None:
    """Its name and what it is told come with the page."""
    seen: list[tuple[str, PageInfo, bytes]] = []

    async def parse(parser: str, page: PageInfo, body: bytes) -> Parsed | ParseFailed:
        seen.append((parser, page, body))
        return Parsed(title="T")

    clickhouse = FakeClickHouse()
    record = page_record(job_state("a"), b"body", parser="shop", status=404, final_url="https://b.example/")
    assert await handled(clickhouse, record, parse) == Done()
    (name, info, body) = seen[0]
    assert (name, body, info.url, info.status) == ("shop", b"body", "https://b.example/", 404)


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (ParseFailed(message="It raised."), Reason.PARSE_ERROR),
        (ParseFailed(message="No such parser.", unknown_parser=True), Reason.UNKNOWN_PARSER),
    ],
)
async def test_a_failed_parse_is_a_dead_letter_whose_body_is_kept(
    failed: ParseFailed, reason: Reason
) -> None:
    """A replay parses again without a fetch (O6)."""

    async def parse(parser: str, page: PageInfo, body: bytes) -> Parsed | ParseFailed:
        return failed

    clickhouse = FakeClickHouse()
    record = page_record(job_state("a"), b"body")
    outcome = await handled(clickhouse, record, parse)
    assert outcome == Dead(
        reason=reason,
        error_class=ErrorClass.PARSE_ERROR,
        message=failed.message,
        last_status=200,
        final_url="https://shop.example/a",
        body_hash=body_hash(b"body"),
        page=record.headers[HEADER_PAGE],
    )
    assert set(clickhouse.rows) == {"bodies"}


async def test_a_refused_row_ends_the_job_and_quotes_nothing() -> None:
    """The reason names the table and the error, and not what ClickHouse says of the row (O5)."""
    clickhouse = FakeClickHouse()
    clickhouse.refuses = lambda table, row: table.name == "pages_log"
    outcome = await handled(clickhouse, page_record(job_state("a"), b"body"))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.ROW_REFUSED
    assert outcome.body_hash == body_hash(b"body")
    assert "VIOLATED_CONSTRAINT" in outcome.message
    assert "secret-value" not in outcome.message
    assert "outcomes" not in clickhouse.rows


@pytest.mark.parametrize(
    "value",
    [
        b"not zstd at all",
        b"",
        zstandard.ZstdCompressor().compress(b"body")[:-3],
        zstandard.ZstdCompressor().compress(b"another body"),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"z" * 5_000_000),
    ],
)
async def test_a_body_that_is_not_what_it_claims_is_a_dead_letter(value: bytes) -> None:
    """Cut, foreign, of another size, or a bomb: it ends its own job and nothing else."""
    clickhouse = FakeClickHouse()
    outcome = await handled(clickhouse, page_record(job_state("a"), b"body", value=value))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.BAD_STATE
    assert clickhouse.rows == {}


async def test_a_bomb_is_not_believed() -> None:
    """A frame that declares a gigabyte is refused before a byte is allocated."""
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    record = page_record(job_state("a"), b"", value=bomb, length=50_000_000)
    outcome = await handled(FakeClickHouse(), record)
    assert isinstance(outcome, Dead)
    assert "50000000 bytes" in outcome.message


async def test_an_unknown_size_in_the_frame_is_read_by_the_metadata() -> None:
    """Streaming compressors do not know the size beforehand."""
    value = zstandard.ZstdCompressor(write_content_size=False).compress(b"body")
    clickhouse = FakeClickHouse()
    assert await handled(clickhouse, page_record(job_state("a"), b"body", value=value)) == Done()
    assert clickhouse.rows["bodies"][0][3] == b"body"


@pytest.mark.parametrize(
    ("field", "number"),
    [("status", 10**30), ("status", -1), ("length", -5), ("length", 10**30), ("elapsed_ms", 10**30)],
)
async def test_a_page_with_an_impossible_number_is_refused_with_its_job(field: str, number: int) -> None:
    """It must end its own job: no parser can be told of it, and no body has such a length (C10)."""
    value = zstandard.ZstdCompressor(write_content_size=False).compress(b"body")
    record = page_record(job_state("a"), b"body", value=value, **{field: number})
    async with storing(FakeClickHouse()) as service:
        with pytest.raises(RecordError, match=field) as caught:
            service.decode(record)
    assert caught.value.reason is Reason.BAD_STATE
    assert caught.value.job is not None
    assert caught.value.job.state.id == "a"


@pytest.mark.parametrize("failed", [False, True])
async def test_what_comes_with_a_page_counts_as_its_body_does(*, failed: bool) -> None:
    """A page of ten bytes may have a megabyte of metadata, headers and links: all of it is in hand."""
    allowance = Allowance(64 << 20)
    seen: list[tuple[int, int]] = []

    async def put(entry: Entry, *, last: bool = False) -> None:
        seen.append((entry.size, allowance.used))

    async def parse(parser: str, page: PageInfo, body: bytes) -> Parsed | ParseFailed:
        return ParseFailed(message="It raised.") if failed else Parsed(links=("l" * 30_000,) * 10)

    service = StorerService(put=put, parse=parse, allowance=allowance, max_body_bytes=1 << 20)
    record = page_record(
        job_state("a"), b"body", metadata=msgspec.Raw(b'"%b"' % (b"m" * 700_000)), headers={"x": "h" * 90_000}
    )
    await service.handle(service.decode(record))
    ((size, in_hand),) = seen
    assert in_hand >= 790_000
    # The body of a page that could not be parsed is stored by itself.
    assert size >= 1_090_000 if not failed else size < 10_000
    assert allowance.used == 0


async def test_records_that_arrive_again_change_nothing() -> None:
    """A redo writes the same rows (O1, O4)."""
    clickhouse = FakeClickHouse()
    record = page_record(job_state("a"), b"body", offset=7)
    await handled(clickhouse, record)
    before = msgspec.msgpack.encode([row[:2] for row in clickhouse.rows["pages_log"]])
    await handled(clickhouse, record)
    assert msgspec.msgpack.encode([row[:2] for row in clickhouse.rows["pages_log"]]) == before
