"""What a monitor knows after a restart, who of several tells others, and what is told."""

import asyncio

import msgspec
import pytest
from tidegate.alert_rules import load
from tidegate.consume.service import Ack
from tidegate.errors import FatalProduceError
from tidegate.events import Event
from tidegate.outcome import Outgoing
from tidegate.site_health import SiteHealth
from tidegate.stats import Part, StatsDelta
from tidegate_monitor.alerts import Alert
from tidegate_monitor.engine import Engine
from tidegate_monitor.events import PublishFailed
from tidegate_monitor.health import SiteHealths
from tidegate_monitor.outlet import Outlet, sentence
from tidegate_monitor.view import view
from tidegate_monitor.watch import decode_alert
from tidegate_monitor.windows import HORIZON_MS, Board

START_MS = 1_700_000_000_000


def record(service: str, instance: str, **sums: float) -> bytes:
    """Return a record of ``stats``; underscores in names stand for colons."""
    named = {name.replace("__", ":"): amount for name, amount in sums.items()}
    parts = {"service": {"": Part(sums=named)}}
    return msgspec.json.encode(StatsDelta(service=service, instance=instance, seconds=1.0, parts=parts))


def engine(instance: str = "m1") -> Engine:
    """Return one that begins at the start."""
    return Engine(instance, load(), wall_ms=START_MS)


def test_a_restart_comes_to_the_same_alerts_and_tells_nothing_twice() -> None:
    """The last minutes are read again; what fires was told before."""
    log = [(record("fetcher", "f", challenges=60.0, fetch__page=40.0), START_MS - 60_000)]
    log += [(record("fetcher", "f"), START_MS - 5_000)]
    first, second = engine("m1"), engine("m2")
    for one in (first, second):
        for offset, (value, at_ms) in enumerate([*log, (record("monitor", one.instance), START_MS)]):
            one.take(value, offset, at_ms, 0.0)
    assert first.caught_up
    fired = first.untold({}, 0.0)
    assert [alert.rule for alert in fired] == ["captcha_rate", "proxies_not_workers"]
    assert second.untold({alert.key: alert for alert in fired}, 0.0) == []


def test_what_is_over_since_it_was_told_is_told_to_be_over() -> None:
    """Nobody waits for the end of an alert that ended while no monitor ran."""
    one = engine()
    one.take(record("monitor", "m1"), 0, START_MS, 0.0)
    rule = load()[0]
    told = Alert(
        rule=rule.name,
        subject="",
        severity=rule.severity,
        state="fired",
        value=0.5,
        sample=100,
        since_ms=START_MS - 9_000_000,
        at_ms=START_MS - 9_000_000,
        summary=rule.summary,
        action=rule.action,
    )
    assert [(alert.key, alert.state) for alert in one.untold({told.key: told}, 0.0)] == [
        ("captcha_rate|", "cleared")
    ]


def test_a_growth_of_nine_minutes_before_a_restart_counts() -> None:
    """Alerts are judged in the time of the records, not of the monitor."""

    def grown(until_ms: int) -> Engine:
        one = engine()
        for offset, at_ms in enumerate(range(START_MS - 661_000, until_ms, 5_000)):
            lag = Part(last={"lag": 1000.0 + (at_ms - START_MS + 661_000) / 1000})
            parts = {"topic": {"urls": lag}}
            delta = StatsDelta(service="monitor", instance="m0", seconds=1.0, parts=parts)
            one.take(msgspec.json.encode(delta), offset, at_ms, 0.0)
        return one

    assert [alert.rule for alert in grown(START_MS + 10_000).book.firing()] == ["queue_growing"]
    assert grown(START_MS - 60_000).book.firing() == []


def test_what_is_older_than_the_horizon_is_passed_over() -> None:
    """An hour of records is read in seconds: three quarters of it count nothing."""
    one = engine()
    one.take(record("fetcher", "f", fetch__page=1.0), 0, START_MS - HORIZON_MS - 1, 0.0)
    assert one.records == 0
    one.take(record("fetcher", "f", fetch__page=1.0), 1, START_MS - HORIZON_MS + 1, 0.0)
    assert one.records == 1


def test_a_record_counts_once_however_often_it_is_read() -> None:
    """After an interruption the topic is read from its beginning again."""
    one = engine()
    for _ in range(3):
        one.take(record("fetcher", "f", fetch__page=1.0), 7, START_MS, 0.0)
    assert one.board.total("service", "fetcher", 60, START_MS).sums == {"fetch:page": 1.0}


def test_what_cannot_be_read_is_said_and_passed_over() -> None:
    """A record of a newer version stops nothing."""
    one = engine()
    assert one.take(b"?", 0, START_MS, 0.0).unreadable
    assert one.take(record("monitor", "m1"), 1, START_MS, 0.0).caught_up


def test_of_several_monitors_the_first_tells_and_another_when_it_is_gone() -> None:
    """All of them know the same; one posts."""
    one, two = engine("m1"), engine("m2")
    for each in (one, two):
        each.take(record("monitor", "m1"), 0, START_MS, 0.0)
        each.take(record("monitor", "m2"), 1, START_MS, 0.0)
    assert (one.is_leader(0.0), two.is_leader(0.0)) == (True, False)
    two.take(record("monitor", "m2"), 2, START_MS + 16_000, 16.0)
    assert two.is_leader(16.0)


