"""What is held against a partition's records, step by step (C10)."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec
import pytest
from support.runtime import HASTY, PLAN, Harness, ScriptedService, put, until
from support.virtual_time import LoopClock, virtually
from tidegate.clock import SystemClock
from tidegate.consume.done_set import MAX_METADATA_BYTES, pack
from tidegate.consume.isolation import INNOCENT, NARROW, IsolationPolicy, Suspicion, suspicion_of
from tidegate.consume.offsets import Commit, OffsetBook, TopicPartition
from tidegate.consume.service import Work
from tidegate.errors import FatalProduceError, IllegalTransitionError
from tidegate.outcome import Done, Outcome
from tidegate.records import Inbound
from tidegate.testing.fake_broker import FakeBroker, FakeSource
from tidegate.topics import Topic

POLICY = IsolationPolicy(crashes=3, crashes_alone=2)
URLS = TopicPartition("urls", 0)


def crashed(suspicion: Suspicion) -> Suspicion:
    """Begin, die, and be taken over."""
    return suspicion.began().taken_over(POLICY)


def test_crashes_at_one_offset_isolate_and_crashes_alone_condemn() -> None:
    """Narrow after one, isolated after three, on trial after one alone, condemned after two more."""
    suspicion = crashed(INNOCENT)
    assert (suspicion.is_narrow, suspicion.is_isolated) == (True, False)
    suspicion = crashed(crashed(suspicion))
    assert (suspicion.is_narrow, suspicion.is_isolated, suspicion.on_trial) == (False, True, False)
    suspicion = crashed(suspicion.taken_alone())
    assert (suspicion.on_trial, suspicion.condemns(POLICY)) == (True, False)
    suspicion = crashed(crashed(suspicion.taken_alone()).taken_alone())
    assert suspicion.condemns(POLICY)
    assert suspicion.condemned().is_isolated


@pytest.mark.parametrize(
    "step", [Suspicion.progressed, Suspicion.acquitted, Suspicion.handled], ids=["progress", "time", "done"]
)
def test_who_gets_further_or_outlives_its_time_is_accused_no_more(
    step: Callable[[Suspicion], Suspicion],
) -> None:
    """What was held against the record is void; the isolation goes on for the others."""
    accused = Suspicion(begun=True, left=5, alone=True, accused=1)
    after = step(accused)
    assert (after.accused, after.alone) == (0, False)
    assert after.left in (4, 5)


def test_a_clean_end_counts_no_crash_and_forgets_none() -> None:
    """A slow poison is not helped by the rebalances that its crashes cause."""
    once = crashed(INNOCENT)
    assert once.began().ended().taken_over(POLICY) == once
    assert INNOCENT.began().ended().taken_over(POLICY) == INNOCENT


def test_a_death_between_two_records_accuses_nobody() -> None:
    """Isolated and nothing in hand: it was not a record."""
    isolated = Suspicion(left=7)
    assert crashed(isolated) == isolated


def test_without_isolation_nothing_is_counted() -> None:
    """Nought crashes never isolate, whatever a predecessor counted."""
    off = IsolationPolicy(crashes=0)
    assert Suspicion(begun=True, left=3, alone=True, accused=9).taken_over(off) == INNOCENT


@pytest.mark.parametrize("step", [Suspicion.taken_alone, Suspicion.handled, Suspicion.condemned])
def test_steps_of_the_isolated_are_illegal_for_others(step: Callable[[Suspicion], Suspicion]) -> None:
    """An illegal transition raises and changes nothing."""
    before = Suspicion(crashes=1)
    with pytest.raises(IllegalTransitionError):
        step(before)
    assert before == Suspicion(crashes=1)


@pytest.mark.parametrize(
    "suspicion", [INNOCENT, Suspicion(begun=True), Suspicion(begun=True, left=16, alone=True, accused=2)]
)
def test_a_note_says_all_of_it(suspicion: Suspicion) -> None:
    """What is written is read back."""
    assert suspicion_of(suspicion.note()) == suspicion


@pytest.mark.parametrize("note", ["", "x", "ba1.2", "b-1.2.3", "b1.2.3.4", "ab1.2.3", "b1234.0.0", "٣.٣.٣"])
def test_a_note_that_is_not_ours_accuses_nobody(note: str) -> None:
    """Anybody may commit anything."""
    assert suspicion_of(note) in (INNOCENT, Suspicion(crashes=3, left=3, accused=3))


def test_after_a_crash_few_records_are_read_until_a_commit_gets_further() -> None:
    """What may have been in hand at the next crash is then known to be among a few."""
    book = OffsetBook()
    epoch = book.assign(URLS, 0, (), Suspicion(crashes=1))
    for offset in range(NARROW):
        assert book.takes(URLS, 1)
        book.receive(URLS, offset)
    assert not book.takes(URLS, 1)
    book.finish(URLS, epoch, 0)
    assert not book.takes(URLS, 1)
    book.commits()
    assert book.takes(URLS, 1)


@pytest.fixture
def broker() -> FakeBroker:
    """A broker in memory."""
    return FakeBroker(SystemClock(), partitions=2)


def test_a_handler_that_outlives_its_assignment_begins_no_second_record_of_the_next_one() -> None:
    """It ends while a record of the new assignment is in hand alone, which goes on being so (C10)."""
    in_hand: set[bytes] = set()
    most = 0

    async def main() -> None:
        broker = FakeBroker(LoopClock(), partitions=2)

        async def handle(work: Work[bytes]) -> Outcome:
            nonlocal most
            if len(harness.service.seen) == 1:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    await LoopClock().sleep(3.0)
                return Done()
            in_hand.add(work.payload)
            most = max(most, len(in_hand))
            await LoopClock().sleep(4.0)
            in_hand.remove(work.payload)
            return Done()

        put(broker, "0", "1", "2")
        broker.commits["fetcher"][URLS] = Commit(0, pack(0, [], MAX_METADATA_BYTES, Suspicion(left=9).note()))
        harness = Harness(broker, ScriptedService(handle), settings=HASTY, clock=LoopClock())
        async with harness.running():
            await LoopClock().sleep(1.0)
            await broker.rebalance(PLAN.group)
            await LoopClock().sleep(60.0)
            assert harness.service.seen == ["0", "0", "1", "2"]
            assert broker.committed("fetcher", URLS) == 3

    virtually(main())
    assert most == 1


async def test_a_process_that_ends_for_a_reason_of_its_own_accuses_no_record(broker: FakeBroker) -> None:
    """Its commit ends in good order; one that is killed leaves word that it had begun (C10)."""

    async def handle(work: Work[bytes]) -> Outcome:
        raise FatalProduceError("unknown for good")

    put(broker, "a")
    harness = Harness(broker, ScriptedService(handle))
    with pytest.raises(ExceptionGroup):
        await harness.runtime.run(harness.stop)
    assert broker.commits["fetcher"][URLS].metadata == ""

    async def wait(work: Work[bytes]) -> Outcome:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    harness = Harness(broker, ScriptedService(wait))
    async with harness.killed():
        await until(lambda: bool(harness.service.seen))
    assert broker.commits["fetcher"][URLS].metadata == pack(0, [], MAX_METADATA_BYTES, "b0.0.0")


async def test_an_idle_partition_that_saw_a_crash_makes_no_polls_of_others_small(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays suspected until a commit gets further, which may be never; and what comes there is read."""
    asked: list[tuple[set[TopicPartition], int]] = []

    async def poll(
        source: FakeSource, partitions: Iterable[TopicPartition], *, max_records: int, timeout_s: float
    ) -> list[Inbound]:
        wanted = list(partitions)
        asked.append((set(wanted), max_records))
        return await read(source, wanted, max_records=max_records, timeout_s=timeout_s)

    read = FakeSource.poll
    monkeypatch.setattr(FakeSource, "poll", poll)
    put(broker, *map(str, range(100)))
    idle = TopicPartition("urls", 1)
    harness = Harness(broker, ScriptedService())
    note = Suspicion(begun=True).note()
    broker.commits["fetcher"][idle] = Commit(0, pack(0, [], MAX_METADATA_BYTES, note))
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 100)
        put(broker, "late", partition=1)
        await until(lambda: len(harness.service.seen) == 101)
    assert NARROW in {most for wanted, most in asked if idle in wanted}
    assert all(most > NARROW for wanted, most in asked if URLS in wanted)


