"""The consumer runtime on a broker in memory."""

import asyncio
from collections import Counter

import msgspec
import pytest
from support.runtime import HASTY, PLAN, QUICK, Harness, ScriptedService, put, until
from tidegate.clock import SystemClock
from tidegate.consume import runtime_events as events
from tidegate.consume.done_set import unpack
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.plan import Fault
from tidegate.consume.retries import policy_of
from tidegate.consume.service import Work
from tidegate.consume.transport import Position
from tidegate.errors import FatalProduceError, RebalanceError, RecordError
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.records import HEADER_DEAD, DeadMeta, Inbound, decoder, job_state
from tidegate.settings import RetrySettings, RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker
from tidegate.topics import Topic

URLS = TopicPartition("urls", 0)


@pytest.fixture
def broker() -> FakeBroker:
    """A broker in memory."""
    return FakeBroker(SystemClock(), partitions=2)


def page(work: Work[bytes]) -> Done:
    """A result for a job."""
    return Done((Outgoing(topic=Topic.PAGES, site=work.job.state.site, value=work.payload),))


async def test_everything_is_handled_and_committed(broker: FakeBroker) -> None:
    """Every record is handled once and the end of each partition is committed."""
    put(broker, *[f"a{n}" for n in range(500)])
    put(broker, *[f"b{n}" for n in range(300)], partition=1)
    harness = Harness(broker, ScriptedService())
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 800)
    assert Counter(harness.service.seen).most_common(1)[0][1] == 1
    assert broker.committed("fetcher", URLS) == 500
    assert broker.committed("fetcher", TopicPartition("urls", 1)) == 300


async def test_a_group_without_commit_commits_its_start_at_once(broker: FakeBroker) -> None:
    """The start position is explicit and committed before anything is handled (C6)."""
    harness = Harness(broker, ScriptedService())
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 0)


async def test_nothing_is_committed_before_the_broker_has_acknowledged(broker: FakeBroker) -> None:
    """A result that is on its way holds its offset (C, rule 9)."""

    async def handle(work: Work[bytes]) -> Outcome:
        return page(work)

    put(broker, "a")
    harness = Harness(broker, ScriptedService(handle))
    harness.sink.gate.clear()
    async with harness.running():
        await until(lambda: len(broker.records("pages")) == 1)
        await asyncio.sleep(0.05)  # noqa: TID251 -- several commit intervals
        assert broker.committed("fetcher", URLS) == 0
        harness.sink.gate.set()
        await until(lambda: broker.committed("fetcher", URLS) == 1)


async def test_the_window_bounds_what_is_in_hand(broker: FakeBroker) -> None:
    """Never more than the window, less the slots that are reserved for solutions."""
    gate = asyncio.Event()
    now = most = 0

    async def handle(work: Work[bytes]) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await gate.wait()
        now -= 1
        return Done()

    put(broker, *map(str, range(100)))
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: now == 6)
        put(broker, "s1", "s2", "s3", topic=Topic.CAPTCHA_SOLUTIONS)
        await until(lambda: now == 8)
        await asyncio.sleep(0.03)  # noqa: TID251 -- room for a mistake to show
        assert now == 8
        gate.set()
        await until(lambda: len(harness.service.seen) == 103)
    assert most == 8


async def test_jobs_that_are_only_passed_on_leave_the_slots_to_those_that_are_worked_on(
    broker: FakeBroker,
) -> None:
    """While the broker is slow to take them, and only as many as there are slots."""
    working = asyncio.Event()

    async def handle(work: Work[bytes]) -> Outcome:
        if work.payload.startswith(b"pass"):
            return page(work)
        await working.wait()
        return Done()

    put(broker, *[f"pass {n}" for n in range(7)], *[f"work {n}" for n in range(9)])
    harness = Harness(broker, ScriptedService(handle))
    harness.sink.gate.clear()
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 13)
        put(broker, *[f"pass {n}" for n in range(30)])
        await asyncio.sleep(0.03)  # noqa: TID251 -- room for a mistake to show
        assert harness.service.seen[7:] == [f"work {n}" for n in range(6)]
        assert harness.runtime.snapshot()["in_hand"] == 13
        assert broker.committed("fetcher", URLS) == 0
        harness.sink.gate.set()
        working.set()
        await until(lambda: len(harness.service.seen) == 46)


