"""Jobs that are answered at once: produced in batches, in hand until the broker has them."""

import asyncio
import gc
from collections.abc import Sequence

import pytest
from support.runtime import HASTY, Handle, Harness, ScriptedService, put, until
from tidegate.clock import SystemClock
from tidegate.consume import runtime_events as events
from tidegate.consume.lanes import Entry
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.passing import MOST
from tidegate.consume.service import Work
from tidegate.errors import FatalProduceError, RecordError
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason
from tidegate.records import HEADER_DEAD, DeadMeta, decoder, job_state
from tidegate.testing.fake_broker import FakeBroker
from tidegate.topics import Topic

URLS = TopicPartition("urls", 0)


class SiftingService(ScriptedService):
    """Puts off at once what says so, and ends what says so."""

    def __init__(self, handle: Handle | None = None) -> None:
        super().__init__(handle)
        self.asked: list[str] = []

    def sifts(self) -> bool:
        """Ask about everything."""
        return True

    def sift(self, work: Work[bytes]) -> Defer | Dead | None:
        """Do as the record says."""
        self.asked.append(work.payload.decode())
        if work.payload.startswith(b"off"):
            return Defer(delay_s=600.0, message="its turn has not come")
        if work.payload.startswith(b"never"):
            return Dead(reason=Reason.DEFERRED_TOO_LONG, error_class=ErrorClass.REFUSED, message="no turn")
        if work.payload.startswith(b"faulty"):
            raise ValueError
        return None


@pytest.fixture
def broker() -> FakeBroker:
    """A broker in memory."""
    return FakeBroker(SystemClock(), partitions=2)


async def test_a_job_put_off_at_once_is_the_same_record_as_one_that_its_handler_puts_off(
    broker: FakeBroker,
) -> None:
    """C1, T3: the same topic, bytes, state, event and commit, in the order of the partition."""
    put(broker, *[f"off {n}" for n in range(300)])
    harness = Harness(broker, SiftingService())
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 300)
    records = broker.records(Topic.RETRY_10M)
    assert [record.value for record in records] == [b"off %d" % n for n in range(300)]
    state = job_state(records[7].headers)
    assert state is not None
    assert (state.id, state.deferrals, state.hop) == ("off 7", 1, 0)
    assert state.due_at_ms is not None
    assert len(harness.events_of(events.JobDeferred)) == 300
    assert harness.service.seen == []


async def test_a_job_without_a_turn_is_a_dead_letter_at_once(broker: FakeBroker) -> None:
    """T3: with its reason, and counted as one."""
    put(broker, "never")
    harness = Harness(broker, SiftingService())
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 1)
    (letter,) = broker.records(Topic.DEAD_LETTER)
    assert decoder(DeadMeta).decode(letter.headers[HEADER_DEAD]).reason is Reason.DEFERRED_TOO_LONG
    assert len(harness.events_of(events.JobDead)) == 1


async def test_nothing_is_finished_before_its_batch_is_acknowledged(broker: FakeBroker) -> None:
    """C5: whoever dies in between leaves it to the next owner."""
    put(broker, *[f"off {n}" for n in range(5)])
    first = Harness(broker, SiftingService())
    first.sink.gate.clear()
    async with first.killed():
        await until(lambda: bool(broker.records(Topic.RETRY_10M)))
        await asyncio.sleep(0.05)  # noqa: TID251 -- several commit intervals
        assert broker.committed("fetcher", URLS) == 0
        assert first.runtime.snapshot()["passed_on"] == 5
    second = Harness(broker, SiftingService())
    async with second.running():
        await until(lambda: broker.committed("fetcher", URLS) == 5)


async def test_what_is_acknowledged_after_its_partition_has_gone_finishes_nothing(broker: FakeBroker) -> None:
    """C5: the drain waits for the batch until its deadline, then it is cut off and counted."""
    put(broker, *[f"off {n}" for n in range(5)])
    harness = Harness(broker, SiftingService(), settings=HASTY)
    harness.sink.gate.clear()
    async with harness.running():
        await until(lambda: bool(broker.records(Topic.RETRY_10M)))
        await harness.source.take_all_away()
        assert harness.runtime.snapshot()["passed_on"] == 0
        harness.sink.gate.set()
        assert broker.committed("fetcher", URLS) == 0
    assert [event.abandoned for event in harness.events if isinstance(event, events.PartitionsRevoked)][
        1
    ] == 5


async def test_the_end_waits_for_batches_that_are_on_their_way(broker: FakeBroker) -> None:
    """C5: a drain within its deadline leaves nothing to be redone."""
    put(broker, *[f"off {n}" for n in range(5)])
    harness = Harness(broker, SiftingService())
    harness.sink.gate.clear()
    async with harness.running():
        await until(lambda: bool(broker.records(Topic.RETRY_10M)))
        asyncio.get_running_loop().call_later(0.03, harness.sink.gate.set)
    assert broker.committed("fetcher", URLS) == 5
    assert len(broker.records(Topic.RETRY_10M)) == 5


async def test_those_put_off_take_no_slots_and_are_bounded(broker: FakeBroker) -> None:
    """Rule 8: beyond the bound they take slots as ever, and others are worked on beside them."""
    each = MOST // 2 + 100
    for partition in (0, 1):
        put(broker, *[f"off {partition}/{n}" for n in range(each)], partition=partition)
    service = SiftingService(_defer)
    harness = Harness(broker, service)
    harness.sink.gate.clear()
    async with harness.running():
        await until(lambda: len(service.seen) > 0)
        assert len(service.asked) == MOST
        harness.sink.gate.set()
        both = [TopicPartition("urls", partition) for partition in (0, 1)]
        await until(lambda: all(broker.committed("fetcher", where) == each for where in both))
    assert len(broker.records(Topic.RETRY_10M)) == 2 * each


