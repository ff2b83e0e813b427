"""Trace context through Kafka headers: one W3C ``traceparent`` per record, replaced and never added twice.

A thin layer of our own over OpenTelemetry: a consumer span per record handled, parented by the
producer's context, and a producer span for everything that is produced for it (docs/tracing.md has the tree).
Head sampling: the decision is made once, where the trace begins. Nearly all traces are not sampled, and for
those the SDK would still build contexts and attributes to throw them away, for ten times what the decision
costs: they are only handed on.

What happens below a handler (requests, inserts) makes children of the span that it runs in, without being
handed a tracer: the handler's context carries it, and where nothing is sampled there is none.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import NamedTuple, Protocol

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)
from opentelemetry.util.types import Attributes, AttributeValue

from tidegate.outcome import Outgoing
from tidegate.records import HEADER_REPLAY_OF, HEADER_TRACE, Inbound
from tidegate.settings import TelemetrySettings

# Beside OpenTelemetry's own context, which takes several calls to be asked: every request and send asks.
_TRACER: ContextVar[Tracer | None] = ContextVar("tidegate-tracer", default=None)
_NO_SPAN: AbstractContextManager[None] = nullcontext()
_MOST_LINKS = 128
_FIRST_ERROR_STATUS = 400

_UNSAMPLED = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")


class Tracing(Protocol):
    """What the runtime needs of tracing."""

    def handling(self, record: Inbound) -> AbstractContextManager[bytes | None]:
        """Return a context in which a record is handled."""
        ...

    def sending(self, outgoing: Outgoing, trace: bytes | None) -> AbstractContextManager[Outgoing]:
        """Return a context in which a record is produced; it yields the record with its trace context."""
        ...


class NoTracing:
    """Hands an existing context on and makes no spans: for tests and benchmarks."""

    def handling(self, record: Inbound) -> AbstractContextManager[bytes | None]:
        """Yield the header that the record came with."""
        return nullcontext(record.headers.get(HEADER_TRACE))

    def sending(self, outgoing: Outgoing, trace: bytes | None) -> AbstractContextManager[Outgoing]:
        """Yield the record with the context that its cause came with."""
        return nullcontext(traced(outgoing, trace))


class _Ids(RandomIdGenerator):
    """Gives out a trace id that was judged beforehand, else a new one."""

    judged: int | None = None

    def generate_trace_id(self) -> int:
        trace_id, self.judged = self.judged, None
        return super().generate_trace_id() if trace_id is None else trace_id


class OpenTelemetryTracing:
    """Spans by the messaging conventions; yields the ``traceparent`` for what is produced."""

    def __init__(
        self,
        provider: TracerProvider,
        group: str,
        *,
        link_after_s: float = 300.0,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """Take the provider. ``now_ms`` is the broker's clock.

        A record that waited longer than ``link_after_s`` on its topic begins a trace of its own, linked to
        the one that it came from: a trace that lasts for hours is one that nobody can look at.
        """
        self._link_after_ms = int(link_after_s * 1000)
        self._now_ms = now_ms
        self._ids = provider.id_generator = _Ids()
        self._begins = _beginning(provider.sampler)
        self._tracer = provider.get_tracer("tidegate")
        self._group = group

    def handling(self, record: Inbound) -> AbstractContextManager[bytes | None]:
        """Return a ``process`` span to run in, which yields its ``traceparent``; none where not sampled."""
        header = record.headers.get(HEADER_TRACE)
        if header is not None and _UNSAMPLED.fullmatch(header):
            return nullcontext(header)
        parent = None if header is None else _context(header)
        came_from = None
        if parent is not None and self._now_ms() - record.timestamp_ms > self._link_after_ms:
            parent, came_from = None, parent
        elif parent is None:
            trace_id = self._ids.generate_trace_id()
            if not self._begins(trace_id):
                # What is produced must say so, or each next one would decide anew.
                return nullcontext(b"00-%032x-%016x-00" % (trace_id, self._ids.generate_span_id()))
            self._ids.judged = trace_id
        return self._span(record, parent, came_from)

    def sending(self, outgoing: Outgoing, trace: bytes | None) -> AbstractContextManager[Outgoing]:
        """Return a ``send`` span to produce in, whose context the record carries; none where not sampled."""
        if _TRACER.get() is None:
            return nullcontext(traced(outgoing, trace))
        return self._send(outgoing)

    @contextmanager
    def _send(self, outgoing: Outgoing) -> Iterator[Outgoing]:
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": outgoing.topic,
        }
        with child(f"send {outgoing.topic}", attributes, SpanKind.PRODUCER) as span:
            assert span is not None
            yield traced(outgoing, traceparent(span.get_span_context()))

    @contextmanager
    def _span(
        self, record: Inbound, parent: SpanContext | None, came_from: SpanContext | None
    ) -> Iterator[bytes | None]:
        context = otel_context.Context()
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        links = [Link(came_from)] if came_from is not None else _links(record.headers.get(HEADER_REPLAY_OF))
        with (
            _attached(context, self._tracer),
            self._tracer.start_as_current_span(
                f"process {record.topic}",
                kind=SpanKind.CONSUMER,
                links=links,
                record_exception=False,
                set_status_on_exception=False,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": record.topic,
                    "messaging.destination.partition.id": str(record.partition),
                    "messaging.kafka.offset": record.offset,
                    "messaging.consumer.group.name": self._group,
                },
            ) as span,
        ):
            yield traceparent(span.get_span_context())


def child(
    name: str,
    attributes: Mapping[str, AttributeValue] | None = None,
    kind: SpanKind = SpanKind.CLIENT,
) -> AbstractContextManager[Span | None]:
    """Return a span below the one that this runs in; yields None where that is not sampled.

    Where it is asked for at each page, attributes are better put on the span that it yields: mostly there is
    none. An exception leaves its type on the span, and nothing of its text: that may quote what is secret.
    """
    tracer = _TRACER.get()
    return _NO_SPAN if tracer is None else _child(tracer, name, attributes, kind)


@contextmanager
def _attached(context: Context, tracer: Tracer) -> Iterator[None]:
    token, before = otel_context.attach(context), _TRACER.set(tracer)
    try:
        yield
    finally:
        _TRACER.reset(before)
        otel_context.detach(token)


@contextmanager
def _child(
    tracer: Tracer, name: str, attributes: Mapping[str, AttributeValue] | None, kind: SpanKind
) -> Iterator[Span | None]:
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def answered(span: Span | None, status: int) -> None:
    """Note an HTTP status on a request's span."""
    if span is None:
        return
    span.set_attribute("http.response.status_code", status)
    if status >= _FIRST_ERROR_STATUS:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))


