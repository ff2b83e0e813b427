"""Writing a batch whatever ClickHouse says: order, splits, holding back; and gathering batches."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

import pytest
from support.storer import FakeClickHouse, dead_record, job_state, page_record
from tidegate.errors import ClickHouseError
from tidegate.events import Event
from tidegate.testing.manual_clock import ManualClock
from tidegate_storer import events
from tidegate_storer.allowance import Allowance
from tidegate_storer.batch import Entry, Limits
from tidegate_storer.batch_writer import BatchWriter, Refused
from tidegate_storer.batching import Batching
from tidegate_storer.parsed import Parsed
from tidegate_storer.reading import DeadLetter, Page, read
from tidegate_storer.rows import body_write, dead_writes, page_writes
from tidegate_storer.tables import Table


def page(job: str, offset: int = 0) -> Entry:
    """Return the rows of a page with a body of its own."""
    record = page_record(job_state(job), job.encode(), offset=offset)
    work = read(record)
    assert isinstance(work.payload, Page)
    meta, state = work.payload.meta, work.job.state
    return Entry((body_write(state, meta, job.encode()), *page_writes(record, state, meta, Parsed())), 100)


def letter(job: str, offset: int = 0) -> Entry:
    """Return the rows of a dead letter."""
    record = dead_record(job_state(job), offset=offset)
    work = read(record)
    assert isinstance(work.payload, DeadLetter)
    return Entry(dead_writes(record, work.job.state, work.payload.meta), 100)


class Rows(Entry, frozen=True, weakref=True, eq=False):
    """An entry of which it can be seen whether anybody still holds it."""


Refuses: TypeAlias = Callable[[Table, tuple[object, ...]], bool]


class Writing:
    """A writer, its ClickHouse, its clock and what it said."""

    def __init__(self) -> None:
        self.clickhouse = FakeClickHouse()
        self.clock = ManualClock()
        self.events: list[Event] = []
        self.writer = BatchWriter(
            self.clickhouse, clock=self.clock, random=Random(3), emit=self.events.append
        )

    async def write(self, entries: Sequence[Entry], advances: int = 0) -> dict[int, Refused]:
        """Write while the clock moves on by thirty seconds so many times."""
        task = asyncio.ensure_future(self.writer.write(entries))
        for _ in range(advances):
            await turn()
            self.clock.advance(30)
        return await asyncio.wait_for(task, 5)

    def ids(self, table: str) -> list[object]:
        """Return the ids of a table's rows."""
        return [row[1] for row in self.clickhouse.rows.get(table, [])]

    def count(self, kind: type[Event]) -> int:
        """Return how often something happened."""
        return sum(isinstance(event, kind) for event in self.events)


async def turn(times: int = 400) -> None:
    """Let every task run until it waits."""
    for _ in range(times):
        await asyncio.sleep(0)  # noqa: TID251 -- the loop itself, not time


@pytest.fixture
def writing() -> Writing:
    """Return a writer on a fake ClickHouse."""
    return Writing()


def named(table_name: str, *bad: str) -> Refuses:
    """Refuse the rows of a table that mention one of these ids."""
    return lambda table, row: table.name == table_name and row[1] in bad


