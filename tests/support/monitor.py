"""A monitor's board under a clock that the test moves."""

from collections.abc import Mapping

from tidegate.alert_rules import load
from tidegate.stats import SERVICE, Part, StatsDelta, bucket_of
from tidegate_monitor.alerts import Alert, AlertBook
from tidegate_monitor.readings import read
from tidegate_monitor.windows import Board

START_MS = 1_700_000_000_000


class Bench:
    """A board, its alerts, and the time, which only ``tell`` and ``wait`` move."""

    def __init__(self, *rules: str) -> None:
        self.board = Board()
        self.book = AlertBook(rule for rule in load() if not rules or rule.name in rules)
        self.now_ms = START_MS

    def tell(
        self,
        service: str,
        *,
        sums: Mapping[str, float] | None = None,
        seconds_of: Mapping[str, list[float]] | None = None,
        last: Mapping[str, float] | None = None,
        scope: str = SERVICE,
        subject: str = "",
        instance: str | None = None,
    ) -> None:
        """Let a service say something now."""
        times: dict[str, dict[int, int]] = {}
        for name, values in (seconds_of or {}).items():
            counts = times.setdefault(name, {})
            for value in values:
                counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
        part = Part(sums=dict(sums or {}), times=times, last=dict(last or {}))
        self.board.take(
            StatsDelta(
                service=service, instance=instance or service, seconds=1.0, parts={scope: {subject: part}}
            ),
            self.now_ms,
        )

    def look(self) -> list[Alert]:
        """Return what fired and what cleared just now."""
        readings = {rule.name: read(rule, self.board, self.now_ms) for rule in self.book.rules}
        return self.book.step(readings, self.now_ms)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += int(seconds * 1000)

    @property
    def firing(self) -> list[str]:
        """The names of the rules that fire."""
        return [alert.rule for alert in self.book.firing()]
