"""Sends what was added up to the topic ``stats``, once a second, beside the data path.

It has a producer of its own, without idempotence and with one acknowledgement: what becomes of these records
must never touch the producer that has custody of jobs. A record that cannot be sent is dropped.
"""

import asyncio
import contextlib

import msgspec
from aiokafka import AIOKafkaProducer

from tidegate.clock import Clock
from tidegate.consume.kafka_connection import cancelled_by_somebody, close_quietly
from tidegate.consume.runtime_events import StatsDropped
from tidegate.events import Emit
from tidegate.kafka_security import connection_options
from tidegate.settings import KafkaSettings
from tidegate.telemetry.tally import Tallies
from tidegate.topics import Topic

_EVERY_S = 1.0
_TIMEOUT_S = 5.0
_LONGEST_BACKOFF_S = 30.0


class StatsSink:
    """Runs until it is cancelled; whatever it meets concerns nobody else."""

    def __init__(self, settings: KafkaSettings, tallies: Tallies, clock: Clock, emit: Emit) -> None:
        self._settings = settings
        self._topic = settings.prefix + Topic.STATS
        self._tallies = tallies
        self._clock = clock
        self._emit = emit
        self._told = False

    async def run(self) -> None:
        """Connect, send once a second, and connect anew after a failure."""
        backoff_s = _EVERY_S
        while True:
            producer = None
            try:
                producer = self._producer()
                async with asyncio.timeout(_TIMEOUT_S):
                    await producer.start()
                backoff_s = _EVERY_S
                await self._send_forever(producer)
            except asyncio.CancelledError:
                if cancelled_by_somebody():
                    raise
                self._tell("the client gave up")
            except Exception as error:  # noqa: BLE001 -- nothing of this may end the data path
                self._tell(repr(error))
            finally:
                if producer is not None:
                    with contextlib.suppress(Exception):
                        async with asyncio.timeout(_TIMEOUT_S):
                            await close_quietly(producer.stop)
            await self._clock.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **connection_options(self._settings),
            acks=1,
            enable_idempotence=False,
            request_timeout_ms=int(_TIMEOUT_S * 1000),
            max_request_size=1 << 20,
        )

    async def _send_forever(self, producer: AIOKafkaProducer) -> None:
        since_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(_EVERY_S)
            now_s = self._clock.monotonic()
            delta = self._tallies.take(round(now_s - since_s, 3))
            since_s = now_s
            value = msgspec.json.encode(delta)
            async with asyncio.timeout(_TIMEOUT_S):
                await producer.send_and_wait(self._topic, value, key=delta.instance.encode(), partition=0)
            self._told = False

    def _tell(self, error: str) -> None:
        if not self._told:
            self._told = True
            self._emit(StatsDropped(error=error))
