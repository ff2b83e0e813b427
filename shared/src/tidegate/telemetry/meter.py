"""Metrics by OpenTelemetry: instruments made from declarations, moved by events.

One switch says where they go: a Prometheus page on the health server's port, or OTLP push; never both, for
a Prometheus that receives OTLP would count everything twice.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tidegate.events import Emit, Event, Gathered
from tidegate.settings import Settings
from tidegate.telemetry.cells import Cell, Cells, Latest, Sum
from tidegate.telemetry.histograms import Histograms
from tidegate.telemetry.metric import Kind, Metric, Source
from tidegate.telemetry.tally import Tallies

Page = Callable[[], tuple[bytes, str]]
Move = Callable[[Event], None]
Snapshot = Callable[[], Mapping[str, object]]


class Telemetry(msgspec.Struct, kw_only=True):
    """What a process tells of itself by: ``emit`` for events, ``page`` for Prometheus where it is wanted."""

    emit: Emit
    meters: "Meters"
    page: Page | None = None
    tallies: Tallies | None = None

    def tell(self, tallies: Tallies) -> None:
        """Let the monitor be told of the same events; to be called before anybody has ``emit``."""
        self.tallies = tallies
        self.emit = tee(self.emit, gathered(tallies.note).add)


class Meters:
    """Turns events into measurements. ``watch`` adds what is read from the process's state."""

    def __init__(self, meter: Meter, metrics: Iterable[Metric], histograms: Histograms) -> None:
        self._meter = meter
        self._by_event: dict[type[Event], list[Move]] = {}
        self._states: list[Metric] = []
        for metric in metrics:
            if metric.state is not None:
                self._states.append(metric)
                continue
            cells: Cells[Any] = (
                histograms.add(meter, metric) if metric.kind is Kind.HISTOGRAM else _observed(meter, metric)
            )
            for source in metric.sources:
                self._by_event.setdefault(source.event, []).append(_mover(cells, source))

    def emit(self, event: Event) -> None:
        """Move whatever the event moves."""
        for move in self._by_event.get(type(event), ()):
            move(event)

    def watch(self, snapshot: Snapshot) -> None:
        """Read the declared states from ``snapshot`` whenever metrics are looked at."""
        for metric in self._states:
            self._meter.create_observable_gauge(
                metric.name, [_reader(metric, snapshot)], unit=metric.unit, description=metric.meaning
            )


def _observed(meter: Meter, metric: Metric) -> Cells[Any]:
    """Return the cells of a counter or a gauge.

    They are kept here and read when somebody looks: each page moves several, and telling the SDK of each
    movement costs more than all else that is done for an event.
    """
    cells: Cells[Any] = Cells(metric.labels, Sum if metric.kind is Kind.COUNTER else Latest)

    def read(_options: CallbackOptions) -> Iterable[Observation]:
        # Somebody may look from another thread.
        return [Observation(cell.amount, labels) for labels, cell in cells.told()]

    if metric.kind is Kind.COUNTER:
        meter.create_observable_counter(metric.name, [read], metric.unit, metric.meaning)
    else:
        meter.create_observable_gauge(metric.name, [read], metric.unit, metric.meaning)
    return cells


def _mover(cells: Cells[Cell], source: Source) -> Move:
    """Return what one event does to one metric."""
    where, scale = source.where, source.scale
    field, fixed = (source.value, 0.0) if isinstance(source.value, str) else (None, source.value * scale)
    values_of = attrgetter(*cells.labels) if cells.labels else None

    def move(event: Event) -> None:
        if where is not None and getattr(event, where[0]) != where[1]:
            return
        amount = fixed
        if field is not None:
            amount = getattr(event, field)
            if amount is None:
                return
            amount *= scale
        cells[() if values_of is None else values_of(event)].take(amount)

    return move


def _reader(metric: Metric, snapshot: Snapshot) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_options: CallbackOptions) -> Iterator[Observation]:
        found = snapshot().get(metric.state or "")
        if isinstance(found, Mapping):
            # One label: the keys of a mapping are its values.
            for key, value in found.items():
                yield Observation(float(value), {metric.labels[0]: str(key)})
        elif isinstance(found, bool | int | float):
            yield Observation(float(found))

    return read


def tee(*emits: Emit) -> Emit:
    """Return an emitter that hands every event to all of these."""

    def emit(event: Event) -> None:
        for each in emits:
            each(event)

    return emit


def gathered(emit: Emit) -> Gathered[Event]:
    """Return what hands events to an emitter, many at a time."""

    def do(told: Sequence[Event]) -> None:
        for event in told:
            emit(event)

    return Gathered(do)


@contextlib.contextmanager
def metering(service: str, settings: Settings, metrics: Iterable[Metric], log: Emit) -> Iterator[Telemetry]:
    """Yield what turns events into log lines and metrics; send what is left at the end."""
    reader, page = _reader_and_page(settings)
    provider = MeterProvider(
        metric_readers=() if reader is None else (reader,),
        resource=Resource.create({"service.name": f"tidegate-{service}", "service.namespace": "tidegate"}),
    )
    histograms = Histograms()
    if reader is not None:
        histograms.read_by(reader)
    meters = Meters(provider.get_meter("tidegate"), () if reader is None else metrics, histograms)
    metered = gathered(meters.emit)
    try:
        yield Telemetry(emit=log if reader is None else tee(log, metered.add), meters=meters, page=page)
    finally:
        metered.flush()
        provider.shutdown()


def _reader_and_page(settings: Settings) -> tuple[MetricReader | None, Page | None]:
    telemetry = settings.telemetry
    if telemetry.metrics == "prometheus" and settings.health.port:
        return _prometheus()
    if telemetry.metrics == "otlp" and telemetry.otlp_endpoint:
        # Only here: the exporter and its protobuf are a fifth of a service's start.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )

        exporter = OTLPMetricExporter(endpoint=f"{telemetry.otlp_endpoint.rstrip('/')}/v1/metrics")
        interval_ms = telemetry.metrics_interval_s * 1000
        return PeriodicExportingMetricReader(exporter, export_interval_millis=interval_ms), None
    return None, None


def _prometheus() -> tuple[MetricReader, Page]:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 -- as above
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415

    registry = CollectorRegistry()
    reader: Any = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
    return reader, lambda: (generate_latest(registry), CONTENT_TYPE_LATEST)
