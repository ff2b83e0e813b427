"""A collector of OTLP traces in this process, and the trees that its spans make."""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it arrived; ids in hex, ``parent`` empty at a root, ``links`` as (trace, span).

    ``start_ns`` and ``end_ns`` are of the wall clock.
    """

    service: str
    trace: str
    span: str
    parent: str
    name: str
    attributes: dict[str, str]
    links: tuple[tuple[str, str], ...]
    start_ns: int
    end_ns: int


class Collected:
    """Every span that was sent, and the requests as they came."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.raw: list[bytes] = []

    def take(self, body: bytes) -> None:
        """Read one request."""
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}[
                "service.name"
            ]
            for scope in resource.scope_spans:
                self.spans += [_seen(service, span) for span in scope.spans]

    def of_trace(self, trace: str) -> list[Seen]:
        """Return the spans of one trace."""
        return [span for span in self.spans if span.trace == trace]


def _seen(service: str, span: Any) -> Seen:
    return Seen(
        service=service,
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        attributes={
            pair.key: str(getattr(pair.value, pair.value.WhichOneof("value"))) for pair in span.attributes
        },
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
    )


def paths(spans: Iterable[Seen]) -> set[tuple[str, ...]]:
    """Return every span as the names from its root to it. Raises KeyError where a parent is missing."""
    by_id = {span.span: span for span in spans}

    def path(span: Seen) -> tuple[str, ...]:
        return (*(path(by_id[span.parent]) if span.parent else ()), span.name)

    return {path(span) for span in by_id.values()}


def drawn(spans: Iterable[Seen]) -> str:
    """Return a trace as a tree, in the order of time: who, when since the first began, for how long."""
    ordered = sorted(spans, key=lambda span: span.start_ns)
    first_ns = ordered[0].start_ns if ordered else 0
    lines: list[str] = []

    def draw(span: Seen, before: str, branch: str, stem: str) -> None:
        began_s, took_ms = (span.start_ns - first_ns) / 1e9, (span.end_ns - span.start_ns) / 1e6
        lines.append(f"{before + branch + span.name:58}{span.service:19}{began_s:8.3f} s {took_ms:9.1f} ms\n")
        below = [each for each in ordered if each.parent == span.span]
        for each in below:
            last = each is below[-1]
            draw(each, before + stem, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in ordered:
        if not root.parent:
            draw(root, "", "", "")
    return "".join(lines)


def documented(tree: str) -> set[tuple[str, ...]]:
    """Return the same of a tree that is drawn with indentation, remarks in brackets left out."""
    found: set[tuple[str, ...]] = set()
    above: list[str] = []
    for line in tree.splitlines():
        name = line.lstrip("│├└─ ").split("  (")[0].strip()
        if name:
            depth = (len(line) - len(line.lstrip("│├└─ "))) // 3
            above = [*above[:depth], name]
            found.add(tuple(above))
    return found


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, collected: Collected, *arguments: Any) -> None:
        self._collected = collected
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._collected.take(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def collector() -> Iterator[tuple[str, Collected]]:
    """Listen on loopback; yields the endpoint for OTLP over HTTP, and what it gets."""
    collected = Collected()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, collected)) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", collected
        finally:
            server.shutdown()
            thread.join()