class Waiting(NamedTuple):
    """The span of a record that waits for its batch, and the tracer that made it."""

    span: Span
    tracer: Tracer


def waiting(name: str) -> Waiting | None:
    """Begin the span of a record that goes into a batch; None where its trace is not sampled."""
    tracer = _TRACER.get()
    return None if tracer is None else Waiting(tracer.start_span(name), tracer)


def batch(name: str, records: Sequence[Waiting]) -> AbstractContextManager[None]:
    """Return a span for a batch, in a trace of its own, linked with the sampled records in it both ways."""
    return _batch(name, records) if records else nullcontext()


@contextmanager
def _batch(name: str, records: Sequence[Waiting]) -> Iterator[None]:
    tracer = records[0].tracer
    with (
        _attached(otel_context.Context(), tracer),
        tracer.start_as_current_span(
            name,
            links=[Link(record.span.get_span_context()) for record in records[:_MOST_LINKS]],
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
    ):
        for record in records:
            record.span.add_link(span.get_span_context())
        yield


def begin_job(tracer: Tracer, topic: str) -> bytes | None:
    """Begin the trace of a job that is submitted; return its header, sampled or not."""
    span = tracer.start_span(
        f"send {topic}",
        context=otel_context.Context(),
        kind=SpanKind.PRODUCER,
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
        },
    )
    span.end()
    return traceparent(span.get_span_context())


def begin_replay(tracer: trace.Tracer, topic: str, old: bytes | None) -> bytes | None:
    """Begin the trace of a replayed dead letter, linked to the dead letter's own; return its header.

    ``old`` is the dead letter's ``traceparent``. A trace of its own, because a replay may come days later
    and is sampled anew.
    """
    span = tracer.start_span(
        f"replay {topic}",
        context=otel_context.Context(),
        kind=SpanKind.PRODUCER,
        links=_links(old),
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "replay",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
        },
    )
    span.end()
    return traceparent(span.get_span_context())


class _Head(TraceIdRatioBased):
    """Judges where a trace begins. What goes on from a sampled one is sampled, or half was in vain."""

    def should_sample(  # noqa: PLR0917 -- the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide, by the links where there are any."""
        if links and any(link.context.trace_flags.sampled for link in links):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return super().should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state=trace_state
        )


class _ByParent(ParentBased):
    """Samples what its parent says; ``head`` judges where there is none."""

    def __init__(self, head: _Head) -> None:
        super().__init__(head)
        self.head = head


def _beginning(sampler: Sampler) -> Callable[[int], bool]:
    """Return what says whether a trace that begins with this id is sampled."""
    if isinstance(sampler, _ByParent):
        # Its own decision, without the objects in which the SDK wraps it: nearly every record asks.
        bound, bits = sampler.head.bound, sampler.head.TRACE_ID_LIMIT
        return lambda trace_id: trace_id & bits < bound
    return lambda trace_id: sampler.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE


def tracer_provider(service: str, settings: TelemetrySettings) -> TracerProvider:
    """Build the provider: sampled at the head, sent by OTLP where an endpoint is set."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"tidegate-{service}", "service.namespace": "tidegate"}),
        sampler=_ByParent(_Head(settings.trace_ratio)),
    )
    if settings.otlp_endpoint:
        # Only here: the exporter and its protobuf are a fifth of a service's start.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"))
        )
    return provider


def traceparent(context: SpanContext) -> bytes | None:
    """Return a context as a W3C header, None where it is invalid."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()


def parse_traceparent(headers: Mapping[str, bytes]) -> SpanContext | None:
    """Read a W3C header; None where there is none or it is malformed."""
    return _context(headers.get(HEADER_TRACE, b""))


def _context(header: bytes) -> SpanContext | None:
    parts = header.split(b"-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    try:
        context = SpanContext(
            int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=TraceFlags(int(parts[3], 16))
        )
    except ValueError:
        return None
    return context if context.is_valid else None


def traced(outgoing: Outgoing, trace: bytes | None) -> Outgoing:
    """Give a record its trace context: replaced, never a second one."""
    if trace is None:
        return outgoing
    headers = [header for header in outgoing.headers if header[0] != HEADER_TRACE]
    headers.append((HEADER_TRACE, trace))
    return msgspec.structs.replace(outgoing, headers=tuple(headers))


def _links(header: bytes | None) -> list[Link] | None:
    """Return a link to the trace that a header names, None where it names none."""
    context = None if not header else _context(header)
    return None if context is None else [Link(context)]


def trace_id(headers: Mapping[str, bytes]) -> str | None:
    """Return the trace id of a record in hex, to join a row to its trace."""
    context = parse_traceparent(headers)
    return None if context is None else f"{context.trace_id:032x}"
