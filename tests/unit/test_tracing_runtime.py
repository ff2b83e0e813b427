"""A trace belongs to one job, whosever slot the job takes over."""

import msgspec
from support.runtime import PLAN, Harness, ScriptedService, until
from tidegate.clock import SystemClock
from tidegate.consume.service import Work
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.records import HEADER_TRACE
from tidegate.settings import TelemetrySettings
from tidegate.testing.fake_broker import FakeBroker
from tidegate.topics import Topic
from tidegate.tracing import OpenTelemetryTracing, child, tracer_provider

JOBS = 40
_SPAN = "0123456789abcdef"


async def test_a_job_does_not_go_on_in_the_trace_of_the_one_whose_slot_it_takes() -> None:
    """The first job is sampled; the slot that it gives on while its page is produced is another's."""
    broker = FakeBroker(SystemClock())
    traces = {str(number): f"{number + 1:032x}" for number in range(JOBS)}
    for name, trace in traces.items():
        flags = "01" if name == "0" else "00"
        header = f"00-{trace}-{_SPAN}-{flags}".encode()
        job = Outgoing(topic=Topic.URLS, site="site", value=name.encode(), headers=((HEADER_TRACE, header),))
        broker.append(msgspec.structs.replace(job, partition=0))
    seen: list[bytes] = []

    async def handle(work: Work[bytes]) -> Outcome:
        with child("GET") as span:
            if span is not None:
                seen.append(work.payload)
        return Done((Outgoing(topic=Topic.PAGES, site="site", value=work.payload, partition=0),))

    tracing = OpenTelemetryTracing(tracer_provider("fetcher", TelemetrySettings(trace_ratio=1.0)), "fetcher")
    plan = msgspec.structs.replace(PLAN, window=2, reserved_slots=0)
    harness = Harness(broker, ScriptedService(handle), plan=plan, tracing=tracing)
    async with harness.running():
        await until(lambda: len(broker.records(Topic.PAGES)) == JOBS)
    assert seen == [b"0"]
    for record in broker.records(Topic.PAGES):
        went_on = dict(record.headers)[HEADER_TRACE].split(b"-")[1]
        assert went_on.decode() == traces[record.value.decode()]
