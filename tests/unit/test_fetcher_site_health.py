"""A site that the monitor has seen to be in trouble is asked less often."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import msgspec
import pytest
from tidegate.clock import BrokerClock
from tidegate.errors import BrokerError, OffsetsLostError
from tidegate.records import Inbound
from tidegate.site_health import SiteHealth
from tidegate.testing.manual_clock import ManualClock
from tidegate_fetcher.health_watch import HealthWatch
from tidegate_fetcher.site_slots import SiteRule

RULE = SiteRule(concurrency=8, per_second=4.0)


def record(
    offset: int, factor: float, *, age_s: float = 0.0, value: bytes | None = None, site: str = "a"
) -> Inbound:
    """Return a record on ``site-health``."""
    health = SiteHealth(site=site, captcha_rate=0.5, fetches=99, factor=factor, advice="none", at_ms=0)
    return Inbound(
        topic="site-health",
        partition=0,
        offset=offset,
        timestamp_ms=ManualClock().wall_ms() - int(age_s * 1000),
        key=b"a",
        value=msgspec.json.encode(health) if value is None else value,
        headers={},
    )


class Log:
    """Hands out what a step says, or raises it; then it waits."""

    def __init__(self, *steps: list[Inbound] | Exception) -> None:
        self.steps = list(steps)
        self.asked: list[int] = []

    async def follow(
        self, _topic: str, _partition: int, offset: int
    ) -> AsyncGenerator[Sequence[Inbound], None]:
        """Yield from the next step on."""
        self.asked.append(offset)
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            yield step
        await asyncio.Event().wait()

    def read(self, topic: str, partition: int) -> AsyncIterator[Inbound]:
        """Nobody asks."""
        raise NotImplementedError

    def tails(self, topics: Sequence[str], partition: int, last: int) -> AsyncIterator[Inbound]:
        """Nobody asks."""
        raise NotImplementedError


async def watched(log: Log, clock: ManualClock) -> HealthWatch:
    """Return a watch that has read all there is."""
    watch = HealthWatch(log, clock, BrokerClock(clock))
    running = asyncio.ensure_future(watch.run())
    for _ in range(40):
        await asyncio.sleep(0)  # noqa: TID251 -- lets the watch run
        if log.steps:
            clock.advance(1)
    running.cancel()
    return watch


@pytest.mark.parametrize(
    ("factor", "slots", "rate"), [(0.5, 4, 2.0), (0.25, 2, 1.0), (0.01, 1, 0.04), (1.0, 8, 4.0)]
)
async def test_a_factor_cuts_rate_and_places_and_leaves_one(factor: float, slots: int, rate: float) -> None:
    """The other sites keep theirs; so does a rule without a rate."""
    watch = await watched(Log([record(0, factor)]), ManualClock())
    assert watch.slowed("a", RULE) == SiteRule(concurrency=slots, per_second=rate)
    assert watch.slowed("b", RULE) is RULE
    assert watch.slowed("a", SiteRule(concurrency=8)).per_second is None


async def test_what_is_not_said_again_counts_for_three_minutes() -> None:
    """A monitor that is gone slows nobody down, and neither does what it said long ago."""
    clock = ManualClock()
    watch = await watched(Log([record(0, 0.5, age_s=60.0)]), clock)
    clock.advance(119)
    assert watch.slowed("a", RULE) != RULE
    clock.advance(2)
    assert watch.slowed("a", RULE) is RULE
    old = await watched(Log([record(0, 0.5, age_s=181.0)]), ManualClock())
    assert old.slowed("a", RULE) is RULE


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0])
async def test_a_factor_that_is_none_slows_nobody(factor: float) -> None:
    """Whatever stands on the topic, a site is neither stopped nor hurried."""
    watch = await watched(Log([record(0, factor), record(1, 0.5, value=b"\xff{")]), ManualClock())
    assert watch.slowed("a", RULE) is RULE


async def test_it_goes_on_after_the_broker_was_away_and_after_records_were_deleted() -> None:
    """From where it was, or from where the topic begins now."""
    lost = OffsetsLostError({("site-health", 0): (1, 7)})
    log = Log([record(0, 0.5)], BrokerError("away"), lost, [record(7, 0.25)])
    watch = await watched(log, ManualClock())
    assert log.asked == [0, 1, 7]
    assert watch.slowed("a", RULE).concurrency == 2


async def test_what_ran_out_makes_room_for_other_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody asks those sites any more."""
    monkeypatch.setattr("tidegate_fetcher.health_watch._MOST_SITES", 2)
    clock = ManualClock()
    full = [record(0, 0.5, site="x"), record(1, 0.5, site="y"), record(2, 0.5, site="late")]
    watch = await watched(Log(full), clock)
    assert watch.slowed("late", RULE) is RULE
    clock.advance(181)
    watch._take(msgspec.structs.replace(record(3, 0.5), timestamp_ms=clock.wall_ms()))
    assert watch.slowed("a", RULE) != RULE