async def test_bytes_in_hand_are_bounded(broker: FakeBroker) -> None:
    """Large records take the place of many; one alone always may run."""
    gate = asyncio.Event()

    async def handle(work: Work[bytes]) -> Outcome:
        await gate.wait()
        return Done()

    put(broker, *["x" * 600_000] * 5)
    harness = Harness(broker, ScriptedService(handle), settings=msgspec_settings(window_bytes=1 << 20))
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 2)
        await asyncio.sleep(0.03)  # noqa: TID251 -- room for a mistake to show
        assert len(harness.service.seen) == 2
        gate.set()
        await until(lambda: len(harness.service.seen) == 5)


async def test_bytes_of_headers_are_counted_in_hand_and_while_they_wait(broker: FakeBroker) -> None:
    """A page's record carries its job there: the bound, and one record, is all that is in hand (C8)."""
    gate = asyncio.Event()

    async def handle(work: Work[bytes]) -> Outcome:
        await gate.wait()
        return Done()

    original = (("tidegate-original", b"x" * (200 << 10)),)
    for _ in range(40):
        broker.append(Outgoing(topic=Topic.URLS, site="s", value=b"v", partition=0, headers=original))
    harness = Harness(broker, ScriptedService(handle), settings=msgspec_settings(window_bytes=1 << 20))
    harness.source.most_records = 1
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 6)
        await asyncio.sleep(0.03)  # noqa: TID251 -- room for a mistake to show
        snapshot = harness.runtime.snapshot()
        assert (snapshot["in_hand"], snapshot["bytes_in_hand"]) == (6, 6 * ((200 << 10) + 1))
        assert snapshot["buffered"] == 11
        gate.set()
        await until(lambda: len(harness.service.seen) == 40)
    assert harness.runtime.snapshot()["bytes_in_hand"] == 0


async def test_bytes_that_wait_for_a_slot_are_bounded(broker: FakeBroker) -> None:
    """A backlog of large records is left with the broker, however many slots are taken."""
    gate = asyncio.Event()

    async def handle(work: Work[bytes]) -> Outcome:
        await gate.wait()
        return Done()

    put(broker, "small", *["x" * 1_000_000] * 20)
    harness = Harness(broker, ScriptedService(handle))
    harness.source.most_records = 1
    async with harness.running():
        await until(lambda: len(harness.service.seen) == 6)
        await asyncio.sleep(0.03)  # noqa: TID251 -- room for a mistake to show
        assert harness.runtime.snapshot()["buffered"] == 3
        gate.set()
        await until(lambda: len(harness.service.seen) == 21)


def msgspec_settings(**changes: object) -> RuntimeSettings:
    """Return quick settings with changes."""
    return QUICK.model_copy(update=changes)


async def test_a_slow_record_does_not_hold_up_others_and_its_crash_redoes_only_it(
    broker: FakeBroker,
) -> None:
    """Completion in any order; what is done above the commit is remembered in its metadata (C7)."""

    async def stuck(work: Work[bytes]) -> Outcome:
        if work.payload == b"slow":
            await asyncio.Event().wait()
        return Done()

    put(broker, "a", "slow", *[f"n{n}" for n in range(50)])
    first = Harness(broker, ScriptedService(stuck))
    async with first.killed():
        await until(lambda: len(first.service.seen) == 52)
        await until(lambda: unpack(broker.commits["fetcher"][URLS].metadata, 1) == [*range(2, 52)])
    assert broker.committed("fetcher", URLS) == 1
    second = Harness(broker, ScriptedService())
    async with second.running():
        await until(lambda: broker.committed("fetcher", URLS) == 52)
    assert second.service.seen == ["slow"]


async def test_a_retry_carries_the_job_and_counts(broker: FakeBroker) -> None:
    """Original bytes, one more attempt of its class, one more hop, on the delay topic (C1, M4)."""

    async def handle(work: Work[bytes]) -> Outcome:
        return Retry(error_class=ErrorClass.SERVER_ERROR, message="500")

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 1)
    (record,) = broker.records("urls-retry-2s")
    state = job_state(record.headers)
    assert state is not None
    assert (record.value, state.attempts, state.hop) == (b"job", {"server_error": 1}, 1)
    assert state.origin.topic == "urls"


