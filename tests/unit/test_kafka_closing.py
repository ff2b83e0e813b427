"""A process that is told to end does so, whether the broker is there or not."""

import asyncio
from typing import Any

import pytest
from support.virtual_time import LoopClock, virtually
from tidegate.clock import BrokerClock
from tidegate.consume import kafka_sink
from tidegate.consume.deadlines import FLUSH_S
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.events import Event
from tidegate.settings import KafkaSettings


class Flushing:
    """A producer that waits for a broker which does not come back."""

    def __init__(self, **_: Any) -> None:
        """Take any option."""

    async def stop(self) -> None:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()


def ignore(event: Event) -> None:
    """Take an event and do nothing."""


def test_a_flush_that_no_broker_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves unacknowledged is not committed, and so it is redone (C5)."""

    async def main() -> float:
        clock = LoopClock()
        sink = KafkaSink(KafkaSettings(), clock=clock, broker_clock=BrokerClock(clock), emit=ignore)
        before = clock.monotonic()
        async with asyncio.timeout(600):
            await sink.stop()
        return clock.monotonic() - before

    monkeypatch.setattr(kafka_sink, "AIOKafkaProducer", Flushing)
    assert virtually(main()) == pytest.approx(FLUSH_S, abs=0.1)