async def test_a_flood_is_held_back_before_it_takes_slots(broker: FakeBroker) -> None:
    """Rule 8, T3: while the broker is slow one partition's flood waits in the log and takes no slots."""
    put(broker, *[f"off {n}" for n in range(MOST + 500)])
    service = SiftingService(_defer)
    harness = Harness(broker, service)
    harness.sink.gate.clear()
    async with harness.running():
        await until(lambda: len(service.asked) > 1000)
        await asyncio.sleep(0.1)  # noqa: TID251 -- several polls
        assert len(service.asked) < MOST
        harness.sink.gate.set()
        await until(lambda: broker.committed("fetcher", URLS) == MOST + 500)
    assert service.seen == []


async def test_a_flood_is_put_off_while_slow_jobs_have_all_slots(broker: FakeBroker) -> None:
    """T3: and what is behind the flood gets its slot in its turn."""
    working = asyncio.Event()

    async def handle(_work: Work[bytes]) -> Outcome:
        await working.wait()
        return Done()

    put(broker, *[f"work {n}" for n in range(20)], partition=1)
    service = SiftingService(handle)
    harness = Harness(broker, service)
    async with harness.running():
        await until(lambda: len(service.seen) == 6)
        put(broker, *[f"off {n}" for n in range(300)], "behind")
        await until(lambda: broker.committed("fetcher", URLS) == 300)
        assert len(service.seen) == 6
        assert service.asked.count("behind") == 1
        working.set()
        await until(lambda: broker.committed("fetcher", URLS) == 301)
    assert "behind" in service.seen


async def test_jobs_of_other_partitions_are_worked_on_between_those_put_off(broker: FakeBroker) -> None:
    """T3: a flood does not go first, and the loop turns."""
    put(broker, *[f"off {n}" for n in range(2000)])
    put(broker, *[f"work {n}" for n in range(20)], partition=1)
    after: list[int] = []
    service = SiftingService()

    async def handle(_work: Work[bytes]) -> Outcome:
        after.append(len(service.asked))
        return Done()

    service._handle = handle
    harness = Harness(broker, service)
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 2000)
    assert len(after) == 20
    assert after[-1] < 1000


async def test_what_fails_while_it_is_sifted_goes_to_its_handler(broker: FakeBroker) -> None:
    """C11: and it is told of."""
    put(broker, "faulty")
    harness = Harness(broker, SiftingService())
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 1)
    assert harness.service.seen == ["faulty"]
    assert len(harness.events_of(events.HandlerFaulted)) == 1


async def test_solutions_are_never_sifted(broker: FakeBroker) -> None:
    """C3: whatever the service says."""
    put(broker, "off", topic=Topic.CAPTCHA_SOLUTIONS)
    service = SiftingService()
    harness = Harness(broker, service)
    async with harness.running():
        await until(lambda: service.seen == ["off"])
    assert service.asked == []


async def test_a_record_that_its_handler_had_is_not_kept(broker: FakeBroker) -> None:
    """It may be large, and every partition has had a last one."""
    put(broker, "work")
    put(broker, "work", partition=1)
    harness = Harness(broker, SiftingService())
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 2)
        await until(lambda: harness.runtime.snapshot()["bytes_in_hand"] == 0)
        gc.collect()
        records = {id(record) for record in broker.records(Topic.URLS)}
        kept = [one for one in gc.get_objects() if isinstance(one, Entry) and id(one.record) in records]
        assert kept == []


async def test_one_that_does_not_fit_is_a_dead_letter_and_its_neighbours_go_on(broker: FakeBroker) -> None:
    """C9: no batch comes back for ever."""
    put(broker, "off 1", "off large", "off 2")
    harness = Harness(broker, SiftingService())
    send = harness.sink.send

    async def send_batch(records: Sequence[Outgoing]) -> None:
        assert len(records) == 3
        raise RecordError(Reason.BODY_TOO_LARGE, "It does not fit.")

    async def send_small(record: Outgoing) -> object:
        if record.value == b"off large" and record.topic != Topic.DEAD_LETTER:
            raise RecordError(Reason.BODY_TOO_LARGE, "It does not fit.")
        return await send(record)

    harness.sink.send_batch = send_batch  # type: ignore[method-assign]
    harness.sink.send = send_small  # type: ignore[method-assign, assignment]
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 3)
    assert [record.value for record in broker.records(Topic.RETRY_10M)] == [b"off 1", b"off 2"]
    assert [record.value for record in broker.records(Topic.DEAD_LETTER)] == [b"off large"]


async def test_a_batch_whose_fate_is_unknown_ends_the_process(broker: FakeBroker) -> None:
    """C5: the next owner redoes it."""
    put(broker, "off 1")
    harness = Harness(broker, SiftingService())

    async def send_batch(records: Sequence[Outgoing]) -> None:
        raise FatalProduceError(f"{len(records)} records")

    harness.sink.send_batch = send_batch  # type: ignore[method-assign]
    with pytest.raises(BaseExceptionGroup) as failed:
        await harness.runtime.run(harness.stop)
    assert failed.value.subgroup(FatalProduceError) is not None
    assert broker.committed("fetcher", URLS) == 0


async def _defer(_work: Work[bytes]) -> Outcome:
    return Defer(delay_s=600.0, message="its turn has not come")