class TestWriter:
    async def test_bodies_go_in_first_and_outcomes_last(self, writing: Writing) -> None:
        """A crash between two inserts must leave reads right (O1, O5)."""
        assert await writing.write([letter("d"), page("a"), page("b")]) == {}
        assert writing.clickhouse.inserts == [
            ("bodies", 2),
            ("pages_log", 2),
            ("dead_letters_log", 1),
            ("outcomes", 3),
        ]

    async def test_a_record_that_is_twice_in_a_batch_is_one_row(self, writing: Writing) -> None:
        """A redelivery may arrive before the first copy was written; both are told."""
        assert await writing.write([page("a"), page("a")]) == {}
        assert writing.ids("pages_log") == ["a"]

    async def test_a_batch_that_was_written_twice_is_there_once(self, writing: Writing) -> None:
        """The token of the same rows is the same (O4)."""
        await writing.write([page("a"), letter("b")])
        await writing.write([page("a"), letter("b")])
        assert writing.ids("pages_log") == ["a"]
        assert writing.ids("dead_letters_log") == ["b"]

    @pytest.mark.parametrize("code", [0, 241, 252, 159, 60, 32])
    async def test_an_outage_is_waited_for_and_refuses_nothing(self, writing: Writing, code: int) -> None:
        """Memory, too many parts, time-outs, no connection: the same insert is sent again (O5)."""
        writing.clickhouse.failures = [ClickHouseError(code, "no")] * 5
        assert await writing.write([page("a"), page("b")], advances=6) == {}
        assert writing.ids("pages_log") == ["a", "b"]
        assert writing.count(events.InsertHeld) == 5

    async def test_waits_grow_to_the_longest(self, writing: Writing) -> None:
        """Half a second at first, then twice as long, never more than five: a return is noticed soon."""
        writing.clickhouse.failures = [ClickHouseError(0, "no")] * 12
        await writing.write([page("a")], advances=13)
        waits = [event.wait_s for event in writing.events if isinstance(event, events.InsertHeld)]
        assert 0.25 <= waits[0] <= 0.5
        assert all(2.5 <= wait <= 5 for wait in waits[4:])

    async def test_a_refused_page_is_found_and_only_it_is_refused(self, writing: Writing) -> None:
        """The batch is split; the others are stored, and no outcome says page for the refused one (O5)."""
        writing.clickhouse.refuses = named("pages_log", "p37")
        entries = [page(f"p{number}", number) for number in range(100)]
        refused = await writing.write(entries)
        assert refused == {37: Refused("pages_log", 469, "VIOLATED_CONSTRAINT")}
        assert set(writing.ids("pages_log")) == {f"p{number}" for number in range(100)} - {"p37"}
        assert "p37" not in writing.ids("outcomes")
        assert len(writing.ids("outcomes")) == 99

    async def test_splits_are_few(self, writing: Writing) -> None:
        """One bad row of a thousand costs its logarithm, not a thousand inserts (O5)."""
        writing.clickhouse.refuses = named("pages_log", "p500")
        await writing.write([page(f"p{number}", number) for number in range(1000)])
        inserts = [insert for insert in writing.clickhouse.inserts if insert[0] == "pages_log"]
        assert len(inserts) <= 11

    async def test_when_most_rows_are_refused_it_is_not_the_rows(self, writing: Writing) -> None:
        """A wrong schema must not turn a topic into dead letters: the batch is held (C11)."""
        writing.clickhouse.refuses = lambda table, row: table.name == "pages_log"
        task = asyncio.ensure_future(writing.writer.write([page(f"p{n}", n) for n in range(40)]))
        for _ in range(5):
            await turn()
            writing.clock.advance(30)
        assert not task.done()
        assert writing.count(events.TooManyRefused) >= 1
        writing.clickhouse.refuses = lambda table, row: False
        for _ in range(5):
            await turn()
            writing.clock.advance(30)
        assert await task == {}
        assert len(writing.ids("pages_log")) == 40

    async def test_when_most_dead_letters_are_refused_none_is_made_smaller(self, writing: Writing) -> None:
        """A wrong schema must not cost their messages either: they are written whole when it is mended."""
        writing.clickhouse.refuses = lambda table, row: "It failed." in row
        task = asyncio.ensure_future(writing.writer.write([letter(f"d{n}", n) for n in range(40)]))
        await turn()
        assert writing.count(events.TooManyRefused) == 1
        writing.clickhouse.refuses = lambda table, row: False
        writing.clock.advance(30)
        await asyncio.wait_for(task, 5)
        last = {row[1]: row for row in writing.clickhouse.rows["dead_letters_log"]}
        assert len(last) == 40
        assert all("It failed." in row for row in last.values())

    async def test_a_refused_dead_letter_becomes_a_minimal_row(self, writing: Writing) -> None:
        """It is never dead-lettered again (O5)."""
        writing.clickhouse.refuses = lambda table, row: (
            table.name == "dead_letters_log" and row[1] == "bad" and "It failed." in row
        )
        assert await writing.write([letter("good"), letter("bad")]) == {}
        rows = {row[1]: row for row in writing.clickhouse.rows["dead_letters_log"]}
        assert "The full row was refused. retries_exhausted" in rows["bad"]
        assert "It failed." in rows["good"]

    async def test_a_refused_minimal_row_is_held(self, writing: Writing) -> None:
        """There is nothing smaller, so the storer waits for a person (O5)."""
        writing.clickhouse.refuses = named("dead_letters_log", "bad")
        task = asyncio.ensure_future(writing.writer.write([letter("bad")]))
        for _ in range(4):
            await turn()
            writing.clock.advance(30)
        assert not task.done()
        writing.clickhouse.refuses = lambda table, row: False
        await turn()
        writing.clock.advance(30)
        assert await asyncio.wait_for(task, 5) == {}

    async def test_a_refused_outcome_never_ends_a_job(self, writing: Writing) -> None:
        """Its page is there already; what is wrong is the table."""
        writing.clickhouse.refuses = lambda table, row: table.name == "outcomes"
        task = asyncio.ensure_future(writing.writer.write([page("a")]))
        await turn()
        assert not task.done()
        assert writing.count(events.TooManyRefused) == 1
        task.cancel()

    async def test_what_clickhouse_says_of_a_refused_row_is_not_repeated(self, writing: Writing) -> None:
        """Its text quotes the row."""
        writing.clickhouse.refuses = named("pages_log", "a")
        refused = await writing.write([page("a")])
        assert "secret-value" not in repr(refused) + repr(writing.events)


