"""A monitor that starts again, leads or follows others, and a broker that is not what it was."""

import msgspec
import pytest
from support.monitor import Bench
from tidegate.alert_rules import load
from tidegate.events import Event
from tidegate.process import instance_name
from tidegate.stats import Part, StatsDelta, decode
from tidegate.testing.manual_clock import ManualClock
from tidegate_monitor.alerts import Alert
from tidegate_monitor.app import start_name
from tidegate_monitor.engine import Engine, Taken
from tidegate_monitor.events import AlertFired
from tidegate_monitor.readings import providers_down
from tidegate_monitor.watch import Watch, decode_alert

START_MS = 1_700_000_000_000


def record(service: str, instance: str, **sums: float) -> bytes:
    """Return a record of ``stats``."""
    parts = {"service": {"": Part(sums=sums)}}
    return msgspec.json.encode(StatsDelta(service=service, instance=instance, seconds=1.0, parts=parts))


def engine(instance: str = "m1") -> Engine:
    """Return one that begins at the start."""
    return Engine(instance, load(), wall_ms=START_MS)


def test_a_monitor_does_not_take_an_earlier_start_for_itself() -> None:
    """In a container all starts have one host and process id: that says nothing."""
    earlier, now = start_name(), start_name()
    assert now.startswith(instance_name())
    one = engine(now)
    assert not one.take(record("monitor", earlier), 0, START_MS - 3_600_000, 0.0).caught_up
    assert one.take(record("monitor", now), 1, START_MS, 0.0).caught_up


def test_a_broker_whose_clock_is_behind_is_followed_after_a_while() -> None:
    """The leader of `stats` moved: all that live go on living, whoever is gone is gone, one monitor leads."""
    one = engine("m2")
    one.take(record("monitor", "m1"), 0, START_MS, 0.0)
    one.take(record("monitor", "m2"), 1, START_MS, 0.0)
    one.take(record("fetcher", "gone"), 2, START_MS, 0.0)
    for second in range(1, 30):
        for instance in ("m1", "m2"):
            one.take(
                record("monitor", instance), one.next_offset, START_MS - 3_600_000 + second * 1000, second
            )
    assert one.now_ms(29.0) == START_MS - 3_600_000 + 29_000
    assert one.board.instances("monitor", one.now_ms(29.0)) == ["m1", "m2"]
    assert one.board.instances("fetcher", one.now_ms(29.0)) == []
    assert not one.is_leader(29.0)


def test_a_record_that_was_late_does_not_turn_time_back() -> None:
    """One that lies behind among others that do not says nothing of the broker's clock."""
    one = engine()
    for second in range(30):
        one.take(record("monitor", "m1"), one.next_offset, START_MS + second * 1000, second)
        one.take(record("fetcher", "f"), one.next_offset, START_MS - 60_000, second)
    assert one.now_ms(29.0) == START_MS + 29_000


def test_a_topic_that_was_made_anew_is_read_on() -> None:
    """Its offsets begin at nothing again; what is merely read a second time counts once."""
    one = engine()
    one.take(record("monitor", "m1"), 1000, START_MS, 0.0)
    one.take(record("fetcher", "f", page=1.0), 999, START_MS, 0.0)
    assert one.records == 1
    one.take(record("fetcher", "f", page=1.0), 0, START_MS + 60_000, 60.0)
    one.take(record("fetcher", "f", page=1.0), 1, START_MS + 61_000, 61.0)
    assert one.board.total("service", "fetcher", 60, START_MS + 61_000).sums == {"page": 2.0}


@pytest.mark.parametrize("value", [b"", None])
def test_an_empty_record_is_no_complaint(value: bytes | None) -> None:
    """`tidegate doctor` tries the topic with one."""
    one = engine()
    assert one.take(value, 0, START_MS, 0.0) == Taken()
    assert one.next_offset == 1


@pytest.mark.parametrize("value", [b'{"x":' * 100_000, b'"\xff"', b"\xff", b"{}", b"null"])
def test_whatever_is_on_a_topic_is_read_or_passed_over(value: bytes) -> None:
    """A record without end or of no text ends no monitor."""
    assert decode(value) is None
    assert decode_alert(value) is None


async def test_who_takes_the_lead_tells_what_nobody_told() -> None:
    """An alert fired while the one that was gone was still taken to lead: told once, and logged once."""
    clock, one, told, logged = ManualClock(), engine("m2"), list[Alert](), list[Event]()

    async def nothing_to_read(_take: object, _is_stale: object) -> None:
        return None

    async def what_was_told() -> dict[str, Alert]:
        return {alert.key: alert for alert in told}

    watch = Watch(
        one,
        read=nothing_to_read,
        tell=lambda alerts, _: told.extend(alerts),
        told=what_was_told,
        clock=clock,
        emit=logged.append,
    )
    one.take(record("monitor", "m1"), 0, START_MS, 0.0)
    one.take(record("monitor", "m2"), 1, START_MS, 0.0)
    met = {"challenges": 60.0, "fetch:challenge": 60.0, "fetch:page": 40.0}
    one.take(record("fetcher", "f", **met), 2, START_MS, 0.0)
    await watch.look_who_leads()
    watch.judge()
    assert told == []
    clock.advance(16.0)
    one.take(record("monitor", "m2"), 3, START_MS + 16_000, 16.0)
    for _ in range(2):
        await watch.look_who_leads()
        watch.judge()
    assert [alert.rule for alert in told] == ["captcha_rate", "proxies_not_workers"]
    assert [event.rule for event in logged if isinstance(event, AlertFired)] == [
        "captcha_rate",
        "proxies_not_workers",
    ]


def test_an_idle_solver_does_not_hide_that_a_provider_is_down() -> None:
    """It never asked, so it knows nothing of it; one that has solves from it says that it is there."""
    bench = Bench("provider_down")
    for solved, down in ((0.0, True), (1.0, False)):
        bench.tell("solver", instance="busy", scope="provider", subject="acme", last={"breaker": 2.0})
        bench.tell("solver", instance="idle", scope="provider", subject="acme", last={"balance": 5.0})
        bench.tell("solver", instance="idler")
        sums = {"solve:solved": solved}
        bench.tell("solver", instance="new", scope="provider", subject="acme", sums=sums)
        assert providers_down(bench.board, bench.now_ms) == {"acme": down}
