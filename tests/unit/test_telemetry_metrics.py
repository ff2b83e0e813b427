"""Metrics made from events."""

import math
from typing import ClassVar

import msgspec
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tidegate.consume import runtime_events
from tidegate.events import Event
from tidegate.settings import HealthSettings, Settings, TelemetrySettings
from tidegate.telemetry.histograms import Histograms
from tidegate.telemetry.meter import Meters, metering
from tidegate.telemetry.metric import Kind, Metric, Source, check, prometheus_name
from tidegate.telemetry.runtime_metrics import RUNTIME_METRICS

PAGE = Settings(health=HealthSettings(port=1))


class Sold(Event, frozen=True):
    """Something was sold."""

    level: ClassVar[str] = "debug"
    provider: str
    seconds: float | None = None
    kind: str = "a"


def declared(**changes: object) -> Metric:
    """Return a counter of sales, with changes."""
    fields: dict[str, object] = {
        "name": "tidegate.sales",
        "kind": Kind.COUNTER,
        "unit": "{sale}",
        "labels": ("provider",),
        "sources": (Source(Sold),),
        "meaning": "Sales.",
        "action": "Be glad.",
    }
    return Metric(**{**fields, **changes})  # type: ignore[arg-type]


def page_after(metric: Metric, *events: Event, state: dict[str, object] | None = None) -> str:
    """Return what Prometheus would read after these events."""
    told: list[Event] = []
    with metering("test", PAGE, (metric,), told.append) as telemetry:
        for event in events:
            telemetry.emit(event)
        telemetry.meters.watch(lambda: state or {})
        assert telemetry.page is not None
        return telemetry.page()[0].decode()


def test_an_event_moves_its_counter() -> None:
    """By its labels."""
    page = page_after(declared(), Sold(provider="x"), Sold(provider="x"), Sold(provider="y"))
    assert _value(page, "tidegate_sales_total", "x") == 2
    assert _value(page, "tidegate_sales_total", "y") == 1


def test_a_histogram_takes_the_field_in_its_unit() -> None:
    """A field in milliseconds becomes seconds; one that is None moves nothing."""
    metric = declared(
        name="tidegate.sale.duration",
        kind=Kind.HISTOGRAM,
        unit="s",
        sources=(Source(Sold, "seconds", 0.001),),
    )
    page = page_after(metric, Sold(provider="x", seconds=1500), Sold(provider="x"))
    assert _value(page, "tidegate_sale_duration_seconds_sum", "x") == 1.5
    assert _value(page, "tidegate_sale_duration_seconds_count", "x") == 1


def test_a_condition_picks_events() -> None:
    """One event may move several metrics."""
    metric = declared(sources=(Source(Sold, where=("kind", "b")),))
    page = page_after(metric, Sold(provider="x"), Sold(provider="x", kind="b"))
    assert _value(page, "tidegate_sales_total", "x") == 1


def test_a_gauge_is_the_latest_value() -> None:
    """A state that events turn on and off."""
    metric = declared(
        name="tidegate.open", kind=Kind.GAUGE, unit="1", sources=(Source(Sold, 1.0), Source(_Closed, 0.0))
    )
    assert _value(page_after(metric, Sold(provider="x")), "tidegate_open", "x") == 1
    assert _value(page_after(metric, Sold(provider="x"), _Closed(provider="x")), "tidegate_open", "x") == 0


class _Closed(Event, frozen=True):
    """It is closed."""

    provider: str


def test_a_state_is_read_when_somebody_looks() -> None:
    """A number, or a mapping by label."""
    metric = declared(name="tidegate.stock", kind=Kind.GAUGE, sources=(), state="stock")
    page = page_after(metric, state={"stock": {"x": 3}})
    assert _value(page, "tidegate_stock", "x") == 3
    bare = declared(name="tidegate.stock", kind=Kind.GAUGE, sources=(), state="stock", labels=())
    assert _value(page_after(bare, state={"stock": 4}), "tidegate_stock", "") == 4


def test_label_sets_are_bounded() -> None:
    """A label that turns out to have many values costs no memory."""
    page = page_after(declared(), *(Sold(provider=f"p{number}") for number in range(2000)))
    lines = [line for line in page.splitlines() if line.startswith("tidegate_sales_total")]
    assert len(lines) <= 501
    assert _value(page, "tidegate_sales_total", "other") == 1500


