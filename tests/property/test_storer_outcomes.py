"""The rule of outcomes against the real engine: whatever is redone, reordered or cut off, reads are right.

A history of pages and dead letters of a few jobs is delivered in batches as a group of storers would after
crashes and rebalances: in any order, again and again, in other batches, cut off between any two inserts.
After every batch the public views are compared with a model that only knows which records were inserted.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.storer import EPOCH_MS, Endpoint, dead_record, job_state, page_record
from tidegate.clock import SystemClock
from tidegate.outcome import Reason
from tidegate.records import Inbound
from tidegate_storer.batch import Entry, token
from tidegate_storer.batch_writer import BatchWriter
from tidegate_storer.clickhouse import ClickHouse
from tidegate_storer.migrate import migrate
from tidegate_storer.parsed import Parsed
from tidegate_storer.reading import DeadLetter, Page, read
from tidegate_storer.rows import Write, body_write, dead_writes, page_writes
from tidegate_storer.settings import StorerSettings
from tidegate_storer.tables import DEAD_LETTERS, OUTCOMES, PAGES, Table

_MONTH_MS = 31 * 86_400_000
_JOBS = ("a", "b", "c")


class _Cut(Exception):  # noqa: N818 -- a crash, not an error
    """The storer dies here."""


class _Server:
    """The engine, its event loop, and how many inserts the next batch survives."""

    def __init__(self, runner: asyncio.Runner, clickhouse: ClickHouse) -> None:
        self.runner = runner
        self.clickhouse = clickhouse
        self.inserts_left: int | None = None
        self.done: list[Table] = []

    async def insert(self, table: Table, rows: Sequence[tuple[object, ...]], token: str) -> None:
        """Insert, or die first."""
        if self.inserts_left == len(self.done):
            raise _Cut
        await self.clickhouse.insert(table, rows, token)
        self.done.append(table)

    def write(self, entries: Sequence[Entry], inserts: int | None) -> list[Table]:
        """Write a batch up to so many inserts; return the tables that were reached."""
        self.inserts_left, self.done = inserts, []
        writer = BatchWriter(self, clock=SystemClock(), random=Random(1), emit=lambda event: None)
        with suppress(_Cut):
            assert self.runner.run(writer.write(entries)) == {}
        return self.done

    def ask(self, sql: str) -> list[tuple[str, ...]]:
        """Return a query's rows as text."""
        rows = self.runner.run(self.clickhouse.query(sql))
        return [tuple(str(value) for value in row) for row in rows]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Server]:
    """Start the engine behind its endpoint and bring it up to date."""
    endpoint = Endpoint(tmp_path_factory.mktemp("clickhouse"))
    with asyncio.Runner() as runner:
        runner.run(endpoint.start())
        clickhouse = None
        try:
            runner.run(migrate(endpoint.settings, StorerSettings(), SystemClock()))
            clickhouse = ClickHouse(endpoint.settings, timeout_s=30)
            yield _Server(runner, clickhouse)
        finally:
            if clickhouse is not None:
                runner.run(clickhouse.close())
            runner.run(endpoint.stop())


@st.composite
def histories(draw: st.DrawFn) -> list[Inbound]:
    """Return the records of a history: (kind, job, partition, time) with offsets as a log gives them.

    A job that is submitted again has another site, so another partition, and another month of acceptance.
    """
    drawn = draw(
        st.lists(
            st.tuples(
                st.booleans(), st.sampled_from(_JOBS), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)
            ),
            min_size=1,
            max_size=10,
        )
    )
    records: list[Inbound] = []
    offsets: dict[tuple[bool, int], int] = {}
    # Append times do not run backwards in a partition.
    for is_page, job, partition, time, month in sorted(drawn, key=lambda item: item[3]):
        offset = offsets[is_page, partition] = offsets.get((is_page, partition), -1) + 1
        state = job_state(job, accepted_at_ms=EPOCH_MS + month * _MONTH_MS, site=f"site{partition}.example")
        place = {"offset": offset, "partition": partition, "timestamp_ms": EPOCH_MS + time}
        if is_page:
            records.append(page_record(state, f"{partition}/{offset}".encode(), **place))  # type: ignore[arg-type]
        else:
            records.append(dead_record(state, message=f"{partition}/{offset}", reason=Reason.ROBOTS, **place))  # type: ignore[arg-type]
    return records


