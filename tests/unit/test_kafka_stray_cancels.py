"""A future that a library cancels must not end whoever waits for it in silence."""

import asyncio
from typing import Any

import pytest
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume import kafka_sink
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.errors import FatalProduceError
from tidegate.events import Event
from tidegate.outcome import Outgoing
from tidegate.settings import KafkaSettings
from tidegate.topics import Topic


class Cancelling:
    """A producer whose acknowledgement is cancelled, or never comes."""

    def __init__(self, *, stray: bool) -> None:
        self._stray = stray

    async def send_and_wait(self, *_: Any, **__: Any) -> None:
        """Wait for a future that the library cancels."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._stray:
            future.cancel()
        await future


def ignore(event: Event) -> None:
    """Take an event and do nothing."""


def sink(patch: pytest.MonkeyPatch, *, stray: bool) -> KafkaSink:
    """A sink on such a producer."""
    patch.setattr(kafka_sink, "AIOKafkaProducer", lambda **_: Cancelling(stray=stray))
    clock = SystemClock()
    made = KafkaSink(KafkaSettings(), clock=clock, broker_clock=BrokerClock(clock), emit=ignore)
    made._partitions = 1
    return made


async def test_a_stray_cancellation_of_a_produce_is_a_fate_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither success nor failure, hence the process ends (C5)."""
    broken = sink(monkeypatch, stray=True)
    with pytest.raises(FatalProduceError):
        await broken.send(Outgoing(topic=Topic.PAGES, site="s", value=b"x"))


async def test_our_own_cancellation_of_a_produce_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain that cuts work off is no fault."""
    waiting = sink(monkeypatch, stray=False)
    task = asyncio.ensure_future(waiting.send(Outgoing(topic=Topic.PAGES, site="s", value=b"x")))
    await asyncio.sleep(0)  # noqa: TID251 -- lets it start
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