def test_without_a_reader_events_cost_no_more_than_the_log() -> None:
    """A process without a health server and without a collector."""
    told: list[Event] = []
    with metering("test", Settings(), (declared(),), told.append) as telemetry:
        assert telemetry.page is None
        telemetry.emit(Sold(provider="x"))
    off = Settings(health=HealthSettings(port=1), telemetry=TelemetrySettings(metrics="off"))
    with metering("test", off, (declared(),), told.append) as telemetry:
        assert telemetry.page is None
    assert told == [Sold(provider="x")]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ("site",)},
        {"labels": ("table",)},
        {"sources": ()},
        {"state": "in_hand"},
        {"sources": (Source(Sold, "price"),)},
        {"sources": (Source(Sold, where=("colour", "red")),)},
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    """An unbounded label, a field that is not there, nothing that moves it, or two things."""
    with pytest.raises(ValueError, match=r"tidegate\.sales"):
        declared(**changes)


def test_a_name_is_declared_once() -> None:
    """Two declarations under one name would be added up."""
    with pytest.raises(ValueError, match=r"tidegate\.sales"):
        check((declared(), declared()))


def test_names_are_those_that_prometheus_shows() -> None:
    """Dashboards and rules are written with them."""
    for metric in RUNTIME_METRICS:
        source = metric.sources[0] if metric.sources else None
        events = () if source is None else (_sample(source.event),)
        page = page_after(metric, *events, state={metric.state or "": 1})
        assert f"# TYPE {prometheus_name(metric)} " in page, metric.name


def _sample(kind: type[Event]) -> Event:
    names = kind.__struct_fields__
    annotations = kind.__annotations__
    return kind(
        **{name: "x" if annotations[name] == "str" or annotations[name] is str else 1 for name in names}
    )


def test_every_event_of_the_runtime_moves_a_metric_or_is_only_a_line() -> None:
    """Whoever adds an event decides which of the two it is."""
    moved = {source.event for metric in RUNTIME_METRICS for source in metric.sources}
    lines = {
        runtime_events.PartitionPrepared,
        runtime_events.PrepareFailed,
        runtime_events.BoundFreed,
        # What is over: its beginning was counted.
        runtime_events.IsolationEnded,
        runtime_events.PartitionFreed,
        runtime_events.PartitionMoves,
        runtime_events.ClockAgrees,
        runtime_events.LoopRecovered,
    }
    every = {
        each for each in vars(runtime_events).values() if isinstance(each, type) and issubclass(each, Event)
    }
    assert every - {Event} - moved == lines


def _value(page: str, name: str, provider: str) -> float:
    start = f'{name}{{provider="{provider}"}} ' if provider else f"{name} "
    (line,) = [each for each in page.splitlines() if each.startswith(start)]
    return float(line.rsplit(" ", 1)[1])


def test_what_is_pushed_has_the_histograms_too() -> None:
    """As OpenTelemetry's protocol wants them, with every bucket and one set of labels apart from another."""
    reader, histograms = InMemoryMetricReader(), Histograms()
    histograms.read_by(reader)
    meter = MeterProvider(metric_readers=(reader,)).get_meter("test")
    metric = declared(name="tidegate.sale.duration", kind=Kind.HISTOGRAM, unit="s", buckets=(1.0, 5.0))
    meters = Meters(meter, (msgspec.structs.replace(metric, sources=(Source(Sold, "seconds"),)),), histograms)
    assert reader.get_metrics_data() is None
    for seconds in (0.5, 1.0, 7.0, -1.0, math.nan):
        meters.emit(Sold(provider="x", seconds=seconds))
    meters.emit(Sold(provider="y", seconds=2.0))
    found = reader.get_metrics_data()
    assert found is not None
    (pushed,) = encode_metrics(found).resource_metrics[0].scope_metrics[0].metrics
    assert (pushed.name, pushed.unit) == ("tidegate.sale.duration", "s")
    points = [
        (list(point.bucket_counts), point.count, point.sum, point.min, point.max)
        for point in pushed.histogram.data_points
    ]
    assert points == [([2, 0, 1], 3, 8.5, 0.5, 7.0), ([0, 1, 0], 1, 2.0, 2.0, 2.0)]
