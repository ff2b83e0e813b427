"""A runtime on a broker in memory, with a service that a test scripts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from tidegate.clock import BrokerClock, Clock, SystemClock
from tidegate.consume.plan import Plan
from tidegate.consume.runtime import Runtime
from tidegate.consume.service import Work
from tidegate.events import Event
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.records import Inbound, Job, JobState, job_state, origin_of
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker, FakeSink, FakeSource
from tidegate.topics import DELAYS, LANES, Topic
from tidegate.tracing import Tracing

Handle = Callable[[Work[bytes]], Awaitable[Outcome]]

PLAN = Plan(
    group="fetcher",
    topics=tuple(LANES.values()),
    reserved=(Topic.CAPTCHA_SOLUTIONS,),
    delays=tuple(DELAYS),
    window=8,
    reserved_slots=2,
    deadline_s=5.0,
)
# A drain ends when all is done. Where it is to run out, a test gives it less: HASTY.
QUICK = RuntimeSettings(commit_interval_s=0.01, drain_deadline_s=5.0)
HASTY = QUICK.model_copy(update={"drain_deadline_s": 0.2})


def state_of(record: Inbound) -> JobState:
    """Return the state in the header, or a first one."""
    return job_state(record.headers) or JobState(
        run="r",
        id=record.value.decode(errors="replace"),
        site=(record.key or b"").decode(),
        origin=origin_of(record),
        accepted_at_ms=record.timestamp_ms,
    )


class ScriptedService:
    """Handles what a test says; counts what it saw."""

    def __init__(self, handle: Handle | None = None) -> None:
        self._handle = handle
        self.seen: list[str] = []
        self.prepared: list[int] = []
        self.released: list[int] = []
        self.prepare_gate = asyncio.Event()
        self.prepare_gate.set()

    def decode(self, record: Inbound) -> Work[bytes]:
        """Take any record."""
        return Work(record, Job(record.value, state_of(record)), record.value)

    async def handle(self, work: Work[bytes]) -> Outcome:
        """Count it and do as scripted."""
        self.seen.append(work.payload.decode())
        return Done() if self._handle is None else await self._handle(work)

    async def prepare(self, partition: int) -> None:
        """Wait for the test's gate."""
        await self.prepare_gate.wait()
        self.prepared.append(partition)

    def release(self, partition: int) -> None:
        """Count it."""
        self.released.append(partition)


class Harness:
    """One runtime and what surrounds it."""

    def __init__(
        self,
        broker: FakeBroker,
        service: ScriptedService,
        *,
        plan: Plan = PLAN,
        settings: RuntimeSettings = QUICK,
        clock: Clock | None = None,
        retention_ms: Mapping[str, int] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.broker = broker
        self.service = service
        self.clock = clock or SystemClock()
        self.sink = FakeSink(broker)
        self.source = FakeSource(broker, group=plan.group, topics=plan.all_topics)
        self.events: list[Event] = []
        self.stop = asyncio.Event()
        self.runtime = Runtime(
            plan=plan,
            service=service,
            source=self.source,
            sink=self.sink,
            settings=settings,
            clock=self.clock,
            broker_clock=BrokerClock(self.clock),
            emit=self.events.append,
            retention_ms=retention_ms,
            tracing=tracing,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run while the body runs, then drain."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.runtime.run(self.stop))
            try:
                yield
            finally:
                self.stop.set()

    @asynccontextmanager
    async def killed(self) -> AsyncIterator[None]:
        """Run while the body runs, then end as SIGKILL does: no drain, no commit."""
        task = asyncio.ensure_future(self.runtime.run(self.stop))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if self.source in self.broker.groups[self.source.group]:
                self.broker.groups[self.source.group].remove(self.source)

    def events_of(self, kind: type[Event]) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so; fail when it never is."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- any condition, not an event
            await asyncio.sleep(0.001)  # noqa: TID251 -- tests wait in real time


def put(broker: FakeBroker, *values: str, topic: Topic = Topic.URLS, partition: int = 0) -> None:
    """Append records to one partition."""
    for value in values:
        broker.append(Outgoing(topic=topic, site="site", value=value.encode(), partition=partition))
