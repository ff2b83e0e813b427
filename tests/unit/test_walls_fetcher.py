"""The fetcher's walls: what the readings of the lag make of its intake."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from tidegate.backlog import Standing
from tidegate.errors import BrokerError, ConfigurationError
from tidegate.events import Event
from tidegate.flow.gate import DEFAULTS
from tidegate.records import Lane
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import Topic
from tidegate_fetcher import events
from tidegate_fetcher.prone_sites import PronePolicy, ProneSites
from tidegate_fetcher.settings import FetcherSettings
from tidegate_fetcher.walls import Walls, WallsPolicy


class Readings:
    """A backlog that a test sets: lags by topic, or no answer at all."""

    def __init__(self) -> None:
        self.lags: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.away = False

    async def read(self, topic: str, group: str, *, unread: bool = False) -> Standing:
        """Answer as set."""
        self.asked.append((topic, group))
        if self.away:
            raise BrokerError("nobody there")
        return Standing(end=10_000 + self.lags.get(topic, 0), done=10_000)


class Rig(msgspec.Struct, frozen=True):
    """Walls whose readings happen when a test says so."""

    walls: Walls
    readings: Readings
    events: list[Event]
    tick: Callable[[], Awaitable[None]]

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def walls(policy: WallsPolicy | None = None) -> AsyncIterator[Rig]:
    """Run walls on a clock that moves by ``tick``, one reading each."""
    clock, readings, told = ManualClock(), Readings(), list[Event]()
    made = Walls(policy or WallsPolicy(gate=DEFAULTS), readings, clock, told.append)

    async def tick() -> None:
        clock.advance(1.0)
        for _ in range(5):
            await asyncio.sleep(0)  # noqa: TID251 -- let the reading run

    async with asyncio.TaskGroup() as owner:
        task = owner.create_task(made.run())
        await tick()
        yield Rig(made, readings, told, tick)
        task.cancel()


async def test_each_topic_is_read_for_the_group_that_takes_from_it() -> None:
    """And every reading is told, as a number that a metric can show."""
    async with walls() as rig:
        rig.readings.lags[Topic.PAGES] = 7
        await rig.tick()
        assert set(rig.readings.asked) == {("captcha-requests", "solver"), ("pages", "storer")}
        last = rig.of(events.LagRead)[-1]
        assert last == events.LagRead(
            topic="pages", records=7, wait_s=None, still_s=0.0, share_clean=1.0, share_prone=1.0
        )


async def test_prone_sites_are_held_and_clean_ones_are_not() -> None:
    """A backlog of requests puts their jobs aside; nothing of the held topics starts but for a probe."""
    async with walls() as rig:
        rig.walls.answered("prone.example", challenged=True)
        rig.walls.answered("clean.example", challenged=False)
        assert not rig.walls.holds("prone.example")
        rig.readings.lags[Topic.CAPTCHA_REQUESTS] = 1000
        await rig.tick()
        assert rig.walls.holds("prone.example")
        assert not rig.walls.holds("clean.example")
        assert not rig.walls.admits(held=True, in_hand=0, window=100)
        assert rig.walls.admits(held=False, in_hand=99, window=100)
        for _ in range(10):
            await rig.tick()
        assert rig.walls.admits(held=True, in_hand=0, window=100)
        rig.walls.passed(held=True)
        assert not rig.walls.admits(held=True, in_hand=0, window=100)
        rig.readings.lags.clear()
        for _ in range(12):
            await rig.tick()
        assert not rig.walls.holds("prone.example")
        states = [(event.site_class, event.state) for event in rig.of(events.GateChanged)]  # type: ignore[attr-defined]
        assert states == [("prone", "shut"), ("prone", "partly"), ("prone", "open")]
        assert rig.of(events.SiteProne) == [events.SiteProne(site="prone.example")]


async def test_pages_that_nobody_stores_hold_the_source_back() -> None:
    """Of lanes and delay topics, down to a probe a second."""
    async with walls() as rig:
        rig.readings.lags[Topic.PAGES] = 40_000
        await rig.tick()
        rig.walls.passed(held=False)
        assert not rig.walls.admits(held=False, in_hand=0, window=100)
        await rig.tick()
        assert rig.walls.admits(held=False, in_hand=0, window=100)


async def test_requests_count_before_a_reading_shows_them() -> None:
    """A thousand of them between two readings shut the gate; the next reading says what became of them."""
    async with walls() as rig:
        for _ in range(1000):
            rig.walls.sent(Topic.CAPTCHA_REQUESTS)
        assert not rig.walls.admits(held=True, in_hand=0, window=100)
        await rig.tick()
        await rig.tick()
        assert rig.walls.admits(held=True, in_hand=0, window=100)


async def test_a_reading_that_fails_leaves_the_gate_as_it_was() -> None:
    """A broker away for a minute shuts nothing; it is told once, and once that it is over."""
    async with walls() as rig:
        rig.readings.lags[Topic.CAPTCHA_REQUESTS] = 500
        for _ in range(40):
            await rig.tick()
        shares = {event.share_prone for event in rig.of(events.LagRead)[-4:]}  # type: ignore[attr-defined]
        rig.readings.away = True
        for _ in range(60):
            await rig.tick()
        last = rig.of(events.LagRead)[-2]
        assert isinstance(last, events.LagRead)
        assert (last.topic, last.records, last.wait_s) == ("captcha-requests", 500, None)
        assert last.share_prone >= max(shares)
        rig.readings.away = False
        await rig.tick()
        assert len(rig.of(events.LagUnknown)) == 2
        assert [event.seconds for event in rig.of(events.LagKnown)] == [60.0, 60.0]  # type: ignore[attr-defined]


async def test_who_cannot_see_sends_no_more_than_lies_between_the_marks() -> None:
    """Without readings nothing is taken for done: the gate falls by what is sent."""
    async with walls() as rig:
        rig.readings.away = True
        await rig.tick()
        for _ in range(40_000):
            rig.walls.sent(Topic.PAGES)
        assert rig.walls.admits(held=False, in_hand=0, window=100)
        await rig.tick()
        rig.walls.passed(held=False)
        assert not rig.walls.admits(held=False, in_hand=0, window=100)


async def test_low_priority_is_shed_first_and_high_never() -> None:
    """By the lag of the requests, above what the gate holds."""
    async with walls() as rig:
        sheds = []
        for lag in (1999, 2001, 5001, 0):
            rig.readings.lags[Topic.CAPTCHA_REQUESTS] = lag
            await rig.tick()
            sheds.append([rig.walls.sheds(lane) for lane in (Lane.HIGH, Lane.NORMAL, Lane.LOW)])
        assert sheds == [
            [False, False, False],
            [False, False, True],
            [False, True, True],
            [False, False, False],
        ]
        assert [event.what for event in rig.of(events.SheddingChanged)] == [1, 2, 0]  # type: ignore[attr-defined]


def test_the_defaults_of_the_settings_are_the_named_ones() -> None:
    """What the reference page says is what the walls do."""
    assert FetcherSettings().walls() == WallsPolicy(gate=DEFAULTS)


def test_marks_that_contradict_each_other_are_refused() -> None:
    """With the names of the variables to look at."""
    with pytest.raises(ConfigurationError, match="TIDEGATE_FETCHER__GATE_"):
        FetcherSettings(gate_requests_low=2000).walls()


class TestProneSites:
    def test_a_first_challenge_makes_a_site_prone_and_pages_clear_it(self) -> None:
        """Thirty-nine of them."""
        sites = ProneSites()
        assert sites.answered("a", challenged=True, now=0.0)
        changes = [sites.answered("a", challenged=False, now=0.0) for _ in range(40)]
        assert changes.index(True) == 38
        assert not sites.is_prone("a", 0.0)

    def test_a_rare_challenge_of_a_known_site_makes_it_not_prone(self) -> None:
        """One in a hundred pages."""
        sites = ProneSites()
        for _ in range(99):
            sites.answered("a", challenged=False, now=0.0)
        assert not sites.answered("a", challenged=True, now=0.0)
        assert not sites.is_prone("a", 0.0)

    def test_what_is_known_fades(self) -> None:
        """A site that is held and silent gets a new chance."""
        sites = ProneSites()
        for _ in range(100):
            sites.answered("a", challenged=True, now=0.0)
        assert sites.is_prone("a", 3600.0)
        assert not sites.is_prone("a", 6000.0)

    def test_the_table_is_bounded(self) -> None:
        """Those looked at least recently go first."""
        sites = ProneSites(PronePolicy(remembered=2))
        for site in ("a", "b"):
            sites.answered(site, challenged=True, now=0.0)
        assert sites.is_prone("a", 0.0)
        sites.answered("c", challenged=True, now=0.0)
        assert [site for site in ("a", "b", "c") if sites.is_prone(site, 0.0)] == ["a", "c"]
        assert len(sites) == 2

    def test_shares_out_of_order_are_refused(self) -> None:
        """It must be left below where it is entered."""
        with pytest.raises(ConfigurationError):
            PronePolicy(from_share=0.1, below_share=0.2)
        with pytest.raises(ConfigurationError):
            PronePolicy(memory_s=0)
