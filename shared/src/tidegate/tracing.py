"""Trace context through Kafka headers: one W3C ``traceparent`` per record, replaced and never added twice.

A thin layer of our own over OpenTelemetry: a consumer span per record handled, parented by the
producer's context, and its context in everything that is produced for it. Head sampling: the decision
is made once, where the trace begins. Nearly all traces are not sampled, and for those the SDK would still
build contexts and attributes to throw them away, for ten times what the decision costs: they are only
handed on.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from tidegate.outcome import Outgoing
from tidegate.records import HEADER_REPLAY_OF, HEADER_TRACE, Inbound
from tidegate.settings import TelemetrySettings

_UNSAMPLED = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")


class Tracing(Protocol):
    """What the runtime needs of tracing."""

    def handling(self, record: Inbound) -> AbstractContextManager[bytes | None]:
        """Return a context in which a record is handled."""
        ...


class NoTracing:
    """Hands an existing context on and makes no spans: for tests and benchmarks."""

    def handling(self, record: Inbound) -> AbstractContextManager[bytes | None]:
        """Yield the header that the record came with."""
        return nullcontext(record.headers.get(HEADER_TRACE))


class _Ids(RandomIdGenerator):
    """Gives out a trace id that was judged beforehand, else a new one."""

    judged: int | None = None

    def generate_trace_id(self) -> int:
        trace_id, self.judged = self.judged, None
        return super().generate_trace_id() if trace_id is None else trace_id


class OpenTelemetryTracing:
    """Spans by the messaging conventions; yields the ``traceparent`` for what is produced."""

    def __init__(self, provider: TracerProvider, group: str) -> None:
        self._ids = provider.id_generator = _Ids()
        self._sampler = provider.sampler
        self._tracer = provider.get_tracer("tidegate")
        self._group = group

    def handling(self, record: Inbound) -> AbstractContextManager[bytes | None]:
        """Return a ``process`` span to run in, which yields its ``traceparent``; none where not sampled."""
        header = record.headers.get(HEADER_TRACE)
        if header is not None and _UNSAMPLED.fullmatch(header):
            return nullcontext(header)
        parent = None if header is None else _context(header)
        if parent is None:
            trace_id = self._ids.generate_trace_id()
            if self._sampler.should_sample(None, trace_id, "").decision is not Decision.RECORD_AND_SAMPLE:
                # What is produced must say so, or each next one would decide anew.
                return nullcontext(b"00-%032x-%016x-00" % (trace_id, self._ids.generate_span_id()))
            self._ids.judged = trace_id
        return self._span(record, parent)

    @contextmanager
    def _span(self, record: Inbound, parent: SpanContext | None) -> Iterator[bytes | None]:
        context = None
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(parent), otel_context.Context())
        with self._tracer.start_as_current_span(
            f"process {record.topic}",
            context=context or otel_context.Context(),
            kind=SpanKind.CONSUMER,
            links=_links(record.headers.get(HEADER_REPLAY_OF)),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.consumer.group.name": self._group,
            },
        ) as span:
            yield traceparent(span.get_span_context())


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


def tracer_provider(service: str, settings: TelemetrySettings) -> TracerProvider:
    """Build the provider: sampled at the head, sent by OTLP where an endpoint is set."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"tidegate-{service}", "service.namespace": "tidegate"}),
        sampler=ParentBased(TraceIdRatioBased(settings.trace_ratio)),
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
    headers = tuple(header for header in outgoing.headers if header[0] != HEADER_TRACE)
    return msgspec.structs.replace(outgoing, headers=(*headers, (HEADER_TRACE, trace)))


def _links(header: bytes | None) -> list[Link] | None:
    """Return a link to the trace that a header names, None where it names none."""
    context = None if not header else _context(header)
    return None if context is None else [Link(context)]


def trace_id(headers: Mapping[str, bytes]) -> str | None:
    """Return the trace id of a record in hex, to join a row to its trace."""
    context = parse_traceparent(headers)
    return None if context is None else f"{context.trace_id:032x}"
