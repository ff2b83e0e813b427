"""The decision whether a trace is sampled: made once, where it begins, and kept by everybody after."""

import re
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from support.fetcher import inbound
from tidegate.records import HEADER_TRACE
from tidegate.settings import TelemetrySettings
from tidegate.tracing import OpenTelemetryTracing, tracer_provider

TRACE, SPAN = "0123456789abcdef" * 2, "0123456789abcdef"


def own(ratio: float) -> Sampler:
    """Return the sampler that services have."""
    return tracer_provider("fetcher", TelemetrySettings(trace_ratio=ratio)).sampler


def foreign(ratio: float) -> Sampler:
    """Return another that decides alike."""
    return ParentBased(TraceIdRatioBased(ratio))


def tracing(
    ratio: float, sampler: Callable[[float], Sampler] = own
) -> tuple[OpenTelemetryTracing, InMemorySpanExporter]:
    """Return tracing at a ratio, and where its spans end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler(ratio))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetryTracing(provider, "fetcher"), exporter


def test_a_trace_that_is_not_sampled_makes_no_span_and_says_so_to_the_next() -> None:
    """Each begins a trace of its own, or the next service would decide again for half a trace."""
    spans, exporter = tracing(0.0)
    headers = set()
    for _ in range(3):
        with spans.handling(inbound(b"x")) as header:
            assert header is not None
            assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", header)
        headers.add(header)
    assert len(headers) == 3
    assert not exporter.get_finished_spans()


@pytest.mark.parametrize("sampler", [own, foreign])
def test_the_share_of_new_traces_that_is_sampled_is_the_setting(sampler: Callable[[float], Sampler]) -> None:
    """The span bears the very trace id that was judged, so a tenth is a tenth, not a hundredth."""
    spans, exporter = tracing(0.1, sampler)
    for _ in range(2_000):
        with spans.handling(inbound(b"x")):
            pass
    assert 100 < len(exporter.get_finished_spans()) < 320


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("02", False), ("01", True), ("03", True)])
def test_a_trace_that_has_begun_is_sampled_as_it_was_decided(flags: str, *, sampled: bool) -> None:
    """Whatever the setting here is."""
    spans, exporter = tracing(0.0 if sampled else 1.0)
    came = f"00-{TRACE}-{SPAN}-{flags}".encode()
    with spans.handling(inbound(b"x", headers={HEADER_TRACE: came})) as header:
        assert header is not None
        assert header[:35] == came[:35]
        assert (header == came) is not sampled
    assert len(exporter.get_finished_spans()) == sampled


@pytest.mark.parametrize(
    "malformed", [b"", b"00", f"00-{'0' * 32}-{SPAN}-00".encode(), f"00-{TRACE}-{'0' * 16}-00".encode()]
)
def test_a_malformed_context_begins_a_new_trace(malformed: bytes) -> None:
    """Handing it on would hand the mistake on."""
    spans, exporter = tracing(1.0)
    with spans.handling(inbound(b"x", headers={HEADER_TRACE: malformed})) as header:
        assert header not in (None, malformed)
    assert len(exporter.get_finished_spans()) == 1
