"""The limit on dead-lettering for faults of ours, and the partitions that are held when it is met (C11)."""

import asyncio
from collections.abc import Mapping

import pytest
from support.runtime import HASTY, PLAN, QUICK, Harness, ScriptedService, put, state_of, until
from support.virtual_time import LoopClock, virtually
from tidegate.clock import SystemClock
from tidegate.consume import runtime_events as events
from tidegate.consume.done_set import MAX_METADATA_BYTES, pack
from tidegate.consume.fault_limit import FaultLimit, Holds
from tidegate.consume.isolating import Isolating
from tidegate.consume.isolation import Suspicion
from tidegate.consume.lanes import Entry
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.service import Work
from tidegate.outcome import Dead, Done, ErrorClass, Outcome, Outgoing, Reason
from tidegate.records import HEADER_DEAD, DeadMeta, decoder, job_headers
from tidegate.testing.fake_broker import FakeBroker, FakeSource
from tidegate.topics import Topic

URLS = TopicPartition("urls", 0)


def test_the_limit_slides() -> None:
    """So many in a window, whenever it begins (C11)."""
    limit = FaultLimit(2, 10.0)
    assert [limit.admits(at) for at in (0.0, 6.0, 9.0, 10.0, 15.0, 16.0)] == [
        True, True, False, True, False, True,
    ]  # fmt: skip


def test_a_hold_tries_one_record_after_each_pause_and_pauses_longer_each_time() -> None:
    """What was in hand beside it neither lengthens nor ends the pause."""
    holds = Holds(10.0)
    assert holds.refused(URLS, 5, 0.0) == 10.0
    assert holds.refused(URLS, 6, 0.1) is None
    assert not holds.passed(URLS, 7)
    assert (holds.due(9.9), holds.due(10.0), holds.due(10.1)) == ([], [URLS], [])
    holds.picked(URLS, 6)
    assert holds.refused(URLS, 6, 11.0) == 20.0
    assert holds.due(31.0) == [URLS]
    holds.picked(URLS, 5)
    assert holds.passed(URLS, 5)
    assert not holds.held
    for _ in range(9):
        holds.refused(URLS, 1, 0.0)
        holds.due(1e9)
        holds.picked(URLS, 1)
    assert holds.refused(URLS, 1, 0.0) == 80.0


def test_who_is_late_while_none_is_tried_yet_leaves_its_turn_to_another() -> None:
    """A pause that has ended is told of again where nothing was picked: else the hold had no end."""
    holds = Holds(10.0)
    holds.refused(URLS, 5, 0.0)
    assert holds.due(10.0) == [URLS]
    assert holds.refused(URLS, 6, 10.1) is None
    assert holds.due(10.2) == [URLS]
    holds.picked(URLS, 5)
    assert holds.refused(URLS, 7, 10.3) is None
    assert holds.due(10.4) == []


@pytest.fixture
def broker() -> FakeBroker:
    """A broker in memory."""
    return FakeBroker(SystemClock(), partitions=2)


def ours(work: Work[bytes]) -> Dead:
    """A dead letter for a fault of ours."""
    return Dead(reason=Reason.ROW_REFUSED, error_class=ErrorClass.REFUSED, message=work.payload.decode())


async def test_past_the_limit_the_partition_waits_and_the_process_goes_on(broker: FakeBroker) -> None:
    """Other partitions are handled, bad input is dead-lettered, and readiness says the truth (C11)."""
    mended = False

    async def handle(work: Work[bytes]) -> Outcome:
        if work.payload.startswith(b"ours") and not mended:
            return ours(work)
        if work.payload == b"theirs":
            return Dead(reason=Reason.ROBOTS, error_class=ErrorClass.REFUSED, message="no")
        state = state_of(work.record)
        page = Outgoing(topic=Topic.PAGES, site="s", value=work.payload, headers=job_headers(state))
        return Done((page,))

    put(broker, *[f"ours {n}" for n in range(9)])
    put(broker, *["theirs"] * 20, partition=1)
    settings = QUICK.model_copy(update={"own_faults": 3, "hold_pause_s": 0.05})
    harness = Harness(broker, ScriptedService(handle), settings=settings)
    async with harness.running():
        await until(lambda: broker.committed("fetcher", TopicPartition("urls", 1)) == 20)
        await until(lambda: bool(harness.events_of(events.PartitionHeld)))
        snapshot = harness.runtime.snapshot()
        assert (snapshot["ready"], snapshot["held"]) == (True, 1)
        reasons = [
            decoder(DeadMeta).decode(each.headers[HEADER_DEAD]).reason
            for each in broker.records(Topic.DEAD_LETTER)
        ]
        assert (reasons.count(Reason.ROW_REFUSED), reasons.count(Reason.ROBOTS)) == (3, 20)
        await until(lambda: len(harness.events_of(events.PartitionHeld)) > 1)
        mended = True
        await until(lambda: broker.committed("fetcher", URLS) == 9)
        assert harness.events_of(events.PartitionFreed)
        assert harness.runtime.snapshot()["held"] == 0
    assert len(broker.records(Topic.PAGES)) == 6