async def test_a_first_network_error_goes_to_the_tail_of_its_own_lane_at_once(broker: FakeBroker) -> None:
    """No delay topic for what another proxy may mend; one for a site that may be away for a while."""

    async def handle(work: Work[bytes]) -> Outcome:
        return Retry(error_class=ErrorClass.NETWORK, message="reset")

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: bool(broker.records("urls-retry-2s")))
    assert (len(broker.records("urls")), len(broker.records("urls-retry-2s"))) == (2, 1)


async def test_retries_end_as_a_dead_letter(broker: FakeBroker) -> None:
    """The cap of the class is met, and the dead letter says which."""

    async def handle(work: Work[bytes]) -> Outcome:
        return Retry(error_class=ErrorClass.NETWORK, message="reset by peer", last_status=None)

    put(broker, "job")
    plan = msgspec.structs.replace(PLAN, retries=policy_of(RetrySettings(network=1)))
    harness = Harness(broker, ScriptedService(handle), plan=plan)
    async with harness.running():
        await until(lambda: len(broker.records("dead-letter")) == 1)
    (letter,) = broker.records("dead-letter")
    meta = decoder(DeadMeta).decode(letter.headers[HEADER_DEAD])
    assert meta.reason is Reason.RETRIES_EXHAUSTED
    assert "reset by peer" in meta.message
    assert len(harness.service.seen) == 2
    assert letter.headers["kafka_dlt-original-topic"] == b"urls"


async def test_a_job_that_is_put_off_costs_no_attempt(broker: FakeBroker) -> None:
    """Defer waits in a delay topic and counts as a deferral alone (T3)."""

    async def handle(work: Work[bytes]) -> Outcome:
        return Defer(delay_s=5.0, message="the site is at its limit")

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: len(broker.records("urls-retry-4s")) == 1)
    state = job_state(broker.records("urls-retry-4s")[0].headers)
    assert state is not None
    assert (state.attempts, state.deferrals, state.hop) == ({}, 1, 0)
    assert state.due_at_ms is not None


async def test_bad_input_becomes_a_dead_letter_with_its_bytes(broker: FakeBroker) -> None:
    """Garbage has an outcome, and the consumer goes on."""

    class Picky(ScriptedService):
        def decode(self, record: Inbound) -> Work[bytes]:
            if record.value.startswith(b"\xff"):
                raise RecordError(Reason.NOT_A_URL, "This is not a URL.")
            return super().decode(record)

    broker.append(Outgoing(topic=Topic.URLS, site="s", value=b"\xff\x00garbage", partition=0))
    put(broker, "good")
    harness = Harness(broker, Picky())
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 2)
    (letter,) = broker.records("dead-letter")
    assert letter.value == b"\xff\x00garbage"
    assert decoder(DeadMeta).decode(letter.headers[HEADER_DEAD]).message == "This is not a URL."


async def test_the_unforeseen_is_retried_and_named_without_its_text(broker: FakeBroker) -> None:
    """A fault of ours is an attempt of class internal; the exception's text is not stored."""

    async def handle(work: Work[bytes]) -> Outcome:
        raise ValueError("cookie=secret")

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: len(broker.records("urls-retry-2s")) == 1)
    assert len(harness.events_of(events.HandlerFaulted)) == 1
    assert "secret" not in repr(harness.events)


async def test_a_service_that_holds_tries_again_in_place(broker: FakeBroker) -> None:
    """With Fault.HOLD nothing is produced for a fault; the handler succeeds in the end."""
    tries = 0

    async def handle(work: Work[bytes]) -> Outcome:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError
        return Done()

    put(broker, "row")
    harness = Harness(broker, ScriptedService(handle), plan=msgspec.structs.replace(PLAN, fault=Fault.HOLD))
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 1)
    assert tries == 2