async def test_a_record_in_hand_alone_is_told_so(broker: FakeBroker) -> None:
    """Else who gathers records would wait for more of a partition that gives none (C10)."""
    alone: dict[str, bool] = {}

    async def handle(work: Work[bytes]) -> Outcome:
        alone[work.payload.decode()] = work.alone
        return Done()

    put(broker, "0", "1", "2", "3")
    put(broker, "other", partition=1)
    harness = Harness(broker, ScriptedService(handle))
    broker.commits["fetcher"][URLS] = Commit(0, pack(0, [], MAX_METADATA_BYTES, Suspicion(left=2).note()))
    async with harness.running():
        await until(lambda: len(alone) == 5)
    assert alone == {"0": True, "1": True, "2": False, "3": False, "other": False}


async def test_what_kills_the_reader_of_dead_letters_loses_its_bytes_but_not_its_job(
    broker: FakeBroker,
) -> None:
    """Or the next dead letter would kill it as well (O5)."""
    plan = msgspec.structs.replace(PLAN, group="storer", topics=(Topic.DEAD_LETTER,), delays=(), reserved=())
    note = Suspicion(begun=True, left=9, alone=True, accused=2).note()
    put(broker, "poison", topic=Topic.DEAD_LETTER)
    where = TopicPartition(Topic.DEAD_LETTER, 0)
    harness = Harness(broker, ScriptedService(), plan=plan)
    broker.commits["storer"][where] = Commit(0, pack(0, [], MAX_METADATA_BYTES, note))
    async with harness.running():
        await until(lambda: broker.committed("storer", where) == 1)
        await until(lambda: len(harness.service.seen) == 1)
    letters = broker.records(Topic.DEAD_LETTER)
    assert [letter.value for letter in letters[1:]] == [b""]
    assert harness.service.seen == [""]
