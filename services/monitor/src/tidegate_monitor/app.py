"""The monitor's wiring, and its process: it is on no consumer group, so it has no runtime."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import uvloop
from tidegate.backlog import KafkaBacklog
from tidegate.clock import BrokerClock, Clock, SystemClock, seeded_random
from tidegate.consume.kafka_connection import mend_connections
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.errors import ConfigurationError, TidegateError, cause_of
from tidegate.events import Emit, log_emitter
from tidegate.health import health_server
from tidegate.kafka_admin import site_partitions
from tidegate.patience import unless, until_reached
from tidegate.probe import ready
from tidegate.process import StartFailed, Stopped, instance_name
from tidegate.settings import load
from tidegate.telemetry.meter import Telemetry, metering
from tidegate.telemetry.metric import check
from tidegate.telemetry.stats_sink import StatsSink
from tidegate.telemetry.tally import Tallies
from tidegate.topics import Topic

from tidegate_monitor.alerts import Alert
from tidegate_monitor.engine import Engine
from tidegate_monitor.events import PageServed
from tidegate_monitor.lags import watch_lags
from tidegate_monitor.metrics import METRICS
from tidegate_monitor.outlet import Outlet, Webhook
from tidegate_monitor.settings import Settings
from tidegate_monitor.stream import read_stats
from tidegate_monitor.view import view
from tidegate_monitor.watch import Watch, decode_alert
from tidegate_monitor.web import Pages, page_server

NAME = "monitor"


def main() -> int:
    """Run the monitor until SIGTERM or SIGINT; return the exit code as other services do."""
    arguments = sys.argv[1:]
    try:
        settings = load(Settings)
    except ConfigurationError as error:
        log_emitter(NAME)(StartFailed(error=str(error)))
        return 2
    if arguments == ["health"]:
        return 0 if ready(settings.health.host, settings.health.port) else 1
    emit = log_emitter(NAME, settings.telemetry.log_level)
    if arguments:
        emit(StartFailed(error=f"unknown arguments {arguments}: none starts the monitor, `health` asks it"))
        return 2
    try:
        with metering(NAME, settings, check(METRICS), emit) as telemetry:
            uvloop.run(_serve(settings, telemetry))
    except (TidegateError, OSError, ExceptionGroup) as error:
        cause = cause_of(error)
        emit(StartFailed(error=str(cause) or repr(cause)))
        return 2 if isinstance(cause, ConfigurationError) else 1
    emit(Stopped(exit_code=0))
    return 0


def start_name() -> str:
    """Return a name that no earlier start had: in a container all have the same host and process id."""
    return f"{instance_name()}:{seeded_random().getrandbits(32):08x}"


async def _serve(settings: Settings, telemetry: Telemetry) -> None:
    mend_connections()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock, emit = SystemClock(), telemetry.emit
    engine = Engine(start_name(), settings.monitor.rules(), wall_ms=clock.wall_ms())
    own, where = settings.monitor, settings.health

    def health() -> Mapping[str, object]:
        # The page is there, whether or not there is anything to show yet.
        return {"phase": "running" if engine.caught_up else "reading", "ready": True}

    pages = Pages(
        lambda: view(engine, clock.monotonic()),
        token=own.token.get_secret_value(),
        host=own.host,
        hosts=own.hosts,
        clock=clock,
    )
    async with (
        page_server(pages, own.host, own.port),
        health_server(where.host, where.port, health, metrics=telemetry.page),
    ):
        emit(PageServed(url=f"http://{own.host}:{own.port}/", guarded=bool(own.token.get_secret_value())))
        await unless(stop, _watch(settings, engine, clock, emit))


async def _watch(settings: Settings, engine: Engine, clock: Clock, emit: Emit) -> None:
    """Read, judge and tell, for ever."""
    kafka, own = settings.kafka, settings.monitor
    partitions = await until_reached(lambda: site_partitions(settings), clock, emit)
    tallies = Tallies(NAME, engine.instance, ())
    backlog = KafkaBacklog(kafka, partitions)

    async def told() -> Mapping[str, Alert]:
        found = {}
        async for record in KafkaReader(kafka).read(Topic.ALERTS, 0):
            if record.value and (alert := decode_alert(record.value)) is not None:
                found[alert.key] = alert
        return found

    async with _outlet(settings, clock, emit) as outlet, asyncio.TaskGroup() as group:
        watch = Watch(
            engine,
            read=lambda take, is_stale: read_stats(kafka, take, clock, is_stale),
            tell=outlet.tell if own.publish else lambda _alerts, _healths: None,
            told=told,
            clock=clock,
            emit=emit,
        )
        group.create_task(StatsSink(kafka, tallies, clock, emit).run(), name="stats")
        group.create_task(watch.run(), name="watch")
        group.create_task(
            watch_lags(backlog, engine, tallies, every_s=own.lag_every_s, clock=clock, emit=emit), name="lags"
        )
        group.create_task(outlet.run(), name="outlet")


@asynccontextmanager
async def _outlet(settings: Settings, clock: Clock, emit: Emit) -> AsyncIterator[Outlet]:
    """Yield the outlet with its connections."""
    own = settings.monitor
    sink = KafkaSink(settings.kafka, clock=clock, broker_clock=BrokerClock(clock), emit=emit)
    async with AsyncExitStack() as stack:
        await until_reached(lambda: sink.start(1), clock, emit)
        stack.push_async_callback(sink.stop)
        webhook = None
        if url := own.webhook.get_secret_value():
            session = await stack.enter_async_context(aiohttp.ClientSession())
            webhook = Webhook(session, url, own.webhook_timeout_s, clock)
        yield Outlet(sink, webhook, emit)