async def test_a_handler_that_never_ends_meets_its_deadline(broker: FakeBroker) -> None:
    """The slot comes back and the job is tried again later (C10)."""

    async def handle(work: Work[bytes]) -> Outcome:
        await asyncio.Event().wait()
        return Done()

    put(broker, "job")
    plan = msgspec.structs.replace(PLAN, deadline_s=0.02)
    harness = Harness(broker, ScriptedService(handle), plan=plan)
    async with harness.running():
        await until(lambda: len(broker.records("urls-retry-2s")) == 1)


async def test_a_cancellation_that_nobody_asked_for_holds_up_nothing(broker: FakeBroker) -> None:
    """A library's cancelled future ends the try, not the worker: the record would never be finished."""

    async def handle(_: Work[bytes]) -> Outcome:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone
        return Done()

    put(broker, "a")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: broker.committed("fetcher", URLS) == 1)
    assert len(broker.records(Topic.RETRY_2S)) == 1


async def test_records_wait_until_their_partition_is_prepared(broker: FakeBroker) -> None:
    """Assigned is not ready: nothing is handled before the state is restored (M6)."""
    put(broker, "job")
    service = ScriptedService()
    service.prepare_gate.clear()
    harness = Harness(broker, service)
    async with harness.running():
        await until(lambda: len(harness.events_of(events.PartitionsAssigned)) == 1)
        await asyncio.sleep(0.02)  # noqa: TID251 -- room for a mistake to show
        assert service.seen == []
        assert not harness.runtime.is_ready
        service.prepare_gate.set()
        await until(lambda: service.seen == ["job"])
        assert harness.runtime.is_ready


async def test_a_rebalance_gives_work_in_hand_its_time_and_commits_it(broker: FakeBroker) -> None:
    """A second member comes: nothing is done twice where the drain suffices."""
    put(broker, *map(str, range(400)))
    put(broker, *map(str, range(400, 800)), partition=1)

    async def handle(work: Work[bytes]) -> Outcome:
        await asyncio.sleep(0.001)  # noqa: TID251 -- takes a moment
        return Done()

    # The drain suffices, however long this process stands still in the middle of it.
    patient = msgspec_settings(drain_deadline_s=60.0)
    one, two = (Harness(broker, ScriptedService(handle), settings=patient) for _ in range(2))
    async with one.running():
        await until(lambda: len(one.service.seen) > 20)
        async with two.running():
            await until(lambda: len(one.service.seen) + len(two.service.seen) >= 800)
    assert sorted(one.service.seen + two.service.seen, key=int) == [str(n) for n in range(800)]
    assert two.service.seen
    assert set(one.service.released) == {0, 1}


async def test_a_rebalance_in_the_middle_of_a_poll_loses_nothing(broker: FakeBroker) -> None:
    """What arrives while a partition is ours again and not prepared yet is handled once it is."""
    harness = Harness(broker, ScriptedService())
    async with harness.running():
        await until(lambda: len(harness.service.prepared) == 2)
        await asyncio.sleep(0.01)  # noqa: TID251 -- a poll is on its way
        harness.service.prepare_gate.clear()
        await broker.rebalance("fetcher")
        put(broker, *[f"a{n}" for n in range(20)])
        await asyncio.sleep(0.02)  # noqa: TID251 -- that poll ends
        harness.service.prepare_gate.set()
        put(broker, "last")
        await until(lambda: "last" in harness.service.seen)
    assert len(harness.service.seen) == 21


async def test_partitions_that_come_while_it_leaves_are_not_begun(broker: FakeBroker) -> None:
    """The group may still hand some out after the end; nothing is prepared and nothing fails."""
    harness = Harness(broker, ScriptedService())
    async with harness.running():
        await until(lambda: len(harness.service.prepared) == 2)
    await harness.runtime._assignments.on_assigned({URLS: Position(0, "")})
    assert not harness.runtime.snapshot()["ready"]
    assert len(harness.service.prepared) == 2


async def test_work_that_outlasts_the_drain_is_cut_off_and_redone(broker: FakeBroker) -> None:
    """Its offset is not committed; whoever has the partition next does it again."""
    hang = True

    async def handle(work: Work[bytes]) -> Outcome:
        if hang:
            await asyncio.Event().wait()
        return page(work)

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle), settings=HASTY)
    async with harness.running():
        await until(lambda: harness.service.seen == ["job"])
        hang = False
        await broker.rebalance("fetcher")
        await until(lambda: broker.committed("fetcher", URLS) == 1)
    assert harness.service.seen == ["job", "job"]
    assert len(broker.records("pages")) == 1


