"""What is told although nothing fails, and that it is told once when it begins and once when it ends."""

import asyncio

import pytest
from support.runtime import PLAN, Harness, ScriptedService, put
from support.virtual_time import LoopClock, VirtualLoop, virtually
from tidegate.consume import runtime_events as events
from tidegate.consume.alarms import Alarms, Look, LoopLag
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.plan import Plan
from tidegate.consume.service import Work
from tidegate.events import Event, name_of
from tidegate.outcome import Done, Outcome
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker

DAY_MS = 86_400_000
URLS = TopicPartition("urls", 0)
WAITS = TopicPartition("urls-retry-1h", 0)


def alarms() -> Alarms:
    """Stuck after a minute; the lane keeps its records for ten days."""
    return Alarms(stuck_after_s=60.0, retention_ms={"urls": 10 * DAY_MS, "runs": -1})


def names(found: list[Event]) -> list[str]:
    """What was told."""
    return [name_of(type(event)) for event in found]


def seen(
    alarm: Alarms, partition: TopicPartition, offset: int, oldest_ms: int | None, now_s: float
) -> list[str]:
    """Look at one partition."""
    looks = {partition: Look(offset, oldest_ms)}
    return names(alarm.look(looks, now_s=now_s, broker_ms=0, clock_off_ms=0))


def test_a_partition_without_progress_is_stuck_until_it_moves() -> None:
    """Told once each, whatever else is looked at meanwhile."""
    alarm = alarms()
    told = [seen(alarm, URLS, 5, 0, now_s) for now_s in (0.0, 59.0, 60.0, 90.0)]
    assert told == [[], [], ["partition_stuck"], []]
    assert alarm.stuck == {URLS}
    assert seen(alarm, URLS, 6, 0, 95.0) == ["partition_moves"]
    assert not alarm.stuck


def test_idle_partitions_and_delay_topics_are_never_stuck() -> None:
    """Nothing waits there, or nobody waits for it (T2)."""
    alarm = alarms()
    assert [seen(alarm, URLS, 5, None, now_s) for now_s in (0.0, 100.0, 200.0)] == [[], [], []]
    assert [seen(alarm, WAITS, 5, 0, now_s) for now_s in (300.0, 400.0, 500.0)] == [[], [], []]


def test_what_is_given_away_is_told_of_by_its_new_owner() -> None:
    """And begins anew when it comes back."""
    alarm = alarms()
    for now_s in (0.0, 60.0):
        seen(alarm, URLS, 5, 0, now_s)
    assert names(alarm.look({}, now_s=61.0, broker_ms=0, clock_off_ms=0)) == []
    assert not alarm.stuck
    assert seen(alarm, URLS, 5, 0, 100.0) == []


def test_records_past_half_of_their_retention_are_told_of() -> None:
    """Once, by topic, with room between the two marks (C6)."""
    alarm = alarms()
    told = []
    for days in (1, 5, 6, 4.5, 3.9, 5):
        looks = {URLS: Look(0, int((10 - days) * DAY_MS)), TopicPartition("runs", 0): Look(0, 0)}
        told.append(names(alarm.look(looks, now_s=0.0, broker_ms=10 * DAY_MS, clock_off_ms=0)))
    assert told == [[], ["retention_nears"], [], [], ["retention_far"], ["retention_nears"]]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_that_is_two_seconds_off_is_told_of(sign: int) -> None:
    """Twice in a row, for one slow acknowledgement looks the same; and again when it agrees (T1)."""
    alarm = alarms()
    told = [
        names(alarm.look({}, now_s=0.0, broker_ms=0, clock_off_ms=sign * off))
        for off in (1_999, 60_000, 100, 2_100, 2_000, 1_800, 1_400)
    ]
    assert told == [[], [], [], [], ["clock_skewed"], [], ["clock_agrees"]]


def test_a_loop_that_lags_is_told_of_until_it_has_been_well_for_a_while() -> None:
    """With the worst of it at the end."""
    lag = LoopLag(0.5)
    told = [
        lag.note(late_s, now_s)
        for late_s, now_s in ((0.1, 0), (0.6, 1), (2.0, 5), (0.0, 14), (0.0, 15), (0.0, 40))
    ]
    assert told == [None, events.LoopLagged(delay_s=0.6), None, None, events.LoopRecovered(worst_s=2.0), None]


def test_the_runtime_tells_of_a_stuck_partition_and_of_old_records() -> None:
    """From what is in hand and what waits, and again when it is over (C6)."""

    async def main() -> None:
        clock = LoopClock()
        broker = FakeBroker(clock, partitions=1)
        put(broker, "a", "b")

        async def slow(work: Work[bytes]) -> Outcome:
            await clock.sleep(100)
            return Done()

        settings = RuntimeSettings(stuck_after_s=30.0)
        plan = Plan(group="storer", topics=PLAN.topics, deadline_s=None)
        harness = Harness(
            broker,
            ScriptedService(slow),
            plan=plan,
            settings=settings,
            clock=clock,
            retention_ms={"urls": 120_000},
        )
        async with harness.running():
            await clock.sleep(90)
            kinds = {type(event) for event in harness.events}
            assert {events.PartitionStuck, events.RetentionNears} <= kinds
            assert harness.runtime.snapshot()["stuck"] == 1
            await clock.sleep(30)
            assert {events.PartitionMoves, events.RetentionFar} <= {type(event) for event in harness.events}
            assert harness.runtime.snapshot()["stuck"] == 0

    virtually(main())


def test_a_handler_that_blocks_the_loop_is_told_of() -> None:
    """By how late the loop's own timer came."""

    async def main() -> None:
        clock = LoopClock()
        broker = FakeBroker(clock, partitions=1)
        put(broker, "a")

        async def blocking(work: Work[bytes]) -> Outcome:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.now_s += 2.0
            return Done()

        harness = Harness(broker, ScriptedService(blocking), clock=clock)
        async with harness.running():
            await clock.sleep(30)
        (lagged,) = harness.events_of(events.LoopLagged)
        (recovered,) = harness.events_of(events.LoopRecovered)
        assert isinstance(lagged, events.LoopLagged)
        assert isinstance(recovered, events.LoopRecovered)
        assert 1.7 < lagged.delay_s == recovered.worst_s <= 2.0

    virtually(main())
