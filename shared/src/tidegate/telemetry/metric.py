"""What a metric is: a name, what moves it, what it means and what to do about it. Declarations only, pure.

Metrics are made from typed events. Logic emits an event, as it does for the log; a declaration here says
which metrics that event moves. So the set of names is closed, the reference page is made from it, and a
metric nobody moves, or one that nobody explains, cannot be declared.

Labels are bounded: a field becomes one only where ``LABELS`` knows it. Sites, URLs, runs and ids never do;
what happens at one site is the monitor's business and ClickHouse's.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from tidegate.events import Event


class Kind(StrEnum):
    """COUNTER only grows; HISTOGRAM keeps a distribution; GAUGE is the latest value."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


LABELS: dict[str, str] = {
    "accepted": "whether a site took an answer",
    "bound": "a local bound: `window` or `window_bytes`",
    "error_class": "why a try failed: a class of the retry table",
    "kind": "kind of challenge",
    "outcome": "what became of a fetch: `page`, `challenge`, `forwarded`, `deferred`, a class or a reason",
    "provider": "a configured solving service",
    "reason": "why a job ended as a dead letter, or why something was dropped",
    "rule": "an alert of docs/monitor.md",
    "severity": "`critical`, `warning` or `advice`",
    "service": "a service of Tidegate",
    "site_class": "`prone` to challenges or `clean`",
    "state": "a state of a wall",
    "status": "how a captcha request was answered",
    "table": "a table in ClickHouse",
    "topic": "a topic, without the installation's prefix",
    "why": "which rule moved a limit",
}

SECONDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
BYTES = tuple(float(1 << power) for power in range(10, 26, 2))
COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


class Source(msgspec.Struct, frozen=True):
    """An event that moves a metric.

    ``value`` is the name of the field that holds the amount, or the amount itself. A field that is None on an
    event moves nothing. ``where`` restricts to events whose field has the value.
    """

    event: type[Event]
    value: str | float = 1.0
    scale: float = 1.0
    where: tuple[str, str | bool] | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. Raises ValueError where a declaration contradicts itself.

    ``name`` is in OpenTelemetry's dots; Prometheus shows ``tidegate.fetch.duration`` in ``s`` as
    ``tidegate_fetch_duration_seconds``. ``unit`` is UCUM. ``state`` names a key of the process's snapshot
    that is read when somebody looks, in the place of ``sources``.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    action: str
    sources: tuple[Source, ...] = ()
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS
    state: str | None = None

    def __post_init__(self) -> None:
        """Check that something moves it, and that its labels are bounded and there."""
        if bool(self.sources) == bool(self.state):
            raise ValueError(f"{self.name}: either events move a metric, or a state is read")
        for label in self.labels:
            if label not in LABELS:
                raise ValueError(f"{self.name}: {label} is not a bounded label")
        for source in self.sources:
            fields = source.event.__struct_fields__
            wanted = {*self.labels}
            if isinstance(source.value, str):
                wanted.add(source.value)
            if source.where is not None:
                wanted.add(source.where[0])
            if missing := wanted.difference(fields):
                raise ValueError(f"{self.name}: {source.event.__name__} has no {', '.join(sorted(missing))}")


def check(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return the metrics. Raises ValueError where a name stands twice."""
    listed = tuple(metrics)
    names = [metric.name for metric in listed]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"declared twice: {', '.join(sorted(doubles))}")
    return listed


def prometheus_name(metric: Metric) -> str:
    """Return the name under which Prometheus has it."""
    suffix = {"s": "_seconds", "By": "_bytes"}.get(metric.unit, "")
    total = "_total" if metric.kind is Kind.COUNTER else ""
    return metric.name.replace(".", "_") + suffix + total
