"""A service as a process: settings, signals, health, the runtime, in that order.

Every service's ``__main__`` is one call of ``main`` with its settings, its plan and its ``build``.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
import uvloop

from tidegate.backlog import Backlog, KafkaBacklog, NoBacklog
from tidegate.clock import BrokerClock, Clock, SystemClock, seeded_random
from tidegate.consume.attempt import where
from tidegate.consume.deadlines import revocation_s
from tidegate.consume.kafka_connection import mend_connections
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.plan import Plan
from tidegate.consume.retries import policy_of
from tidegate.consume.runtime import Runtime
from tidegate.consume.runtime_events import JobDead
from tidegate.consume.service import Service, Sink
from tidegate.errors import ConfigurationError, TidegateError, cause_of
from tidegate.events import Emit, Event, log_emitter
from tidegate.health import LOOP_AGE_LIMIT_S, health_server
from tidegate.kafka_admin import retention_ms, site_partitions
from tidegate.memory import COLLECT_AFTER, collect_less, return_freed_memory
from tidegate.patience import until_reached
from tidegate.probe import ready
from tidegate.records import Inbound
from tidegate.settings import Settings, load
from tidegate.telemetry.meter import Telemetry, metering
from tidegate.telemetry.metric import Metric, check
from tidegate.telemetry.runtime_metrics import RUNTIME_METRICS
from tidegate.telemetry.runtime_stats import RUNTIME_STATS, STATES
from tidegate.telemetry.stats_sink import StatsSink
from tidegate.telemetry.tally import Tallies, Tally
from tidegate.tracing import OpenTelemetryTracing, tracer_provider

S = TypeVar("S", bound=Settings)


class PartitionReader(Protocol):
    """Reads a whole partition outside the consumer group, for journals and for logs that all read."""

    def read(self, topic: str, partition: int) -> AsyncIterator[Inbound]:
        """Yield the partition's records from its start to the end captured at the call (M6)."""
        ...

    def tails(self, topics: Sequence[str], partition: int, last: int) -> AsyncIterator[Inbound]:
        """Yield the last records of one partition number of several topics, ``last`` of each at least."""
        ...

    def follow(self, topic: str, partition: int, offset: int) -> AsyncGenerator[Sequence[Inbound], None]:
        """Yield what comes from ``offset`` on in batches, for ever; an empty one now and then.

        Raises OffsetsLostError where the record at ``offset`` is gone, BrokerError for what may pass.
        """
        ...


def _never_doubted() -> float:
    return 0.0


