"""The list of proxies in use: read, read again, held on to; what a try's outcome says of its proxy."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.proxies import Proxy
from tidegate.records import JobState, Origin
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import Topic
from tidegate_fetcher import events, ways
from tidegate_fetcher.proxies import Proxies
from tidegate_fetcher.proxy_pool import ProxyPool
from tidegate_fetcher.proxy_settings import ProxySettings
from tidegate_fetcher.proxy_source import source_of
from tidegate_fetcher.proxy_standing import ProxyOutcome
from tidegate_fetcher.ways import NoWay

STATE = JobState(
    run="r",
    id="j",
    site="a.example",
    origin=Origin(topic="urls", partition=0, offset=0, timestamp_ms=0),
    accepted_at_ms=0,
)


class TextSource:
    """A list in memory; None as its text is a source that cannot be read."""

    def __init__(self, text: str | None, *, must_be_there: bool = True, forgets: bool = True) -> None:
        self.text = text
        self.forgets = forgets
        self.must_be_there = must_be_there
        self._seen: str | None = None

    async def read(self) -> bytes | None:
        """Return the text where it changed."""
        if self.text is None:
            if self.forgets:
                self._seen = None
            raise ConfigurationError("it is away")
        changed, self._seen = self.text != self._seen, self.text
        return self.text.encode() if changed else None


class Rig:
    """Proxies on a manual clock."""

    def __init__(self, source: TextSource | None) -> None:
        self.clock = ManualClock()
        self.told: list[Event] = []
        self.source = source
        self.proxies = Proxies(
            ProxyPool(), source, reread_s=30.0, clock=self.clock, random=Random(1), emit=self.told.append
        )

    async def later(self, *texts: str | None) -> None:
        """Let the list be each of these in turn, for one look each."""
        assert self.source is not None
        looking = asyncio.ensure_future(self.proxies.run())
        try:
            for text in texts:
                self.source.text = text
                for seconds in (0.0, 30.0, 0.0):
                    self.clock.advance(seconds)
                    for _ in range(5):
                        await asyncio.sleep(0)  # noqa: TID251 -- lets the reader run; no time passes
        finally:
            looking.cancel()

    def named(self) -> list[str]:
        """Return the names of the events so far, and forget them."""
        names = [type(event).__name__ for event in self.told]
        self.told.clear()
        return names


async def rig_of(text: str) -> Rig:
    """Return a rig whose list was read."""
    rig = Rig(TextSource(text))
    await rig.proxies.begin()
    return rig


async def test_a_changed_list_is_taken_and_a_broken_one_is_not() -> None:
    """The last good list stays in use; trouble is told of once, and its end."""
    rig = await rig_of("http://ann:s3cret@one.example:1\nbroken s3cret\n")
    assert rig.named() == ["ProxyLinesRefused", "ProxiesLoaded"]
    await rig.later("two.example:2", "two.example:2")
    assert rig.named() == ["ProxiesLoaded"]
    await rig.later("", "x s3cret", None, "two.example:2")
    assert [type(event).__name__ for event in rig.told] == [
        "ProxyListUnread",
        "ProxyListRead",
        "ProxiesLoaded",
    ]
    assert "s3cret" not in str(rig.told)
    chosen = rig.proxies.choose("a.example", None, None)
    assert isinstance(chosen, Proxy)
    assert chosen.url == "http://two.example:2"


async def test_a_list_that_comes_back_unchanged_ends_the_trouble() -> None:
    """So the next outage is told of again; a list that is as broken as before is not back."""
    rig = Rig(TextSource("one.example:1", forgets=False))
    await rig.proxies.begin()
    rig.named()
    await rig.later(None, "one.example:1", None, "one.example:1")
    assert rig.named() == ["ProxyListUnread", "ProxyListRead"] * 2
    await rig.later("x s3cret", "x s3cret", None, "x s3cret")
    assert rig.named() == ["ProxyListUnread"]


async def test_a_bad_line_is_told_of_by_its_number() -> None:
    """And never by its text."""
    rig = await rig_of("ok.example:1\n\nhttp://ann:s3cret@nowhere:x\nann:s3cret\n")
    (refused,) = (event for event in rig.told if isinstance(event, events.ProxyLinesRefused))
    assert (refused.count, refused.lines) == (2, (3, 4))
    assert "s3cret" not in str(refused)


async def test_a_file_that_is_not_there_ends_the_start_and_an_address_does_not() -> None:
    """Without a list nothing is fetched: never directly."""
    with pytest.raises(ConfigurationError):
        await Rig(TextSource(None)).proxies.begin()
    rig = Rig(TextSource(None, must_be_there=False))
    await rig.proxies.begin()
    assert isinstance(rig.proxies.choose("a.example", None, None), NoWay)
    assert not rig.proxies.has_room()
    await rig.later("one.example:1")
    assert rig.proxies.has_room()
    assert rig.named() == [
        "ProxyListUnread",
        "NoHealthyProxy",
        "ProxyListRead",
        "ProxiesLoaded",
        "ProxiesBack",
    ]


async def test_the_intake_is_held_while_no_proxy_is_healthy() -> None:
    """It is told of once, with the time of the next trial; a trial lets one job through."""
    rig = await rig_of("one.example:1")
    rig.named()
    failed = Retry(error_class=ErrorClass.NETWORK, message="")
    proxy = rig.proxies.choose("a.example", None, None)
    assert isinstance(proxy, Proxy)
    for _ in range(6):
        rig.proxies.settled(proxy, failed, STATE, failed=True)
    assert [rig.proxies.has_room(), rig.proxies.has_room()] == [False, False]
    assert rig.named() == ["ProxyQuarantined", "NoHealthyProxy"]
    way = rig.proxies.choose("a.example", None, None)
    assert way == NoWay(wait_s=60.0)
    rig.clock.advance(60.0)
    for _ in range(3):
        assert rig.proxies.has_room()
        assert rig.proxies.choose("a.example", None, None) == proxy
        assert not rig.proxies.has_room()
        rig.proxies.settled(proxy, Done(), STATE, failed=False)
    assert rig.proxies.has_room()
    assert rig.named() == ["ProxyRestored", "ProxiesBack"]


async def test_a_job_may_bring_a_proxy_or_name_a_listed_one() -> None:
    """One that it brings is nobody's business; an id that is not listed ends the job."""
    rig = await rig_of("one.example:1")
    listed = rig.proxies.pool.choose("a.example", 0.0)
    assert listed is not None
    assert rig.proxies.choose("a.example", listed.id, None) == listed
    own = rig.proxies.choose("a.example", "http://ann:s3cret@own.example:1", None)
    assert isinstance(own, Proxy)
    assert own.url == "http://ann:s3cret@own.example:1"
    assert not rig.proxies.is_ours(own.url)
    assert rig.proxies.settled(own, Done(), STATE, failed=True) == Done()
    way = rig.proxies.choose("a.example", "gone.example:1-00000000", None)
    assert isinstance(way, NoWay)
    dead = ways.missed(way, STATE)
    assert isinstance(dead, Dead)
    assert dead.reason is Reason.UNKNOWN_PROXY


