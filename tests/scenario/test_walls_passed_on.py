"""Jobs that are only passed on beside jobs that are worked on, while the broker is slow: in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
from support.runtime import PLAN, ScriptedService, state_of
from support.virtual_time import LoopClock, virtually
from tidegate.clock import BrokerClock
from tidegate.consume.runtime import Runtime
from tidegate.consume.service import Ack, Work
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.records import job_headers
from tidegate.settings import RuntimeSettings
from tidegate.testing.fake_broker import FakeBroker, FakeSource
from tidegate.topics import Topic

WINDOW = msgspec.structs.replace(PLAN, window=22, reserved_slots=2, deadline_s=60.0)
WORK_S = 2.0
ACK_S = 0.3
PASSED_ON_PER_S = 20.0


class SlowSink:
    """A broker that takes its time to acknowledge."""

    def __init__(self, broker: FakeBroker, clock: LoopClock) -> None:
        self._broker = broker
        self._clock = clock

    async def send(self, record: Outgoing) -> Ack:
        """Append, and acknowledge later."""
        ack = self._broker.append(record)
        await self._clock.sleep(ACK_S)
        return ack

    async def send_batch(self, records: Sequence[Outgoing]) -> None:
        """Nobody here answers at once."""
        raise AssertionError


async def campaign() -> tuple[float, float]:
    """Return the rate at which the slow jobs are done by themselves, and beside those that are passed on."""
    clock, done = LoopClock(), Counter[str]()
    broker = FakeBroker(clock, partitions=2)

    async def handle(work: Work[bytes]) -> Outcome:
        state = state_of(work.record)
        topic = Topic.HELD
        if work.record.topic == Topic.URLS_LOW:
            await clock.sleep(WORK_S)
            topic = Topic.PAGES
        done[topic] += 1
        job = Outgoing(topic=topic, site="s", value=work.payload, headers=job_headers(state))
        return Done((job,))

    for number in range(600):
        broker.append(Outgoing(topic=Topic.URLS_LOW, site="s", value=b"%d" % number, partition=number % 2))
    runtime = Runtime(
        plan=WINDOW,
        service=ScriptedService(handle),
        source=FakeSource(broker, group=WINDOW.group, topics=WINDOW.all_topics),
        sink=SlowSink(broker, clock),
        settings=RuntimeSettings(),
        clock=clock,
        broker_clock=BrokerClock(clock),
        emit=lambda event: None,
    )
    stop = asyncio.Event()

    async def measured(seconds: float, passed_on_per_s: float) -> float:
        before = done[Topic.PAGES]
        for number in range(int(seconds * 10)):
            for each in range(int(passed_on_per_s / 10)):
                broker.append(Outgoing(topic=Topic.URLS, site="s", value=b"p", partition=(number + each) % 2))
            await clock.sleep(0.1)
        return (done[Topic.PAGES] - before) / seconds

    async with asyncio.TaskGroup() as group:
        group.create_task(runtime.run(stop))
        await clock.sleep(5)
        rates = await measured(20, 0.0), await measured(20, PASSED_ON_PER_S)
        stop.set()
    assert done[Topic.HELD] >= 0.9 * 20 * PASSED_ON_PER_S
    return rates


def test_jobs_that_are_passed_on_cost_the_others_no_slots() -> None:
    """Six of the twenty would wait for the broker all the time; the others keep nine tenths of their rate."""
    alone, beside = virtually(campaign())
    assert alone >= 9.0
    assert beside >= 0.9 * alone
