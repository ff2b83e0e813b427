"""Distributions that are kept here and put in among the SDK's metrics when somebody looks.

Each page moves two of them. Recorded by the SDK they cost several times as much, more than all else that is
done for an event: each time it makes a measurement, copies and hashes its attributes and takes a lock.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
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

from tidegate.telemetry.cells import Cells
from tidegate.telemetry.metric import Metric


class _Series(msgspec.Struct):
    """What was recorded with one set of labels; there is one count more than boundaries."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def take(self, amount: float) -> None:
        """Record an amount; what is negative, endless or no number is left out."""
        if not 0 <= amount < math.inf:
            return
        self.counts[bisect_left(self.bounds, amount)] += 1
        self.total += amount
        if amount < self.least:  # noqa: PLR1730 -- calling min and max took as long as all the rest
            self.least = amount
        if amount > self.most:  # noqa: PLR1730 -- as above
            self.most = amount


def _empty(bounds: tuple[float, ...]) -> _Series:
    return _Series(bounds, [0] * (len(bounds) + 1))


class Histograms:
    """All histograms of a process: written by one thread, read by any."""

    def __init__(self) -> None:
        self._since_ns = time.time_ns()
        self._kept: dict[str, Cells[_Series]] = {}

    def add(self, meter: Meter, metric: Metric) -> Cells[_Series]:
        """Begin a histogram; return what takes its amounts."""
        cells = self._kept[metric.name] = Cells(metric.labels, partial(_empty, metric.buckets))

        def keep_a_place(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(0)] if cells.told() else []

        meter.create_observable_gauge(metric.name, [keep_a_place], metric.unit, metric.meaning)
        return cells

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

    def _data(self, kept: Cells[_Series]) -> Histogram:
        now_ns = time.time_ns()
        points = []
        for labels, series in kept.told():
            counts = tuple(series.counts)
            points.append(
                HistogramDataPoint(
                    attributes=labels,
                    start_time_unix_nano=self._since_ns,
                    time_unix_nano=now_ns,
                    count=sum(counts),
                    sum=series.total,
                    bucket_counts=counts,
                    explicit_bounds=series.bounds,
                    min=series.least,
                    max=series.most,
                )
            )
        return Histogram(data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE)