async def test_a_refused_commit_is_repeated_later(broker: FakeBroker) -> None:
    """Refused means unknown: nothing is marked clean."""
    put(broker, "job")
    harness = Harness(broker, ScriptedService())
    harness.source.refuse_commits = True
    async with harness.running():
        await until(lambda: len(harness.events_of(events.CommitRefused)) > 1)
        harness.source.refuse_commits = False
        await until(lambda: broker.committed("fetcher", URLS) == 1)


async def test_records_that_are_gone_stop_their_partition_with_an_alarm(broker: FakeBroker) -> None:
    """What retention took is counted, and nothing is skipped in silence (C6)."""
    put(broker, *map(str, range(10)))
    gone = Harness(broker, ScriptedService())
    async with gone.running():
        await until(lambda: broker.committed("fetcher", URLS) == 10)
    put(broker, *map(str, range(10, 20)))
    broker.delete_before(URLS, 15)
    harness = Harness(broker, ScriptedService())
    put(broker, "other", partition=1)
    async with harness.running():
        await until(lambda: harness.service.seen == ["other"])
        await until(lambda: len(harness.events_of(events.OffsetsLost)) == 1)
    assert broker.committed("fetcher", URLS) == 10


async def test_a_produce_whose_fate_is_unknown_ends_the_process(broker: FakeBroker) -> None:
    """Neither success nor failure: the offset stays and the runtime ends (C5)."""

    async def handle(work: Work[bytes]) -> Outcome:
        return page(work)

    class Fenced:
        async def send(self, record: Outgoing) -> None:
            raise FatalProduceError("fenced")

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle))
    harness.runtime._parts.handling._sink = Fenced()  # type: ignore[assignment]
    with pytest.RaisesGroup(FatalProduceError):
        await harness.runtime.run(harness.stop)
    assert broker.committed("fetcher", URLS) == 0


async def test_an_assignment_that_failed_ends_the_process(broker: FakeBroker) -> None:
    """A member that holds partitions and reads none would leave them lying for ever."""
    harness = Harness(broker, ScriptedService())

    async def fail_once_ready() -> None:
        await until(lambda: harness.runtime.is_ready)
        harness.source.failure = "the coordinator did not answer"
        await broker.rebalance("fetcher")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(fail_once_ready())
        with pytest.raises(ExceptionGroup) as caught:
            await harness.runtime.run(harness.stop)
    assert isinstance(caught.value.exceptions[0], RebalanceError)


async def test_dead_by_the_handler_keeps_its_reason(broker: FakeBroker) -> None:
    """What the handler says is what the dead letter says."""

    async def handle(work: Work[bytes]) -> Outcome:
        return Dead(
            reason=Reason.ADDRESS_REFUSED, error_class=ErrorClass.REFUSED, message="10.0.0.1 is private"
        )

    put(broker, "job")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: len(broker.records("dead-letter")) == 1)
    meta = decoder(DeadMeta).decode(broker.records("dead-letter")[0].headers[HEADER_DEAD])
    assert (meta.reason, meta.error_class) == (Reason.ADDRESS_REFUSED, "refused")


async def test_a_due_retry_runs_and_one_that_is_not_due_holds_up_nothing(broker: FakeBroker) -> None:
    """A delay topic's head waits for its time while the lanes go on (T2)."""
    tries: Counter[bytes] = Counter()

    async def handle(work: Work[bytes]) -> Outcome:
        tries[work.payload] += 1
        if work.payload == b"bad" and tries[work.payload] == 1:
            return Retry(error_class=ErrorClass.SERVER_ERROR, message="500")
        return Done()

    put(broker, "bad")
    harness = Harness(broker, ScriptedService(handle))
    async with harness.running():
        await until(lambda: len(broker.records("urls-retry-2s")) == 1)
        put(broker, *map(str, range(50)))
        await until(lambda: len(harness.service.seen) == 51)
        assert tries[b"bad"] == 1
        await until(lambda: tries[b"bad"] == 2)
