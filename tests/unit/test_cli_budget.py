"""What ``tidegate budget`` limits: a site as people write it is the one that solves are booked under."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.virtual_time import LoopClock, virtually
from tidegate.errors import ConfigurationError, cause_of
from tidegate.events import Event
from tidegate.ledger.entries import Limit, Scope, entry_record, read_entry
from tidegate.settings import Settings
from tidegate.sites import site_of
from tidegate.testing.fake_broker import FakeBroker, FakeReader, FakeSink
from tidegate.topics import Topic
from tidegate_cli.commands import _budget
from tidegate_cli.exits import Exit
from tidegate_cli.runs.office import Office, office

Commands = Callable[[FakeBroker], Coroutine[None, None, None]]
Play = Callable[[Commands], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run commands against a ledger in memory, in virtual time."""

    def run(commands: Commands) -> None:
        async def main() -> None:
            broker = FakeBroker(LoopClock())

            @asynccontextmanager
            async def office_of(_: Settings, heard: list[Event]) -> AsyncIterator[Office]:
                sink = FakeSink(broker)
                async with office(sink, FakeReader(broker), broker.clock, heard.append) as opened:
                    yield opened

            monkeypatch.setattr(_budget, "office_of", office_of)
            await commands(broker)

        virtually(main())

    def reachable(_: Path | None) -> Settings:
        return Settings()

    monkeypatch.setattr(_budget, "reachable", reachable)
    return run


async def say(amount: str | None, site: str) -> int:
    """Set a budget of a site, or take it away."""
    return await _budget.set_main(amount, run=None, site=site, daily=False, data=None, as_json=True)


def limits(broker: FakeBroker) -> list[tuple[str | None, int | None]]:
    """Return what the log says of sites' budgets, in its order."""
    entries = [read_entry(record.value) for record in broker.records(Topic.BUDGET)]
    return [(entry.scope.site, entry.amount) for entry in entries if isinstance(entry, Limit)]


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("shop.example", "https://shop.example/"),
        (" Shop.Example. ", "https://shop.example/"),
        ("https://shop.example/sale?page=2", "https://shop.example/"),
        ("HTTP://Shop.Example", "http://shop.example/"),
        ("shop.example/sale", "https://shop.example/"),
        ("shop.example:443", "https://shop.example/"),
        ("shop.example:80", "http://shop.example/"),
        ("http://shop.example:80/", "http://shop.example/"),
        ("shop.example:8080", "http://shop.example:8080/"),
        ("http://shop.example:443", "http://shop.example:443/"),
        ("Bücher.example", "https://bücher.example/"),
        ("xn--bcher-kva.example", "https://bücher.example/"),
        ("localhost:8081", "http://localhost:8081/"),
        ("127.0.0.1", "http://127.0.0.1/"),
        ("[::1]:80", "http://[::1]/"),
        ("[0:0::1]:8080", "http://[::1]:8080/"),
    ],
)
def test_a_site_is_the_one_that_is_meant_however_it_is_written(written: str, url: str) -> None:
    """Solves are booked under the site of the job's URL; a limit under any other name would never bind."""
    assert _budget.site_meant(written) == site_of(url)


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "*",
        "*.shop.example",
        "shop example",
        "shop.example,b.example",
        "shop..example",
        ".shop.example",
        "shop.example:0",
        "shop.example:http",
        "::1",
        "https://",
        "ftp://shop.example/",
        "mailto:me",
    ],
)
def test_what_is_no_site_is_refused(written: str) -> None:
    """With a sentence that says what is taken, and the text as it was given."""
    with pytest.raises(ConfigurationError, match="--site takes a host") as raised:
        _budget.site_meant(written)
    assert repr(written) in str(raised.value)


def test_a_budget_is_set_and_taken_away_by_any_spelling_of_its_site(play: Play) -> None:
    """The ledger has one name for it, and what is no site is not written there."""

    async def commands(broker: FakeBroker) -> None:
        assert await say("5", "https://Shop.Example/") == Exit.OK
        assert await say(None, "Shop.Example:443") == Exit.OK
        for amount in ("5", None):
            with pytest.raises(BaseException) as raised:  # noqa: PT011 -- looked at below
                await say(amount, "*.shop.example")
            assert isinstance(cause_of(raised.value), ConfigurationError)
        assert limits(broker) == [("shop.example", 5_000_000), ("shop.example", None)]

    play(commands)


def test_a_budget_that_the_ledger_has_under_another_spelling_can_be_taken_away(play: Play) -> None:
    """As ``budget ls`` lists it: any client may have written it."""

    async def commands(broker: FakeBroker) -> None:
        for site in ("Shop.Example", "shop.example"):
            broker.append(entry_record(Limit(by="x", scope=Scope(site=site), amount=1)))
        assert await say(None, "Shop.Example") == Exit.OK
        assert limits(broker)[2:] == [("Shop.Example", None)]
        assert await say(None, "Shop.Example") == Exit.OK
        assert limits(broker)[3:] == [("shop.example", None)]

    play(commands)
