"""What the library does for replays: a kept page goes with its dead letter, and traces are linked."""

import re

import msgspec
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.fetcher import inbound
from tidegate.consume.dead_letters import dead_letter
from tidegate.outcome import Dead, ErrorClass, Reason
from tidegate.records import HEADER_PAGE, HEADER_REPLAY_OF, HEADER_TRACE, Job, JobState, Origin, job_headers
from tidegate.topics import MAX_RECORD_BYTES
from tidegate.tracing import OpenTelemetryTracing, begin_replay
from tidegate_fetcher.tasks import read

OLD = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
STATE = JobState(
    run="r",
    id="i",
    site="a.example",
    origin=Origin(topic="urls", partition=0, offset=1, timestamp_ms=1_000),
    accepted_at_ms=1_000,
)


def test_a_dead_letter_carries_the_metadata_of_a_page_whose_body_was_kept() -> None:
    """From it a replay parses again (O6); where both do not fit, the job's own bytes come first (C9)."""
    dead = Dead(
        reason=Reason.PARSE_ERROR, error_class=ErrorClass.PARSE_ERROR, message="m", body_hash="h", page=b"{}"
    )
    letter = dead_letter(Job(b"u", STATE), dead, service="storer", group="storer", now_ms=1)
    assert dict(letter.headers)[HEADER_PAGE] == b"{}"
    large = msgspec.structs.replace(dead, page=b"x" * (MAX_RECORD_BYTES // 2))
    job = Job(b"u" * (MAX_RECORD_BYTES // 2), STATE)
    letter = dead_letter(job, large, service="storer", group="storer", now_ms=1)
    assert letter.value == job.original
    assert HEADER_PAGE not in dict(letter.headers)


def test_a_replay_begins_a_trace_of_its_own_that_is_linked_to_the_old_one() -> None:
    """At both ends: where it is sent, and where it is worked on."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    new = begin_replay(tracer, "urls", OLD)
    assert new is not None
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", new)
    record = inbound(b"x", headers={HEADER_TRACE: new, HEADER_REPLAY_OF: OLD})
    with OpenTelemetryTracing(provider, "fetcher").handling(record) as handed_on:
        assert handed_on is not None
    assert handed_on[:35] == new[:35] != OLD[:35]
    sent, handled = exporter.get_finished_spans()
    for span in (sent, handled):
        assert [f"{link.context.trace_id:032x}" for link in span.links] == [OLD.decode().split("-")[1]]
    assert handled.parent is not None
    assert handled.parent.span_id == int(new.split(b"-")[2], 16)


def test_a_replay_without_an_old_trace_has_no_link() -> None:
    """An empty or malformed header is no trace."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    for old in (None, b"", b"nonsense"):
        begin_replay(tracer, "urls", old)
        with OpenTelemetryTracing(provider, "g").handling(
            inbound(b"x", headers={HEADER_REPLAY_OF: old or b""})
        ):
            pass
    assert all(not span.links for span in exporter.get_finished_spans())


def test_a_replayed_job_is_accepted_when_the_broker_takes_the_replay() -> None:
    """Its deadline counts from that append time (T1), also in later tries; another record's does not."""
    headers = dict(job_headers(STATE))
    url = b"https://a.example/"
    assert read(inbound(url, headers=headers, timestamp_ms=9_000), 1 << 20).job.state == STATE
    replayed = read(inbound(url, headers={**headers, HEADER_REPLAY_OF: b""}, timestamp_ms=9_000), 1 << 20)
    assert replayed.job.state == msgspec.structs.replace(STATE, accepted_at_ms=9_000)