def entry_of(record: Inbound, run: str) -> Entry:
    """Return the rows of a record, in a run of the example's own."""
    work = read(record)
    state = msgspec.structs.replace(work.job.state, run=run)
    if isinstance(work.payload, Page):
        body = f"{record.partition}/{record.offset}".encode()
        page = page_writes(record, state, work.payload.meta, Parsed())
        return Entry((body_write(state, work.payload.meta, body), *page), 100)
    assert isinstance(work.payload, DeadLetter)
    return Entry(dead_writes(record, state, work.payload.meta), 100)


def place_of(record: Inbound) -> tuple[int, int, int]:
    """Return the record's place in log order."""
    return (record.timestamp_ms, record.offset, record.partition)


def expected(records: Sequence[Inbound]) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """Return the model's pages and dead letters: job, partition, offset. It is the rule in words (O1)."""
    pages: dict[str, Inbound] = {}
    dead: dict[str, Inbound] = {}
    for record in sorted(records, key=place_of):
        work = read(record)
        if isinstance(work.payload, Page):
            pages.setdefault(work.job.state.id, record)
        else:
            dead[work.job.state.id] = record
    for job in pages:
        dead.pop(job, None)
    return tuple(  # type: ignore[return-value]
        {(job, str(record.partition), str(record.offset)) for job, record in winners.items()}
        for winners in (pages, dead)
    )


_VIEWS = """
SELECT 'page', id, toString(record_partition), toString(record_offset) FROM pages WHERE run = '{run}'
UNION ALL
SELECT 'dead', id, toString(record_partition), toString(record_offset) FROM dead_letters WHERE run = '{run}'
UNION ALL
SELECT 'job', id, outcome, '' FROM jobs WHERE run = '{run}'
UNION ALL
SELECT 'body', id, body, '' FROM pages_with_bodies WHERE run = '{run}'
"""
_EXAMPLES = iter(range(1_000_000))


# Sixty histories on a real engine: half a minute beside another worker.
@pytest.mark.timeout(600)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), history=histories())
def test_views_show_exactly_the_models_outcome_after_every_batch(
    server: _Server, data: st.DataObject, history: list[Inbound]
) -> None:
    """O1 holds at every crash point: one outcome a job, page over dead letter, never back (O1, O4, O5)."""
    run = f"run-{next(_EXAMPLES)}"
    left = list(range(len(history)))
    in_tables: dict[str, set[int]] = {PAGES.name: set(), DEAD_LETTERS.name: set()}
    had_page: set[str] = set()
    batches = 0
    while left:
        # Late batches are whole, so that every record arrives in the end.
        whole = batches >= 4
        chosen = (
            left if whole else data.draw(st.lists(st.integers(0, len(history) - 1), min_size=1, max_size=8))
        )
        inserts = None if whole else data.draw(st.sampled_from([None, 0, 1, 2, 3, 4]))
        reached = server.write([entry_of(history[index], run) for index in chosen], inserts)
        for index in chosen:
            record = history[index]
            table = PAGES if isinstance(read(record).payload, Page) else DEAD_LETTERS
            if table in reached:
                in_tables[table.name].add(index)
        if inserts is None:
            left = [index for index in left if index not in chosen]
        batches += 1
        if data.draw(st.integers(0, 3), label="merge") == 0:
            for table in (PAGES, DEAD_LETTERS, OUTCOMES):
                server.runner.run(_optimize(server.clickhouse, table))
        stored = [history[index] for index in sorted(in_tables[PAGES.name] | in_tables[DEAD_LETTERS.name])]
        pages, dead = expected(stored)
        right = [("page", *row) for row in pages] + [("dead", *row) for row in dead]
        right += [("job", row[0], "page", "") for row in pages] + [
            ("job", row[0], "dead_letter", "") for row in dead
        ]
        right += [("body", row[0], f"{row[1]}/{row[2]}", "") for row in pages]
        assert sorted(server.ask(_VIEWS.replace("{run}", run))) == sorted(right)
        assert had_page <= {row[0] for row in pages}
        had_page = {row[0] for row in pages}


async def _optimize(clickhouse: ClickHouse, table: Table) -> None:
    """Merge what is there, as ClickHouse would some time."""
    client = await clickhouse._connected()
    await client.command(f"OPTIMIZE TABLE {table.name} FINAL")


writes = st.lists(
    st.builds(Write, st.just(PAGES), st.just(()), st.binary(max_size=6)), min_size=1, max_size=6
)


@given(writes, writes)
def test_two_blocks_share_a_token_only_if_they_have_the_same_keys(one: list[Write], two: list[Write]) -> None:
    """The same token with other rows would lose them without a word (O4)."""
    same = [write.key for write in one] == [write.key for write in two]
    assert (token("t", one) == token("t", two)) == same