class Context(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What a service is built from. ``partitions`` is the count of every site-keyed topic.

    ``membership_age_s`` tells how long ago the consumer group certainly counted this process in: with an age
    of a session time-out, somebody else may own its partitions. ``backlog`` is for one reader.
    """

    settings: S
    emit: Emit
    clock: Clock
    broker_clock: BrokerClock
    random: Random
    sink: Sink
    reader: PartitionReader
    partitions: int
    membership_age_s: Callable[[], float] = _never_doubted
    backlog: Backlog = NoBacklog()


Build = Callable[[Context[S]], AbstractAsyncContextManager[Service[Any]]]


class Configured(Event, frozen=True):
    """The service starts with these settings that matter most."""

    bootstrap: str
    prefix: str
    partitions: int


class Stopped(Event, frozen=True):
    """The service has ended."""

    exit_code: int


class StartFailed(Event, frozen=True):
    """The service could not start or had to end; the message says what to mend."""

    level: ClassVar[str] = "error"
    error: str


def main(
    name: str,
    settings_kind: type[S],
    plan: Plan,
    build: Build[S],
    metrics: tuple[Metric, ...] = (),
    *,
    stats: tuple[Tally, ...] = (),
    collect_after: int = COLLECT_AFTER,
) -> int:
    """Run a service until SIGTERM or SIGINT; return the exit code.

    0 after a clean drain, 2 for a configuration error, 1 for anything else. Python looks for garbage after
    ``collect_after`` objects that are new and still there.
    ``python -m <service> health`` asks a running one's /ready and exits 0 or 1.
    """
    arguments = sys.argv[1:]
    try:
        settings = load(settings_kind)
    except ConfigurationError as error:
        log_emitter(name)(StartFailed(error=str(error)))
        return 2
    if arguments == ["health"]:
        return 0 if ready(settings.health.host, settings.health.port) else 1
    emit = log_emitter(name, settings.telemetry.log_level)
    if arguments:
        emit(StartFailed(error=f"unknown arguments {arguments}: none starts the service, `health` asks it"))
        return 2
    return_freed_memory()
    collect_less(collect_after)
    try:
        with metering(name, settings, check((*RUNTIME_METRICS, *metrics)), emit) as telemetry:
            if settings.telemetry.stats:
                tallies = Tallies(
                    name, instance_name(), (*RUNTIME_STATS, *stats), dead=JobDead, states=STATES
                )
                telemetry.tell(tallies)
            uvloop.run(_serve(name, settings, plan, build, telemetry))
    except (TidegateError, ExceptionGroup) as error:
        cause = cause_of(error)
        emit(StartFailed(error=_sentence(cause)))
        return 2 if isinstance(cause, ConfigurationError) else 1
    emit(Stopped(exit_code=0))
    return 0


def instance_name() -> str:
    """Return what this process is called among all of this installation."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def _serve(name: str, settings: S, plan: Plan, build: Build[S], telemetry: Telemetry) -> None:
    mend_connections()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    page = _HealthPage()
    limit_s = LOOP_AGE_LIMIT_S + revocation_s(settings.runtime.drain_deadline_s)
    where_to = settings.health
    async with (
        health_server(
            where_to.host,
            where_to.port,
            page.snapshot,
            loop_age_limit_s=limit_s,
            metrics=telemetry.page,
        ),
        asyncio.TaskGroup() as group,
    ):
        running = group.create_task(
            _run(name, settings, plan, build, telemetry=telemetry, page=page, stop=stop)
        )
        ending = group.create_task(_end_start(stop, page, running))
        telling = None
        if (tallies := telemetry.tallies) is not None:
            tallies.watch(page.snapshot)
            sink = StatsSink(settings.kafka, tallies, SystemClock(), telemetry.emit)
            telling = group.create_task(sink.run(), name="stats")
        await asyncio.wait([running])
        ending.cancel()
        if telling is not None:
            telling.cancel()


async def _end_start(stop: asyncio.Event, page: "_HealthPage", running: "asyncio.Task[None]") -> None:
    """End a service that is told to stop while it still starts; later its runtime sees to that."""
    await stop.wait()
    if page.runtime is None:
        running.cancel()


async def _run(
    name: str,
    settings: S,
    plan: Plan,
    build: Build[S],
    *,
    telemetry: Telemetry,
    page: "_HealthPage",
    stop: asyncio.Event,
) -> None:
    emit = telemetry.emit
    plan = msgspec.structs.replace(plan, prefix=settings.kafka.prefix, retries=policy_of(settings.retries))
    kafka, clock = settings.kafka, SystemClock()
    broker_clock = BrokerClock(clock)

    async def reach() -> tuple[int, dict[str, int], KafkaSink]:
        partitions, kept = await site_partitions(settings), await retention_ms(settings)
        sink = KafkaSink(kafka, clock=clock, broker_clock=broker_clock, emit=emit)
        await sink.start(partitions)
        return partitions, kept, sink

    partitions, kept, sink = await until_reached(reach, clock, emit)
    emit(Configured(bootstrap=kafka.bootstrap, prefix=kafka.prefix, partitions=partitions))
    source = KafkaSource(
        kafka,
        group=plan.group,
        topics=plan.all_topics,
        fetch_bytes=settings.runtime.fetch_bytes,
        drain_deadline_s=settings.runtime.drain_deadline_s,
        clock=clock,
    )
    provider = tracer_provider(name, settings.telemetry)
    backlog = KafkaBacklog(kafka, partitions)
    try:
        context = Context(
            settings=settings,
            emit=emit,
            clock=clock,
            broker_clock=broker_clock,
            random=seeded_random(),
            sink=sink,
            reader=KafkaReader(kafka),
            partitions=partitions,
            membership_age_s=source.membership_age_s,
            backlog=backlog,
        )
        async with build(context) as service:
            page.runtime = Runtime(
                plan=plan,
                service=service,
                source=source,
                sink=sink,
                settings=settings.runtime,
                clock=clock,
                broker_clock=broker_clock,
                emit=emit,
                tracing=OpenTelemetryTracing(
                    provider,
                    plan.group,
                    link_after_s=settings.telemetry.trace_link_after_s,
                    now_ms=broker_clock.now_ms,
                ),
                retention_ms=kept,
            )
            telemetry.meters.watch(page.runtime.snapshot)
            await page.runtime.run(stop)
    finally:
        # Done already, but for a service that could not be built.
        await source.stop()
        await backlog.stop()
        await sink.stop()
        provider.shutdown()


class _HealthPage:
    """What probes are told: that the service starts, then what its runtime says."""

    runtime: Runtime[Any] | None = None

    def snapshot(self) -> dict[str, object]:
        """Return the state; alive and not ready until there is a runtime."""
        if self.runtime is None:
            return {"phase": "starting", "ready": False, "loop_age_s": 0.0}
        return self.runtime.snapshot()


def _sentence(error: BaseException) -> str:
    """Return a failure in words; of one that nobody foresaw, also its place."""
    if isinstance(error, ConfigurationError):
        return str(error)
    place = "" if isinstance(error, TidegateError) else f", {where(error)}"
    return f"{type(error).__name__}: {error}{place}"
