"""Metrics by OpenTelemetry: instruments made from declarations, moved by events.

One switch says where they go: a Prometheus page on the health server's port, or OTLP push; never both, for
a Prometheus that receives OTLP would count everything twice.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tidegate.events import Emit, Event
from tidegate.settings import Settings
from tidegate.telemetry.histograms import Histograms
from tidegate.telemetry.metric import Kind, Metric, Source
from tidegate.telemetry.tally import Tallies

_MOST_LABEL_SETS = 500

Page = Callable[[], tuple[bytes, str]]
Record = Callable[[Event], None]
Snapshot = Callable[[], Mapping[str, object]]
Labels = Mapping[str, str]


class Telemetry(msgspec.Struct, kw_only=True):
    """What a process tells of itself by: ``emit`` for events, ``page`` for Prometheus where it is wanted."""

    emit: Emit
    meters: "Meters"
    page: Page | None = None
    tallies: Tallies | None = None

    def tell(self, tallies: Tallies) -> None:
        """Let the monitor be told of the same events; to be called before anybody has ``emit``."""
        self.tallies = tallies
        self.emit = tee(self.emit, tallies.note)


class Meters:
    """Turns events into measurements. ``watch`` adds what is read from the process's state."""

    def __init__(self, meter: Meter, metrics: Iterable[Metric], histograms: Histograms) -> None:
        self._meter = meter
        self._by_event: dict[type[Event], list[Record]] = {}
        self._states: list[Metric] = []
        for metric in metrics:
            if metric.state is not None:
                self._states.append(metric)
                continue
            record = (
                histograms.add(meter, metric) if metric.kind is Kind.HISTOGRAM else _instrument(meter, metric)
            )
            sets = LabelSets(metric.labels)
            for source in metric.sources:
                self._by_event.setdefault(source.event, []).append(_recorder(sets, source, record))

    def emit(self, event: Event) -> None:
        """Move whatever the event moves."""
        for record in self._by_event.get(type(event), ()):
            record(event)

    def watch(self, snapshot: Snapshot) -> None:
        """Read the declared states from ``snapshot`` whenever metrics are looked at."""
        for metric in self._states:
            self._meter.create_observable_gauge(
                metric.name, [_reader(metric, snapshot)], unit=metric.unit, description=metric.meaning
            )


class LabelSets:
    """The label sets of one metric by their values; beyond a bound they fall into one."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._known: dict[tuple[object, ...], Labels] = {}
        self._others = dict.fromkeys(labels, "other")

    def of(self, values: tuple[object, ...]) -> Labels:
        """Return the set with these values; the same object for the same values."""
        known = self._known.get(values)
        if known is not None:
            return known
        if len(self._known) >= _MOST_LABEL_SETS:
            return self._others
        named = zip(self.labels, values, strict=True)
        labels = {label: "none" if part is None else str(part) for label, part in named}
        self._known[values] = labels
        return labels


def _instrument(meter: Meter, metric: Metric) -> Callable[[float, Labels], None]:
    """Return what takes an amount with its labels.

    Counters and gauges are kept here and read when somebody looks: each page moves several, and telling the
    SDK of each movement costs more than all else that is done for an event.
    """
    # By identity: ``LabelSets`` gives the same object for the same labels.
    kept: dict[int, tuple[float, Labels]] = {}

    def add(amount: float, labels: Labels) -> None:
        before = kept.get(id(labels))
        kept[id(labels)] = (amount if before is None else before[0] + amount, labels)

    def put(amount: float, labels: Labels) -> None:
        kept[id(labels)] = (amount, labels)

    def read(_options: CallbackOptions) -> Iterable[Observation]:
        # Somebody may look from another thread.
        return [Observation(amount, labels) for amount, labels in list(kept.values())]

    if metric.kind is Kind.COUNTER:
        meter.create_observable_counter(metric.name, [read], metric.unit, metric.meaning)
        return add
    meter.create_observable_gauge(metric.name, [read], metric.unit, metric.meaning)
    return put


def _recorder(sets: LabelSets, source: Source, record: Callable[[float, Labels], None]) -> Record:
    """Return what one event does to one metric."""
    value, scale, where = source.value, source.scale, source.where
    fields = attrgetter(*sets.labels) if sets.labels else None
    single = len(sets.labels) == 1
    none = sets.of(()) if fields is None else {}

    def move(event: Event) -> None:
        if where is not None and getattr(event, where[0]) != where[1]:
            return
        amount = getattr(event, value) if isinstance(value, str) else value
        if amount is None:
            return
        if fields is None:
            record(amount * scale, none)
        else:
            values = fields(event)
            record(amount * scale, sets.of((values,) if single else values))

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
    try:
        yield Telemetry(emit=log if reader is None else tee(log, meters.emit), meters=meters, page=page)
    finally:
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
