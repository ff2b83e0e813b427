"""The walls at work: a slow solver holds challenged sites and nobody else; a shut gate opens by itself."""

import asyncio
from pathlib import Path

import pytest
from support.runtime import PLAN, Harness, ScriptedService, put, until
from support.walls_campaign import Plan, report, run
from tidegate.backlog import Standing
from tidegate.clock import SystemClock
from tidegate.consume.intake import Valve
from tidegate.consume.offsets import TopicPartition
from tidegate.consume.service import Work
from tidegate.flow.gate import DEFAULTS, ClassMarks, GatePolicy, Marks
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.testing.fake_broker import FakeBroker
from tidegate.topics import Topic
from tidegate_fetcher.events import GateChanged
from tidegate_fetcher.walls import Walls, WallsPolicy

IN_HAND = 10
SMALL = Plan(
    broker="embedded",
    queued=5000,
    seconds=15.0,
    baseline_s=6.0,
    settle_s=5.0,
    offered_per_s=20.0,
    solver_per_s=2.0,
    clean_sites=40,
    challenged_sites=4,
    partitions=4,
    marks=(20, 150),
    env={"TIDEGATE_FETCHER__GATE_REQUESTS_IN_HAND": str(IN_HAND)},
)


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_a_slow_solver_holds_challenged_sites_and_no_others(tmp_path: Path) -> None:
    """At ten times what it can take its lag stays within the marks, and clean sites go on.

    That they keep 90 % of their rate is shown by `make walls`, on a machine that does nothing else.
    """
    measured = await run(SMALL, tmp_path, print)
    figures = report(measured, warm_up_s=0.0)
    # What solvers and fetchers have in hand when the gate shuts still arrives; without a gate: 270.
    fetched = SMALL.offered_per_s * SMALL.delay_s
    assert figures["lag_most"] <= SMALL.marks[1] + IN_HAND + fetched, figures
    # Behind a gate shut for all it would be a page a second; the rest of the margin is for a machine that
    # has something else to do in one of the two phases.
    assert figures["clean_ratio"] >= 0.5, figures
    # Two a second as a rule.
    assert figures["bought"] >= 10, figures
    assert figures["bought_late"] == 0, measured.late
    # Of 300 jobs some 160 are let through by the marks and some 30 are solved; the rest waits aside.
    assert measured.held >= 50, figures
    assert measured.dead == 0, figures
    assert all(held["most_mib"] <= 300 for held in figures["memory"].values()), figures


class Downstream:
    """A group that stores no page until it is told to; the lag is that of a broker in memory."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self.stored = 0

    async def read(self, topic: str, group: str, *, unread: bool = False) -> Standing:
        """Count what was produced."""
        end = len(self._broker.records(topic))
        return Standing(end=end, done=min(end, self.stored) if topic == Topic.PAGES else end)


class Gated(ScriptedService):
    """A service that makes a page of every record, behind walls."""

    def __init__(self, walls: Walls) -> None:
        super().__init__(self._page)
        self.walls = walls

    @property
    def valve(self) -> Valve:
        """The walls."""
        return self.walls

    async def _page(self, work: Work[bytes]) -> Outcome:
        await SystemClock().sleep(0.01)
        return Done((Outgoing(topic=Topic.PAGES, site="s", value=b"page", partition=0),))


async def test_a_gate_that_is_shut_for_everything_probes_and_opens_again() -> None:
    """Nobody stores pages: the intake stops but for a record a second. Somebody does: it goes on."""
    clock = SystemClock()
    broker = FakeBroker(clock)
    downstream, told = Downstream(broker), list[object]()
    marks = ClassMarks(records=Marks(10, 20), wait_s=None)
    pages = GatePolicy(prone=marks, clean=marks, reopen_s=0.5)
    policy = WallsPolicy(gate={**DEFAULTS, Topic.PAGES: pages}, read_every_s=0.05)
    walls = Walls(policy, downstream, clock, told.append)
    put(broker, *map(str, range(300)), topic=Topic.URLS)
    harness = Harness(broker, Gated(walls), plan=PLAN, clock=clock)
    async with asyncio.TaskGroup() as tasks, harness.running():
        reading = tasks.create_task(walls.run())
        await until(lambda: any(isinstance(e, GateChanged) and e.state == "shut" for e in told))
        shut_at, shut_s = len(broker.records(Topic.PAGES)), clock.monotonic()
        assert shut_at < 200
        await clock.sleep(1.5)
        await until(lambda: len(broker.records(Topic.PAGES)) > shut_at)
        probes = len(broker.records(Topic.PAGES)) - shut_at
        # What was in hand, and one for each time that it may ask.
        assert probes <= PLAN.window + 1 + (clock.monotonic() - shut_s) / pages.reopen_s
        downstream.stored = 10_000
        await until(lambda: len(broker.records(Topic.PAGES)) == 300)
        assert broker.committed("fetcher", TopicPartition(Topic.URLS, 0)) is not None
        reading.cancel()