async def test_a_hold_ends_also_where_an_older_record_fails_before_one_is_tried(broker: FakeBroker) -> None:
    """No slot is free when the pause ends, and then a record of before it fails (C11)."""
    late, other = asyncio.Event(), asyncio.Event()
    mended = False

    async def handle(work: Work[bytes]) -> Outcome:
        if work.payload == b"other":
            await other.wait()
            return Done()
        if work.payload == b"late":
            await late.wait()
        return Done() if mended else ours(work)

    put(broker, "late", "a", "b", "c")
    settings = QUICK.model_copy(update={"own_faults": 1, "hold_pause_s": 0.05, "window": 4})
    harness = Harness(broker, ScriptedService(handle), settings=settings)
    holds = harness.runtime._parts.holds
    async with harness.running():
        await until(lambda: bool(harness.events_of(events.PartitionHeld)))
        put(broker, "other", partition=1)
        await until(lambda: "other" in harness.service.seen)
        await until(lambda: holds.held[URLS].is_probing)
        waiting = harness.runtime.snapshot()["buffered"]
        late.set()
        await until(lambda: harness.runtime.snapshot()["buffered"] != waiting)
        mended = True
        other.set()
        await until(lambda: broker.committed("fetcher", URLS) == 4)
    assert harness.events_of(events.PartitionFreed)


def test_records_of_an_isolated_partition_stay_alone_while_it_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the end of a pause nor that of the hold begins one before the last is committed (C10, C11)."""
    mended = False
    in_hand: list[Entry] = []
    commit = FakeSource.commit
    pick = Isolating.pick

    def alone(isolating: Isolating, entry: Entry, count: int) -> None:
        assert not isolating.picked
        in_hand.append(entry)
        pick(isolating, entry, count)

    async def slowly(source: FakeSource, commits: Mapping[TopicPartition, Commit]) -> None:
        await LoopClock().sleep(1.0)  # longer than the pause
        await commit(source, commits)

    async def main() -> None:
        nonlocal mended
        broker = FakeBroker(LoopClock(), partitions=2)

        async def handle(work: Work[bytes]) -> Outcome:
            return Done() if mended else ours(work)

        put(broker, *map(str, range(12)))
        note = Suspicion(begun=True, crashes=2).note()
        broker.commits["fetcher"][URLS] = Commit(0, pack(0, [], MAX_METADATA_BYTES, note))
        settings = QUICK.model_copy(update={"own_faults": 1, "hold_pause_s": 0.2})
        harness = Harness(broker, ScriptedService(handle), settings=settings, clock=LoopClock())
        async with harness.running():
            await LoopClock().sleep(30.0)
            assert harness.events_of(events.PartitionHeld)
            mended = True
            await LoopClock().sleep(60.0)
            assert harness.events_of(events.PartitionFreed)
            assert broker.committed("fetcher", URLS) == 12

    monkeypatch.setattr(FakeSource, "commit", slowly)
    monkeypatch.setattr(Isolating, "pick", alone)
    virtually(main())
    assert len(in_hand) > 12


def test_what_an_earlier_assignment_finishes_ends_no_hold() -> None:
    """A result of another epoch changes nothing, though the record tried now has its offset (C11)."""

    async def main() -> list[int]:
        broker = FakeBroker(LoopClock(), partitions=2)

        async def handle(work: Work[bytes]) -> Outcome:
            seen = harness.service.seen.count("late")
            if work.payload != b"late" or seen == 2:
                return ours(work)
            try:
                await LoopClock().sleep(4.0)
            except asyncio.CancelledError:
                await LoopClock().sleep(3.0)
            return Done()

        put(broker, "late")
        put(broker, "uses the limit up", partition=1)
        settings = HASTY.model_copy(update={"own_faults": 1, "hold_pause_s": 0.2})
        harness = Harness(broker, ScriptedService(handle), settings=settings, clock=LoopClock())
        freed = []
        async with harness.running():
            await LoopClock().sleep(1.0)
            await broker.rebalance(PLAN.group)
            for _ in range(2):
                await LoopClock().sleep(3.0)
                freed.append(len(harness.events_of(events.PartitionFreed)))
            assert harness.service.seen.count("late") == 3
            assert len(harness.events_of(events.ResultStale)) == 1
        return freed

    assert virtually(main()) == [0, 1]


async def test_a_hold_ends_with_its_assignment(broker: FakeBroker) -> None:
    """Also one that begins while the partition is being given up."""
    going = asyncio.Event()

    async def handle(work: Work[bytes]) -> Outcome:
        await going.wait()
        return ours(work)

    put(broker, "a", "b", "c")
    settings = QUICK.model_copy(update={"own_faults": 1, "hold_pause_s": 0.02})
    harness = Harness(broker, ScriptedService(handle), settings=settings)
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 3)
        asyncio.get_running_loop().call_later(0.02, going.set)
        await harness.source.take_all_away()
        assert harness.events_of(events.PartitionHeld)
        assert harness.runtime.snapshot()["held"] == 0


async def test_a_partition_that_is_held_is_given_up_in_good_order(broker: FakeBroker) -> None:
    """What waits for its pause is not committed, and whoever is next has it."""

    async def handle(work: Work[bytes]) -> Outcome:
        return ours(work)

    put(broker, *[f"ours {n}" for n in range(5)])
    settings = QUICK.model_copy(update={"own_faults": 1, "hold_pause_s": 3600.0})
    harness = Harness(broker, ScriptedService(handle), settings=settings)
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 5)
    assert len(broker.records(Topic.DEAD_LETTER)) == 1
    successor = Harness(broker, ScriptedService())
    async with successor.running():
        await until(lambda: len(successor.service.seen) == 4)
