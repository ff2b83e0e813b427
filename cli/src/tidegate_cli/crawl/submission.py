"""Produces jobs onto the intake topics: in order, with bounded memory, each noted before it is sent."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from opentelemetry.trace import Tracer
from tidegate.clock import Clock
from tidegate.errors import BrokerError, ConfigurationError
from tidegate.kafka_security import connection_options
from tidegate.records import HEADER_TRACE, Lane
from tidegate.settings import KafkaSettings, TelemetrySettings
from tidegate.sites import partition_of
from tidegate.topics import LANES, MAX_RECORD_BYTES
from tidegate.tracing import begin_job, tracer_provider

from tidegate_cli.crawl.feed import batches
from tidegate_cli.crawl.inputs import Defaults, Submission, quote, submission_of
from tidegate_cli.crawl.ledger import Ledger
from tidegate_cli.crawl.source import Line, Source, read_lines

_UNACKED_RECORDS = 2_000
_UNACKED_BYTES = 32 << 20


Pending: TypeAlias = Awaitable[object]
"""A record on its way; awaiting it gives the acknowledgement or raises the broker's refusal."""


class Intake(Protocol):
    """Where jobs are produced: the adapter's port, so that submission is tested without a broker."""

    async def send(self, submission: Submission) -> Pending:
        """Start to produce a record; waits while the client's buffers are full."""
        ...


class KafkaIntake:
    """The intake topics of an installation."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        prefix: str,
        partitions: dict[Lane, int],
        tracer: Tracer | None = None,
    ) -> None:
        """Take the client. With a ``tracer`` each job's trace begins here."""
        self._tracer = tracer
        self._producer = producer
        self._prefix = prefix
        self._partitions = partitions

    async def send(self, submission: Submission) -> Pending:
        """Produce onto the job's lane, keyed by site, on the site's own partition (S1)."""
        key = submission.site.encode()
        lane = submission.lane
        headers = list(submission.headers)
        if self._tracer is not None and (trace := begin_job(self._tracer, LANES[lane])) is not None:
            headers.append((HEADER_TRACE, trace))
        pending: Pending = await self._producer.send(
            f"{self._prefix}{LANES[lane]}",
            value=submission.value,
            key=key or None,
            partition=partition_of(key, self._partitions[lane]),
            headers=headers,
        )
        return pending


@asynccontextmanager
async def kafka_intake(
    kafka: KafkaSettings, telemetry: TelemetrySettings | None = None
) -> AsyncIterator[KafkaIntake]:
    """Connect to the brokers; what was sent is flushed at the end.

    Where ``telemetry`` names a collector, jobs begin their traces here and not at the fetcher.

    Raises BrokerError where they cannot be reached, ConfigurationError where a topic is missing.
    """
    producer = AIOKafkaProducer(
        **connection_options(kafka),
        client_id="tidegate-submit",
        acks="all",
        enable_idempotence=kafka.idempotent,
        linger_ms=5,
        max_batch_size=256 * 1024,
        max_request_size=MAX_RECORD_BYTES,
    )
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        await producer.stop()
        raise BrokerError(f"Kafka at {kafka.bootstrap} cannot be reached: {error}") from error
    provider = tracer_provider("submit", telemetry) if telemetry and telemetry.otlp_endpoint else None
    try:
        partitions: dict[Lane, int] = {}
        for lane, topic in LANES.items():
            try:
                found = await producer.partitions_for(f"{kafka.prefix}{topic}")
            except KafkaError as error:
                raise ConfigurationError(
                    f"The topic {kafka.prefix}{topic} is not there ({error}); "
                    "`tidegate topics apply` makes it."
                ) from error
            partitions[lane] = len(found)
        tracer = None if provider is None else provider.get_tracer("tidegate")
        yield KafkaIntake(producer, kafka.prefix, partitions, tracer)
    finally:
        await producer.stop()
        if provider is not None:
            await asyncio.to_thread(provider.shutdown)


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no job; it was submitted all the same."""

    place: str
    problem: str
    beginning: str


class Tally(msgspec.Struct, kw_only=True):
    """What was submitted so far. ``submitted`` counts distinct ids, ``records`` all lines."""

    records: int = 0
    submitted: int = 0
    bad_lines: int = 0
    bytes: int = 0


class Submitter:
    """Turns lines into records and produces them, never more than a bounded number unacknowledged.

    An id is in the ledger before its record is sent: a kill between the two leaves a job that looks lost,
    never an outcome that nobody can explain.
    """

    def __init__(
        self,
        intake: Intake,
        ledger: Ledger | None,
        *,
        defaults: Defaults,
        clock: Clock,
        report_bad: Callable[[BadLine], None],
    ) -> None:
        self._intake = intake
        self._ledger = ledger
        self._defaults = defaults
        self._clock = clock
        self._report_bad = report_bad
        self._position = 0
        self._unacked: deque[tuple[int, Pending]] = deque()
        self._unacked_bytes = 0
        self.tally = Tally()

    async def run(self, sources: Iterable[Source]) -> Tally:
        """Submit everything and wait for all acknowledgements. Raises BrokerError where one is refused."""
        kept = tuple(sources)
        async for batch in batches(lambda: read_lines(kept)):
            await self._submit(batch)
        while self._unacked:
            await self._acknowledge()
        return self.tally

    async def _submit(self, lines: list[Line]) -> None:
        submissions = [s for line in lines if (s := self._read(line)) is not None]
        if self._ledger is not None:
            self.tally.submitted += self._ledger.submit([s.id for s in submissions])
        else:
            self.tally.submitted += len(submissions)
        for submission in submissions:
            size = len(submission.value)
            while self._unacked and (
                len(self._unacked) >= _UNACKED_RECORDS or self._unacked_bytes + size > _UNACKED_BYTES
            ):
                await self._acknowledge()
            try:
                pending = await self._intake.send(submission)
            except KafkaError as error:
                raise BrokerError(f"Kafka refused a job: {error}") from error
            self._unacked.append((size, pending))
            self._unacked_bytes += size
            self.tally.records += 1
            self.tally.bytes += size

    def _read(self, line: Line) -> Submission | None:
        self._position += 1
        submission = submission_of(line.data, self._position, self._defaults, self._clock.wall_ms())
        if submission is None:
            return None
        problem = submission.problem
        if line.length > len(line.data):
            problem = f"it has {line.length:,} bytes; only the first {len(line.data):,} were submitted"
        if problem is not None:
            self.tally.bad_lines += 1
            self._report_bad(BadLine(line.place, problem, quote(line.data.strip())))
        return submission

    async def _acknowledge(self) -> None:
        size, pending = self._unacked.popleft()
        self._unacked_bytes -= size
        try:
            await pending
        except KafkaError as error:
            raise BrokerError(f"Kafka did not take a job: {error}") from error
