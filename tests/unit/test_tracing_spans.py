"""Spans below and after a handled record: sends, requests, batches; links after long waits."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.fetcher import inbound
from tidegate import tracing
from tidegate.outcome import Outgoing
from tidegate.records import HEADER_TRACE
from tidegate.settings import TelemetrySettings
from tidegate.tracing import NoTracing, OpenTelemetryTracing, answered, child, tracer_provider, waiting

TRACE = "0123456789abcdef" * 2
SAMPLED = f"00-{TRACE}-0123456789abcdef-01".encode()
PAGE = Outgoing(
    topic="pages", site="a.example", value=b"x", headers=((HEADER_TRACE, b"old"), ("other", b"1"))
)


class Rig:
    """Tracing whose spans are kept; ``ratio`` is that of new traces."""

    def __init__(self, ratio: float = 1.0, *, now_ms: int = 0) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider: TracerProvider = tracer_provider("fetcher", TelemetrySettings(trace_ratio=ratio))
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = OpenTelemetryTracing(self.provider, "fetcher", link_after_s=300, now_ms=lambda: now_ms)

    def spans(self) -> dict[str, ReadableSpan]:
        """Return what has ended, by name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}


def context(span: ReadableSpan) -> tuple[int, int]:
    """Return trace and span id."""
    return span.context.trace_id, span.context.span_id


def linked(span: ReadableSpan) -> Sequence[tuple[int, int]]:
    """Return what a span is linked to."""
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


@pytest.mark.parametrize(
    "came", [None, SAMPLED, b"00-" + TRACE.encode() + b"-0123456789abcdef-00", b"broken"]
)
def test_whatever_came_a_record_has_one_trace_context(came: bytes | None) -> None:
    """Replaced, never a second one; the other headers stay."""
    rig = Rig(0.5)
    headers = {} if came is None else {HEADER_TRACE: came}
    for kind in (rig.tracing, NoTracing()):
        with (
            kind.handling(inbound(b"x", headers=headers)) as trace,
            kind.sending(PAGE, trace or b"t") as record,
        ):
            names = [name for name, _ in record.headers]
        assert names == ["other", HEADER_TRACE]


def test_a_record_carries_the_context_of_its_send() -> None:
    """The next service's span is below the send, and the send below what handled the cause."""
    rig = Rig()
    with (
        rig.tracing.handling(inbound(b"x", headers={HEADER_TRACE: SAMPLED})) as trace,
        rig.tracing.sending(PAGE, trace) as record,
    ):
        pass
    spans = rig.spans()
    send, process = spans["send pages"], spans["process urls"]
    assert send.kind is SpanKind.PRODUCER
    assert process.kind is SpanKind.CONSUMER
    assert send.parent is not None
    assert send.parent.span_id == process.context.span_id
    assert process.parent is not None
    assert f"{process.parent.trace_id:032x}" == TRACE
    assert dict(record.headers)[HEADER_TRACE] == f"00-{TRACE}-{send.context.span_id:016x}-01".encode()
    assert send.attributes is not None
    assert send.attributes["messaging.operation.type"] == "send"
    assert send.attributes["messaging.destination.name"] == "pages"


@pytest.mark.parametrize(("waited_ms", "goes_on"), [(300_000, True), (300_001, False)])
def test_after_a_long_wait_a_linked_trace_begins(waited_ms: int, *, goes_on: bool) -> None:
    """On both sides of the mark; sampled as the old one was, whatever the share."""
    record = inbound(b"x", headers={HEADER_TRACE: SAMPLED})
    rig = Rig(0.0, now_ms=record.timestamp_ms + waited_ms)
    with rig.tracing.handling(record):
        pass
    (span,) = rig.exporter.get_finished_spans()
    assert (f"{span.context.trace_id:032x}" == TRACE) is goes_on
    assert (span.parent is not None) is goes_on
    assert [f"{link.context.trace_id:032x}" for link in span.links] == ([] if goes_on else [TRACE])


def test_a_request_is_below_its_handler_and_tells_no_text_of_an_error() -> None:
    """Errors may quote what is secret: their type alone is kept."""
    rig = Rig()
    with rig.tracing.handling(inbound(b"x")):
        with child("GET", {"server.address": "a.example"}) as span:
            answered(span, 503)
        with pytest.raises(ValueError, match="hunter2"), child("POST /createTask", {}):
            raise ValueError("hunter2")
    spans = rig.spans()
    get, post = spans["GET"], spans["POST /createTask"]
    assert get.parent is not None
    assert get.parent.span_id == spans["process urls"].context.span_id
    assert get.attributes is not None
    assert (get.attributes["http.response.status_code"], get.attributes["error.type"]) == (503, "503")
    assert (get.status.status_code, post.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert post.attributes == {"error.type": "ValueError"}
    assert not post.events
    assert "hunter2" not in repr([span.to_json() for span in spans.values()])


def test_where_nothing_is_sampled_nothing_is_made() -> None:
    """Neither outside of a handler nor in one that is not sampled."""
    rig = Rig(0.0)
    with child("GET", {}) as span:
        answered(span, 200)
        assert span is None
    with rig.tracing.handling(inbound(b"x")), child("GET", {}) as span:
        assert span is None
        assert waiting("store") is None
    with tracing.batch("write batch", []):
        pass
    assert not rig.exporter.get_finished_spans()


def test_a_batch_and_its_records_are_linked_both_ways() -> None:
    """The batch is a trace of its own, sampled because a record in it is; inserts are below it."""
    rig = Rig(0.0)
    with rig.tracing.handling(inbound(b"x", headers={HEADER_TRACE: SAMPLED})):
        record = waiting("store")
    assert record is not None
    with tracing.batch("write batch", [record]), child("INSERT pages_log", {}):
        pass
    record.span.end()
    spans = rig.spans()
    store, batch, insert = spans["store"], spans["write batch"], spans["INSERT pages_log"]
    assert linked(store) == [context(batch)]
    assert linked(batch) == [context(store)]
    assert batch.parent is None
    assert insert.parent is not None
    assert insert.parent.span_id == batch.context.span_id
    assert f"{store.context.trace_id:032x}" == TRACE
    assert batch.context.trace_id != store.context.trace_id
