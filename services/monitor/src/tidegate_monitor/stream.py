"""Reads ``stats`` with Faust. The only module that knows Faust; no type of it leaves (ADR 0020).

Each monitor reads the whole topic, which has one partition, from its beginning, without a consumer group and
without tables: the state is rebuilt from an hour of small records. Faust's client mode does that. An app
cannot be started twice, so an interruption makes a new one; what was read already is passed over by offset.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from typing import Any

import faust
from tidegate.clock import Clock
from tidegate.consume.kafka_connection import cancelled_by_somebody
from tidegate.errors import BrokerError
from tidegate.kafka_security import connection_options
from tidegate.settings import KafkaSettings
from tidegate.topics import Topic

Take = Callable[[bytes, int, int], None]

_LOOK_S = 0.5
_START_S = 60.0


async def read_stats(settings: KafkaSettings, take: Take, clock: Clock, is_stale: Callable[[], bool]) -> None:
    """Hand every record to ``take`` (value, offset, append time) until cancelled.

    Raises BrokerError when the app fails, or when ``is_stale`` says that nothing comes any more.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-monitor-") as folder:
        app = None
        try:
            app = _app(settings, folder)
            topic = app.topic(settings.prefix + Topic.STATS, value_type=bytes, value_serializer="raw")
            # Made before the start: a client subscribes to what is there then.
            stream = topic.stream()
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(_read(stream, take), name="faust stream")
                async with asyncio.timeout(_START_S):
                    await app.start_client()
                while not (app.should_stop or is_stale()):
                    await clock.sleep(_LOOK_S)
                reading.cancel()
            why = repr(app.crash_reason)
        except asyncio.CancelledError as error:
            if cancelled_by_somebody():
                raise
            raise BrokerError(f"{Topic.STATS} cannot be read: Faust gave up") from error
        except Exception as error:  # whatever Faust raises, it is an interruption
            raise BrokerError(f"{Topic.STATS} cannot be read: {error!r}") from error
        finally:
            if app is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_LOOK_S * 10):
                        await app.stop()
    raise BrokerError(f"{Topic.STATS} cannot be read: {why}")


async def _read(stream: Any, take: Take) -> None:
    async for event in stream.events():
        message = event.message
        take(event.value, message.offset, int(message.timestamp * 1000))


def _app(settings: KafkaSettings, folder: str) -> Any:
    options = connection_options(settings)
    brokers = ";".join(f"kafka://{each.strip()}" for each in settings.bootstrap.split(","))
    return faust.App(
        f"{settings.prefix}monitor",
        broker=brokers,
        broker_credentials=_credentials(options),
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        value_serializer="raw",
        web_enabled=False,
        loop=asyncio.get_running_loop(),
    )


def _credentials(options: dict[str, Any]) -> Any:
    """Return our connection's options in Faust's words."""
    protocol = options.get("security_protocol", "PLAINTEXT")
    context = options.get("ssl_context")
    if protocol.startswith("SASL"):
        credentials = faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
        credentials.protocol = faust.types.auth.AuthProtocol(protocol)
        return credentials
    return None if context is None else faust.SSLCredentials(context)
