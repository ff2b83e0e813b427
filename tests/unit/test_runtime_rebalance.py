"""A rebalance ends within its deadline, whatever the handlers and the broker do."""

import asyncio
from collections.abc import Iterable, Mapping

import pytest
from support.runtime import PLAN, Harness, ScriptedService, put
from support.virtual_time import LoopClock, virtually
from tidegate.consume.deadlines import heartbeat_s, rebalance_timeout_s, revocation_s
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.runtime_events import BrokerAway
from tidegate.consume.service import Work
from tidegate.consume.transport import Listener
from tidegate.errors import BrokerError, CommitRefusedError
from tidegate.outcome import Done, Outcome
from tidegate.patience import unless, until_reached
from tidegate.records import Inbound
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker, FakeSource

DRAIN_S = 4.0


class SilentSource(FakeSource):
    """A broker that answers no commit within its time limit."""

    async def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Wait as long as a commit is waited for."""
        await LoopClock().sleep(10.0)
        raise CommitRefusedError("no answer")


def test_giving_partitions_up_takes_no_longer_than_the_group_waits() -> None:
    """Handlers that swallow their cancellation and a broker that answers nothing are within it."""

    async def stubborn(work: Work[bytes]) -> Outcome:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                await LoopClock().sleep(600)
                return Done()

    async def main() -> float:
        clock = LoopClock()
        broker = FakeBroker(clock, partitions=2)
        put(broker, "a", "b")
        settings = RuntimeSettings(drain_deadline_s=DRAIN_S, commit_interval_s=0.5)
        harness = Harness(broker, ScriptedService(stubborn), settings=settings, clock=clock)
        harness.runtime._source = source = SilentSource(broker, group=PLAN.group, topics=PLAN.all_topics)
        harness.runtime._parts.committer._source = source
        running = asyncio.ensure_future(harness.runtime.run(harness.stop))
        await clock.sleep(11)  # into the commit that begins the partition, or the one after
        before = clock.monotonic()
        await broker.rebalance(PLAN.group)
        took = clock.monotonic() - before
        running.cancel()
        await asyncio.wait([running], timeout=30)
        return took

    took = virtually(main())
    assert DRAIN_S < took <= revocation_s(DRAIN_S)


@pytest.mark.parametrize("session_s", [0.5, 10.0, 300.0])
@pytest.mark.parametrize("drain_s", [0.1, 20.0, 600.0])
def test_the_rebalance_time_out_is_reckoned_from_the_drain_deadline(session_s: float, drain_s: float) -> None:
    """To hear of it, to drain and to commit all fit."""
    assert rebalance_timeout_s(drain_s, session_s) > heartbeat_s(session_s) + revocation_s(drain_s)
    assert heartbeat_s(session_s) <= session_s / 3


def test_a_broker_that_is_away_is_asked_again_with_growing_pauses() -> None:
    """Each failure is told, and what comes in the end is returned."""
    told: list[float] = []
    failures = [BrokerError("a"), BrokerError("b"), BrokerError("c")]

    async def ask() -> str:
        if failures:
            raise failures.pop(0)
        return "here"

    async def main() -> str:
        clock = LoopClock()
        found = await until_reached(
            ask, clock, lambda event: told.append(event.wait_s) if isinstance(event, BrokerAway) else None
        )
        assert clock.monotonic() == pytest.approx(1003.5)
        return found

    assert (virtually(main()), told) == ("here", [0.5, 1.0, 2.0])


async def test_what_is_waited_for_ends_when_the_process_is_told_to() -> None:
    """Cancelled, and None is returned; what is done first is returned."""
    stop = asyncio.Event()

    async def quick() -> int:
        return 7

    async def never() -> int:
        await asyncio.get_running_loop().create_future()
        return 0

    assert await unless(stop, quick()) == 7
    stop.set()
    assert await unless(stop, never()) is None


class TornSource(FakeSource):
    """A partition whose log cannot be read: every poll that asks for it fails."""

    async def poll(
        self, partitions: Iterable[TopicPartition], *, max_records: int, timeout_s: float
    ) -> list[Inbound]:
        """Fail, or read."""
        wanted = list(partitions)
        if TopicPartition("urls", 1) in wanted:
            raise BrokerError("a record is corrupt")
        return await super().poll(wanted, max_records=max_records, timeout_s=timeout_s)


def test_a_partition_that_cannot_be_read_does_not_keep_the_others_from_it() -> None:
    """The others are asked for by themselves while polls of all of them fail."""

    async def main() -> None:
        clock = LoopClock()
        broker = FakeBroker(clock, partitions=2)
        put(broker, *[str(number) for number in range(300)])
        put(broker, "unreadable", partition=1)
        harness = Harness(broker, ScriptedService(), clock=clock)
        harness.runtime._source = source = TornSource(broker, group=PLAN.group, topics=PLAN.all_topics)
        harness.runtime._parts.committer._source = source
        async with harness.running():
            await clock.sleep(30)
            assert len(harness.service.seen) == 300
            put(broker, "later")
            await clock.sleep(15)
            assert harness.service.seen[-1] == "later"

    virtually(main())


class LateSource(FakeSource):
    """A group that cannot be joined at first."""

    refusals = 2

    async def start(self, listener: Listener) -> None:
        """Refuse, then join."""
        if self.refusals:
            self.refusals -= 1
            raise BrokerError("away")
        await super().start(listener)


def test_a_group_that_cannot_be_joined_yet_is_joined_later() -> None:
    """The process stays, alive and not ready, and works once it is let in."""

    async def main() -> None:
        clock = LoopClock()
        broker = FakeBroker(clock, partitions=2)
        put(broker, "a")
        harness = Harness(broker, ScriptedService(), clock=clock)
        harness.runtime._source = source = LateSource(broker, group=PLAN.group, topics=PLAN.all_topics)
        harness.runtime._parts.committer._source = source
        async with harness.running():
            await clock.sleep(1.0)
            before = harness.runtime.snapshot()
            assert (before["ready"], before["phase"], before["loop_age_s"]) == (False, "starting", 0.0)
            await clock.sleep(10.0)
            assert harness.runtime.snapshot()["ready"]
            assert harness.service.seen == ["a"]

    virtually(main())