def test_time_goes_on_where_nothing_comes() -> None:
    """The broker is away: windows empty, they do not stand still."""
    one = engine()
    one.take(record("monitor", "m1"), 0, START_MS, 100.0)
    assert one.now_ms(160.0) == START_MS + 60_000


@pytest.mark.parametrize(
    ("challenges", "pages", "factor"), [(30, 70, None), (31, 69, 0.5), (41, 59, 0.25), (10, 9, None)]
)
def test_a_site_is_slowed_by_its_rate(challenges: int, pages: int, factor: float | None) -> None:
    """30 % is well, 31 % half, 41 % a quarter; nineteen fetches say nothing."""
    board, healths = Board(), SiteHealths()
    sums = {"challenges": float(challenges), "fetch:page": float(pages)}
    parts = {"site": {"a": Part(sums=sums)}}
    board.take(StatsDelta(service="fetcher", instance="f", seconds=1.0, parts=parts), START_MS)
    told = list(healths.step(board, START_MS))
    assert [health.factor for health in told] == ([] if factor is None else [factor])
    assert all(health.advice == "add proxies, not workers" for health in told)
    assert list(healths.step(board, START_MS + 59_000)) == []
    assert len(list(healths.step(board, START_MS + 60_000))) == len(told), "told again before it expires"
    over = list(healths.step(board, START_MS + 301_000))
    assert [health.factor for health in over] == ([] if factor is None else [1.0])


def test_a_slowed_site_is_let_go_well_below_its_mark() -> None:
    """At 27 % it stays as it is."""
    healths = SiteHealths()
    for challenges, factor in ((35, 0.5), (27, 0.5), (24, 1.0)):
        board = Board()
        sums = {"challenges": float(challenges), "fetch:page": 100.0 - challenges}
        delta = StatsDelta(service="f", instance="f", seconds=1.0, parts={"site": {"a": Part(sums=sums)}})
        board.take(delta, START_MS)
        list(healths.step(board, START_MS))
        assert healths.slowed.get("a", 1.0) == factor


def test_the_view_of_an_empty_installation_can_be_shown() -> None:
    """Nothing is known of anything, and nothing divides by it."""
    shown = view(engine(), 0.0)
    assert shown["ready"] is False
    assert shown["shares"] == {"captcha": None, "solved": None, "dead": None, "errors": None}
    assert len(shown["charts"]["pages"]) == 60
    msgspec.json.encode(shown)


def test_the_view_names_the_worst_first_and_of_one_value_only_the_worst() -> None:
    """A budget that is spent is not half spent, too."""
    one = engine()
    sums = Part(sums={"challenges": 50.0, "fetch:page": 50.0})
    for instance, parts in (
        ("a", {"budget": {"run r": Part(last={"used": 5.0, "limit": 5.0})}}),
        ("b", {"site": {"x": sums}}),
        ("m1", {}),
    ):
        delta = StatsDelta(service="monitor", instance=instance, seconds=1.0, parts=parts)
        one.take(msgspec.json.encode(delta), one.next_offset, START_MS, 0.0)
    one.step(0.0)
    shown = [(alert["severity"], alert["rule"]) for alert in view(one, 0.0)["alerts"]]
    assert shown == [("critical", "budget_100"), ("warning", "captcha_rate_site")]


class Broken:
    """A sink that takes nothing the first time."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.all_sent = asyncio.Event()

    async def send(self, record: Outgoing) -> Ack:
        """Fail once, then keep."""
        if not self.sent:
            self.sent.append(record)
            raise FatalProduceError("alerts: not allowed")
        self.sent.append(record)
        self.all_sent.set()
        return Ack(0, 0, 0)


async def test_what_cannot_be_published_is_told_and_the_next_one_is_sent() -> None:
    """The monitor goes on."""
    events: list[Event] = []
    sink = Broken()
    outlet = Outlet(sink, None, events.append)
    rule = load()[0]
    alert = Alert(
        rule=rule.name,
        subject="a|b",
        severity="critical",
        state="fired",
        value=0.41,
        sample=100,
        since_ms=1,
        at_ms=1,
        summary=rule.summary,
        action=rule.action,
    )
    health = SiteHealth(site="a", captcha_rate=0.5, fetches=20, factor=0.25, advice="none", at_ms=1)
    outlet.tell([alert], [health])
    running = asyncio.ensure_future(outlet.run())
    await sink.all_sent.wait()
    running.cancel()
    assert [type(event) for event in events] == [PublishFailed]
    assert [(record.topic, record.key) for record in sink.sent] == [
        ("alerts", b"captcha_rate|a|b"),
        ("site-health", b"a"),
    ]
    assert decode_alert(sink.sent[0].value or b"") == alert
    assert sentence(alert).startswith(
        "[critical] More than 40 % of the fetches meet a CAPTCHA. (a|b) Now 0.41."
    )
