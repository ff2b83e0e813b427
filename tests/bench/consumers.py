"""One consumer of the runtime's row, as a process of its own; prints microseconds of CPU a record.

``python -m bench.consumers <bare|runtime|traced|memory> <bootstrap> <prefix> <records>``. All of them do the
same: read so many records, do nothing with them, commit every half second. What the process takes to start
is left out, what it takes to join its group is not.
"""

import asyncio
import gc
import json
import resource
import sys
from collections.abc import Callable

import uvloop
from aiokafka import AIOKafkaConsumer
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.kafka_connection import mend_connections
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.consume.kafka_source import KafkaSource
from tidegate.consume.plan import Plan
from tidegate.consume.runtime import Runtime
from tidegate.consume.service import BatchSink, Work
from tidegate.consume.transport import Source
from tidegate.events import Event
from tidegate.memory import return_freed_memory
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.records import Inbound, Job, JobState, Origin
from tidegate.settings import KafkaSettings, RuntimeSettings, TelemetrySettings
from tidegate.testing.fake_broker import FakeBroker, FakeSink, FakeSource
from tidegate.topics import Topic
from tidegate.tracing import NoTracing, OpenTelemetryTracing, Tracing, tracer_provider

TOPIC = Topic.URLS
RECORD = b"https://shop.example/catalogue/page-of-a-thing?number=00000001&colour=blue&size=l"
PARTITIONS = 12
PLAN = Plan(group="bench", topics=(TOPIC,), window=128)
BOUNDS = RuntimeSettings()
_BATCH = 256
_STATE = JobState(
    run="bench",
    id="one",
    site="shop.example",
    origin=Origin(topic=TOPIC, partition=0, offset=0, timestamp_ms=0),
    accepted_at_ms=0,
)


def cpu_s() -> float:
    """Return the CPU seconds that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """Counts records, and knows the CPU time from its making to the last of them."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._seen = 0
        self._began = cpu_s()
        self._took = 0.0
        self.over = asyncio.Event()

    def count(self, records: int) -> None:
        """Take note of records that are done."""
        self._seen += records
        if self._seen >= self._records and not self._took:
            self._took = cpu_s() - self._began
            self.over.set()

    @property
    def microseconds(self) -> float:
        """CPU time a record."""
        return self._took / self._records * 1e6


class Nothing:
    """The service that does nothing."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def decode(self, record: Inbound) -> Work[None]:
        """Take any record; reading it is the services' work, not the runtime's."""
        return Work(record, Job(record.value, _STATE), None)

    async def handle(self, work: Work[None]) -> Outcome:
        """Count it."""
        self._meter.count(1)
        return Done()

    async def prepare(self, partition: int) -> None:
        """Need nothing."""

    def release(self, partition: int) -> None:
        """Forget nothing."""


def ignore(event: Event) -> None:
    """Take an event and do nothing."""


async def bare(settings: KafkaSettings, meter: Meter) -> None:
    """Read by a plain loop on aiokafka, with the options of ours that bear on its cost."""
    clock = SystemClock()
    consumer = AIOKafkaConsumer(
        settings.prefix + TOPIC,
        bootstrap_servers=settings.bootstrap,
        group_id=f"{settings.prefix}bare",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=BOUNDS.fetch_bytes,
        fetch_max_wait_ms=250,
        isolation_level="read_committed",
    )
    await consumer.start()
    committed_at = clock.monotonic()
    try:
        while not meter.over.is_set():
            batches = await consumer.getmany(timeout_ms=100, max_records=_BATCH)
            count = 0
            for records in batches.values():
                for record in records:
                    if record.value:
                        count += 1
            if count:
                meter.count(count)
            if clock.monotonic() >= committed_at + BOUNDS.commit_interval_s:
                await consumer.commit()
                committed_at = clock.monotonic()
    finally:
        await consumer.stop()


async def on_kafka(settings: KafkaSettings, meter: Meter, *, traced: bool) -> None:
    """Read by the runtime, as a service does."""
    clock = SystemClock()
    broker_clock = BrokerClock(clock)
    sink = KafkaSink(settings, clock=clock, broker_clock=broker_clock, emit=ignore)
    source = KafkaSource(
        settings,
        group="traced" if traced else "plain",
        topics=PLAN.all_topics,
        fetch_bytes=BOUNDS.fetch_bytes,
        drain_deadline_s=BOUNDS.drain_deadline_s,
        clock=clock,
    )
    await sink.start(1)
    provider = tracer_provider("bench", TelemetrySettings())
    tracing = OpenTelemetryTracing(provider, PLAN.group) if traced else NoTracing()
    try:
        await through(source, sink, tracing, meter)
    finally:
        await sink.stop()
        provider.shutdown()


async def in_memory(records: int, meter_of: Callable[[int], Meter]) -> Meter:
    """Read by the runtime from a broker in memory: what the runtime costs without any Kafka client."""
    broker = FakeBroker(SystemClock(), partitions=PARTITIONS)
    for number in range(records):
        broker.append(Outgoing(topic=TOPIC, site="shop", value=RECORD, partition=number % PARTITIONS))
    # What the log holds would be walked through again and again, as no service's memory is.
    gc.freeze()
    meter = meter_of(records)
    source = FakeSource(broker, group=PLAN.group, topics=PLAN.all_topics)
    await through(source, FakeSink(broker), NoTracing(), meter)
    return meter


async def through(source: Source, sink: BatchSink, tracing: Tracing, meter: Meter) -> None:
    """Run the runtime on a source until the meter has seen enough."""
    clock = SystemClock()
    runtime = Runtime(
        plan=PLAN,
        service=Nothing(meter),
        source=source,
        sink=sink,
        settings=BOUNDS,
        clock=clock,
        broker_clock=BrokerClock(clock),
        emit=ignore,
        tracing=tracing,
    )
    await runtime.run(meter.over)


async def measured(kind: str, bootstrap: str, prefix: str, records: int) -> float:
    """Return microseconds of CPU a record."""
    if kind == "memory":
        return (await in_memory(records, Meter)).microseconds
    settings = KafkaSettings(bootstrap=bootstrap, prefix=prefix)
    meter = Meter(records)
    if kind == "bare":
        await bare(settings, meter)
    else:
        await on_kafka(settings, meter, traced=kind == "traced")
    return meter.microseconds


def main(arguments: list[str]) -> None:
    """Measure and print."""
    kind, bootstrap, prefix, records = arguments
    mend_connections()
    return_freed_memory()
    print(json.dumps(uvloop.run(measured(kind, bootstrap, prefix, int(records)))))  # noqa: T201 -- the result


if __name__ == "__main__":
    main(sys.argv[1:])
