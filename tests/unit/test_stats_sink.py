"""The publisher of statistics beside the data path: it meets anything and ends nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
import pytest
from tidegate.backlog import Standing
from tidegate.consume.runtime_events import StatsDropped
from tidegate.errors import BrokerError, ConfigurationError
from tidegate.events import Emit, Event
from tidegate.settings import KafkaSettings
from tidegate.stats import TOPIC, Part, StatsDelta
from tidegate.telemetry.stats_sink import StatsSink
from tidegate.telemetry.tally import Tallies
from tidegate.testing.manual_clock import ManualClock
from tidegate_monitor.engine import Engine
from tidegate_monitor.events import LagKnown, LagsUnread
from tidegate_monitor.lags import watch_lags
from tidegate_monitor.stream import read_stats

UNREADABLE = KafkaSettings(security_protocol="SSL", ca_file=Path("/nowhere/ca.pem"))


async def first_told(run: Callable[[Emit], Coroutine[None, None, None]]) -> Event:
    """Return the first event of what runs for ever; raise what ended it before."""
    told: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
    running = asyncio.ensure_future(run(told.set_result))
    await asyncio.wait((told, running), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    running.cancel()
    return told.result()


async def test_a_certificate_that_cannot_be_read_ends_no_service() -> None:
    """The sink is in the task group of the data path: what it raises would end the service."""
    tallies = Tallies("fetcher", "host:1", ())
    told = await first_told(lambda emit: StatsSink(UNREADABLE, tallies, ManualClock(), emit).run())
    assert isinstance(told, StatsDropped)


async def test_a_certificate_that_cannot_be_read_is_an_interruption_to_the_monitor() -> None:
    """The reader tries again; it does not end the page."""
    with pytest.raises(BrokerError):
        await read_stats(UNREADABLE, lambda *_: None, ManualClock(), lambda: True)


class Unread:
    """A backlog whose connection cannot be made."""

    async def read(self, topic: str, group: str, *, unread: bool = False) -> Standing:
        """Raise what connecting raises."""
        raise ConfigurationError(f"{topic} {group} {unread}: no certificate")


async def test_lags_that_cannot_be_read_end_no_monitor() -> None:
    """They are told to be missing, and asked for again."""
    one = Engine("m1", (), wall_ms=0)
    one.take(msgspec.json.encode(StatsDelta(service="monitor", instance="m1", seconds=1.0)), 0, 0, 0.0)
    tallies = Tallies("monitor", "m1", ())
    told = await first_told(
        lambda emit: watch_lags(Unread(), one, tallies, every_s=5.0, clock=ManualClock(), emit=emit)
    )
    assert isinstance(told, LagsUnread)


async def test_every_monitor_knows_the_lag_that_one_of_them_tells() -> None:
    """Autoscalers read it, and a monitor that told before must not say what was then."""
    listener = Engine("m2", (), wall_ms=0)
    told_by = StatsDelta(
        service="monitor",
        instance="m1",
        seconds=1.0,
        parts={TOPIC: {"urls": Part(last={"lag": 700.0})}},
    )
    listener.take(msgspec.json.encode(told_by), 0, 0, 0.0)
    told = await first_told(
        lambda emit: watch_lags(
            Unread(), listener, Tallies("monitor", "m2", ()), every_s=5.0, clock=ManualClock(), emit=emit
        )
    )
    assert told == LagKnown(topic="urls", records=700)