class TestBatching:
    """Batches are closed by rows, bytes and age; full means that ``put`` waits."""

    class Sink:
        """A write that waits until it is let go."""

        def __init__(self) -> None:
            self.batches: list[int] = []
            self.gate = asyncio.Event()
            self.gate.set()

        async def write(self, entries: Sequence[Entry]) -> dict[int, Refused]:
            """Count a batch."""
            self.batches.append(len(entries))
            await self.gate.wait()
            return {1: Refused("pages_log", 469, "VIOLATED_CONSTRAINT")} if len(entries) == 7 else {}

    async def test_a_batch_is_written_when_it_has_its_rows(self) -> None:
        """No time passes."""
        sink, clock = self.Sink(), ManualClock()
        batching = Batching(sink.write, limits=Limits(rows=3), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            done = await asyncio.wait_for(asyncio.gather(*(batching.put(Entry((), 1)) for _ in range(6))), 5)
        assert sink.batches == [3, 3]
        assert done == [None] * 6

    async def test_a_batch_is_written_when_it_has_its_bytes(self) -> None:
        """Sixteen large bodies are a batch."""
        sink, clock = self.Sink(), ManualClock()
        limits = Limits(rows=100, size=1_000)
        batching = Batching(sink.write, limits=limits, in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            await asyncio.wait_for(asyncio.gather(*(batching.put(Entry((), 500)) for _ in range(4))), 5)
        assert sink.batches == [2, 2]

    async def test_a_batch_is_written_when_it_is_old(self) -> None:
        """The age counts from its first row, by a timer of its own."""
        sink, clock = self.Sink(), ManualClock()
        batching = Batching(sink.write, limits=Limits(age_s=5), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            put = asyncio.ensure_future(batching.put(Entry((), 1)))
            await turn(20)
            clock.advance(4.9)
            await turn(20)
            assert not put.done()
            clock.advance(0.2)
            assert await asyncio.wait_for(put, 5) is None

    async def test_a_batch_is_written_at_once_for_who_can_give_no_more(self) -> None:
        """No time passes; what was gathered before goes with it (C10)."""
        sink, clock = self.Sink(), ManualClock()
        batching = Batching(sink.write, limits=Limits(), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            before = asyncio.ensure_future(batching.put(Entry((), 1)))
            await turn(20)
            assert not before.done()
            for _ in range(3):
                assert await asyncio.wait_for(batching.put(Entry((), 1), last=True), 5) is None
        assert before.done()
        assert sink.batches == [2, 1, 1]

    async def test_who_can_give_no_more_waits_for_a_slot_like_all_others(self) -> None:
        """Many of them make one batch, not one each."""
        sink, clock = self.Sink(), ManualClock()
        sink.gate.clear()
        batching = Batching(sink.write, limits=Limits(rows=4), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            puts = [asyncio.ensure_future(batching.put(Entry((), 1), last=True)) for _ in range(1)]
            await turn(20)
            puts += [asyncio.ensure_future(batching.put(Entry((), 1), last=True)) for _ in range(6)]
            await turn(20)
            assert sink.batches == [1]
            sink.gate.set()
            await asyncio.wait_for(asyncio.gather(*puts), 5)
        assert sink.batches == [1, 4, 2]

    async def test_one_batch_is_sent_while_another_is_written(self) -> None:
        """Two are on their way, not three: the rest gathers."""
        sink, clock = self.Sink(), ManualClock()
        sink.gate.clear()
        batching = Batching(sink.write, limits=Limits(rows=2), in_flight=2, clock=clock, emit=lambda e: None)
        async with batching.running():
            puts = [asyncio.ensure_future(batching.put(Entry((), 1))) for _ in range(7)]
            await turn(20)
            assert sink.batches == [2, 2]
            assert not any(put.done() for put in puts)
            sink.gate.set()
            await asyncio.wait_for(asyncio.gather(*puts[:6]), 5)
            puts[6].cancel()
        assert sink.batches == [2, 2, 2]

    async def test_an_old_batch_is_not_written_beside_another(self) -> None:
        """A slow ClickHouse gets no more inserts for it: the batch fills meanwhile, and a full one may go."""
        sink, clock = self.Sink(), ManualClock()
        sink.gate.clear()
        limits = Limits(rows=3, age_s=5)
        batching = Batching(sink.write, limits=limits, in_flight=2, clock=clock, emit=lambda e: None)
        async with batching.running():
            puts = [asyncio.ensure_future(batching.put(Entry((), 1))) for _ in range(4)]
            await turn(20)
            clock.advance(30)
            await turn(20)
            assert sink.batches == [3]
            puts += [asyncio.ensure_future(batching.put(Entry((), 1))) for _ in range(3)]
            await turn(20)
            assert sink.batches == [3, 3]
            clock.advance(30)
            sink.gate.set()
            await asyncio.wait_for(asyncio.gather(*puts), 5)
        assert sink.batches == [3, 3, 1]

    async def test_full_means_wait(self) -> None:
        """One batch in flight, one that fills, and the rest waits in order."""
        sink, clock = self.Sink(), ManualClock()
        sink.gate.clear()
        batching = Batching(sink.write, limits=Limits(rows=2), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            puts = [asyncio.ensure_future(batching.put(Entry((), 1))) for _ in range(9)]
            await turn(50)
            assert sink.batches == [2]
            assert not any(put.done() for put in puts)
            sink.gate.set()
            await turn(50)
            assert sink.batches == [2, 2, 2, 2]
            assert [put.done() for put in puts] == [True] * 8 + [False]
            puts[8].cancel()

    async def test_only_the_refused_one_is_told_so(self) -> None:
        """Each handler gets the answer of its own record."""
        sink, clock = self.Sink(), ManualClock()
        batching = Batching(sink.write, limits=Limits(rows=7), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            done = await asyncio.wait_for(asyncio.gather(*(batching.put(Entry((), 1)) for _ in range(7))), 5)
        assert [refused is not None for refused in done] == [index == 1 for index in range(7)]

    async def test_a_handler_that_was_cut_off_harms_nobody(self) -> None:
        """Its rows are written all the same, and redone by the next owner."""
        sink, clock = self.Sink(), ManualClock()
        batching = Batching(sink.write, limits=Limits(rows=2), in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            cut = asyncio.ensure_future(batching.put(Entry((), 1)))
            await turn(5)
            cut.cancel()
            assert await asyncio.wait_for(batching.put(Entry((), 1)), 5) is None

    async def test_handlers_that_are_cut_off_while_they_wait_leave_nothing_behind(self) -> None:
        """With ClickHouse away, one rebalance after the other would keep a window of bodies each."""
        sink, clock = self.Sink(), ManualClock()
        sink.gate.clear()
        limits = Limits(rows=2)
        batching = Batching(sink.write, limits=limits, in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            entries: weakref.WeakSet[Rows] = weakref.WeakSet()
            for _ in range(3):
                puts = []
                for _ in range(6):
                    entry = Rows((), 1)
                    entries.add(entry)
                    puts.append(asyncio.ensure_future(batching.put(entry)))
                    del entry
                await turn(20)
                for put in puts:
                    put.cancel()
                await asyncio.wait(puts)
                del puts, put
                gc.collect()
                # One batch is in flight and one is full.
                assert len(entries) == 4
            later = asyncio.ensure_future(batching.put(Entry((), 1), last=True))
            sink.gate.set()
            assert await asyncio.wait_for(later, 5) is None
        assert sink.batches == [2, 2, 1]

    async def test_those_who_still_wait_keep_their_order_when_others_are_cut_off(self) -> None:
        """Who came first is in the next batch."""
        sink, clock = self.Sink(), ManualClock()
        sink.gate.clear()
        limits = Limits(rows=2)
        batching = Batching(sink.write, limits=limits, in_flight=1, clock=clock, emit=lambda e: None)
        async with batching.running():
            puts = [asyncio.ensure_future(batching.put(Entry((), 1))) for _ in range(9)]
            await turn(20)
            for number in (4, 6):
                puts[number].cancel()
            sink.gate.set()
            await turn(50)
            assert [put.done() for put in puts] == [True] * 8 + [False]
            puts[8].cancel()
        assert sink.batches == [2, 2, 2]


class TestAllowance:
    async def test_bytes_in_hand_are_bounded_and_served_in_order(self) -> None:
        """A large body is not overtaken for ever by small ones."""
        allowance = Allowance(100)
        order: list[int] = []
        most = 0

        async def hold(number: int, size: int) -> None:
            nonlocal most
            async with allowance.hold(size):
                most = max(most, allowance.used)
                order.append(number)
                await turn(3)

        await asyncio.gather(*(hold(n, size) for n, size in enumerate([60, 30, 90, 10, 10, 10])))
        assert order == [0, 1, 2, 3, 4, 5]
        assert most <= 100
        assert allowance.used == 0

    async def test_one_body_larger_than_all_passes_alone(self) -> None:
        """Else it would wait for ever."""
        allowance = Allowance(10)
        async with allowance.hold(1_000):
            assert allowance.used == 1_000

    async def test_whoever_is_cut_off_while_waiting_takes_nothing(self) -> None:
        """Neither before its turn nor in the very moment of it."""
        allowance = Allowance(10)

        async def hold() -> None:
            async with allowance.hold(10):
                pass

        async with allowance.hold(10):
            waiting = asyncio.ensure_future(hold())
            due = asyncio.ensure_future(hold())
            await turn(3)
            waiting.cancel()
            await turn(3)
        due.cancel()
        await turn(3)
        assert allowance.used == 0
        await asyncio.wait_for(hold(), 1)


def test_tables_are_known_to_the_writer() -> None:
    """A row of a table that is not in the order of writing would never be written."""
    tables = {write.table.name for entry in (page("a"), letter("b")) for write in entry.writes}
    assert tables <= {"bodies", "pages_log", "dead_letters_log", "outcomes"}
    assert isinstance(page("a").writes[0].table, Table)