@pytest.mark.parametrize(
    ("pin", "url"),
    [
        ("198.51.100.8:3128", "http://198.51.100.8:3128"),
        ("own.example:3128:ann:s3c/ret", "http://ann:s3c%2Fret@own.example:3128"),
        ("SOCKS5://own.example", "socks5://own.example:1080"),
    ],
)
def test_a_jobs_own_proxy_is_used_by_its_url_in_whichever_form_it_came(pin: str, url: str) -> None:
    """The short forms are no URLs: read as one, the first has no host, which is this machine."""
    own = ways.pinned(pin)
    assert own is not None
    assert own.url == url


async def test_a_listed_proxy_is_known_in_whichever_form_a_job_names_it() -> None:
    """So it is the operator's, and what it does counts."""
    rig = await rig_of("http://one.example:1")
    listed = rig.proxies.pool.choose("a.example", 0.0)
    for pin in ("one.example:1", "http://One.example:1/"):
        assert rig.proxies.choose("a.example", pin, None) == listed


async def test_a_job_without_a_way_out_waits_at_no_attempt() -> None:
    """Neither so short that it comes round in vain, nor so long that a mended list goes unnoticed."""
    for wait_s, expected in ((0.0, 2.0), (30.0, 30.0), (3600.0, 60.0)):
        outcome = ways.missed(NoWay(wait_s=wait_s), STATE)
        assert isinstance(outcome, Defer)
        assert outcome.delay_s == expected


