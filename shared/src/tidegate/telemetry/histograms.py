"""Distributions that are kept here and put in among the SDK's metrics when somebody looks.

Each page moves two of them. Recorded by the SDK they cost several times as much, more than all else that is
done for an event: each time it makes a measurement, copies and hashes its attributes and takes a lock.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    MetricReader,
    MetricsData,
)

from tidegate.telemetry.metric import Metric

Labels = Mapping[str, str]


class _Series(msgspec.Struct):
    """What was recorded with one set of labels; there is one count more than boundaries."""

    labels: Labels
    counts: list[int]
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf


class _Distribution(msgspec.Struct):
    """One histogram; its series by the identity of their labels."""

    bounds: tuple[float, ...]
    series: dict[int, _Series] = {}


class Histograms:
    """All histograms of a process: written by one thread, read by any."""

    def __init__(self) -> None:
        self._since_ns = time.time_ns()
        self._kept: dict[str, _Distribution] = {}

    def add(self, meter: Meter, metric: Metric) -> Callable[[float, Labels], None]:
        """Begin a histogram; return what takes an amount with its labels, the same object for the same."""
        bounds = metric.buckets
        kept = self._kept[metric.name] = _Distribution(bounds)
        series = kept.series

        def record(amount: float, labels: Labels) -> None:
            if not 0 <= amount < math.inf:
                return
            one = series.get(id(labels))
            if one is None:
                one = series[id(labels)] = _Series(labels, [0] * (len(bounds) + 1))
            one.counts[bisect_left(bounds, amount)] += 1
            one.total += amount
            one.least = min(one.least, amount)
            one.most = max(one.most, amount)

        def keep_a_place(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(0)] if series else []

        meter.create_observable_gauge(metric.name, [keep_a_place], metric.unit, metric.meaning)
        return record

    def read_by(self, reader: MetricReader) -> None:
        """Give a reader the distributions in the places that the SDK keeps for them."""
        receive = reader._receive_metrics  # noqa: SLF001 -- where a reader is given metrics; nothing public

        def receive_all(metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
            receive(self._put_into(metrics_data), timeout_millis=timeout_millis, **kwargs)

        reader._receive_metrics = receive_all  # type: ignore[method-assign]  # noqa: SLF001 -- as above

    def _put_into(self, found: MetricsData) -> MetricsData:
        resources = []
        for resource in found.resource_metrics:
            scopes = [
                replace(
                    scope,
                    metrics=[
                        replace(metric, data=self._data(kept))
                        if (kept := self._kept.get(metric.name))
                        else metric
                        for metric in scope.metrics
                    ],
                )
                for scope in resource.scope_metrics
            ]
            resources.append(replace(resource, scope_metrics=scopes))
        return MetricsData(resource_metrics=resources)

    def _data(self, kept: _Distribution) -> Histogram:
        now_ns = time.time_ns()
        points = []
        for series in list(kept.series.values()):
            counts = tuple(series.counts)
            points.append(
                HistogramDataPoint(
                    attributes=series.labels,
                    start_time_unix_nano=self._since_ns,
                    time_unix_nano=now_ns,
                    count=sum(counts),
                    sum=series.total,
                    bucket_counts=counts,
                    explicit_bounds=kept.bounds,
                    min=series.least,
                    max=series.most,
                )
            )
        return Histogram(data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE)