async def test_without_a_list_requests_go_out_directly() -> None:
    """And nothing is held."""
    rig = Rig(None)
    await rig.proxies.begin()
    assert rig.proxies.choose("a.example", None, "x.example:1-00000000") is None
    assert rig.proxies.has_room()


async def test_who_comes_back_finds_his_proxy_or_another() -> None:
    """A session's proxy is kept however it stands; one that left the list is replaced."""
    rig = await rig_of("one.example:1\ntwo.example:2")
    first = rig.proxies.choose("a.example", None, None)
    assert isinstance(first, Proxy)
    for _ in range(6):
        rig.proxies.settled(first, Done(), STATE, failed=True)
    assert rig.proxies.again("a.example", None, first.id) == first
    other = rig.proxies.again("a.example", None, "gone.example:1-00000000")
    assert isinstance(other, Proxy)
    assert other != first


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Done((Outgoing(topic=Topic.PAGES, site="", value=b""),)), ProxyOutcome.SUCCESS),
        (Done((Outgoing(topic=Topic.CAPTCHA_REQUESTS, site="", value=b""),)), ProxyOutcome.CAPTCHA),
        (Retry(error_class=ErrorClass.BLOCKED, message=""), ProxyOutcome.FAILURE),
        (Retry(error_class=ErrorClass.RATE_LIMITED, message=""), ProxyOutcome.FAILURE),
        (Retry(error_class=ErrorClass.NETWORK, message=""), ProxyOutcome.FAILURE),
        (Retry(error_class=ErrorClass.SERVER_ERROR, message=""), ProxyOutcome.SUCCESS),
        (Retry(error_class=ErrorClass.SOLVE_FAILED, message=""), None),
        (Dead(reason=Reason.BODY_TOO_LARGE, error_class=ErrorClass.REFUSED, message=""), None),
        (
            Dead(reason=Reason.SOLVE_NOT_ALLOWED, error_class=ErrorClass.CHALLENGE, message=""),
            ProxyOutcome.CAPTCHA,
        ),
    ],
)
def test_an_outcome_says_what_it_says_of_the_proxy(outcome: Outcome, expected: ProxyOutcome | None) -> None:
    """What the site is to blame for is no failure of the proxy; its own failure always is one."""
    assert ways.outcome_of(outcome, proxy_failed=False) is expected
    assert ways.outcome_of(outcome, proxy_failed=True) is ProxyOutcome.FAULT


@pytest.mark.parametrize("error_class", [ErrorClass.NETWORK, ErrorClass.BLOCKED, ErrorClass.RATE_LIMITED])
def test_the_next_try_takes_another_proxy(error_class: ErrorClass) -> None:
    """The failed one's id travels with the job."""
    noted = ways.elsewhere(Retry(error_class=error_class, message=""), STATE, "one.example:1-00000000")
    assert isinstance(noted, Retry)
    assert noted.state is not None
    assert noted.state.failed_proxy == "one.example:1-00000000"


async def test_a_file_is_read_when_it_changed(tmp_path: Path) -> None:
    """A file that is replaced, as a mounted secret is, too; one that is gone is an error without content."""
    path = tmp_path / "proxies"
    path.write_text("one.example:1")
    source = source_of(ProxySettings(proxies_file=path))
    assert source is not None
    assert await source.read() == b"one.example:1"
    assert await source.read() is None
    new = tmp_path / "new"
    new.write_text("two.example:2")
    new.rename(path)
    assert await source.read() == b"two.example:2"
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await source.read()
