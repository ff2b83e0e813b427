"""The alerts as data: ``alerts.toml`` beside this file, decoded and checked. Pure.

The monitor, the generated Prometheus rules and the documents read the same numbers.
"""

from importlib import resources
from typing import Literal

import msgspec

Severity = Literal["critical", "warning", "advice"]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One alert; the head of the table says what each field means. Raises ValueError where it is unsound."""

    name: str
    severity: Severity
    subject: str
    value: str
    denominator: str
    window_s: float
    above: float | None = None
    at_least: float | None = None
    clear_below: float | None = None
    clear_at_most: float | None = None
    least: float = 0.0
    for_s: float = 0.0
    clear_for_s: float = 0.0
    unit: str
    summary: str
    action: str

    def __post_init__(self) -> None:
        """Check that it fires and clears in one way each, and clears no later than it fires."""
        fires = [mark for mark in (self.above, self.at_least) if mark is not None]
        clears = [mark for mark in (self.clear_below, self.clear_at_most) if mark is not None]
        if len(fires) != 1 or len(clears) != 1:
            raise ValueError(f"{self.name}: one mark to fire at and one to clear at")
        if clears[0] > fires[0]:
            raise ValueError(f"{self.name}: what clears it would fire it")

    def is_bad(self, value: float) -> bool:
        """Say whether a value is past the mark."""
        if self.above is not None:
            return value > self.above
        assert self.at_least is not None
        return value >= self.at_least

    def is_well(self, value: float) -> bool:
        """Say whether a value is back beyond the other mark; between the two it is neither."""
        if self.clear_below is not None:
            # A mark that is both (a growth of nothing) lets the mark itself clear.
            return value < self.clear_below or value <= self.clear_below == self.above
        assert self.clear_at_most is not None
        return value <= self.clear_at_most


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


def load() -> tuple[Rule, ...]:
    """Return the rules in the table's order. Raises ValueError where a name stands twice."""
    text = resources.files("tidegate").joinpath("alerts.toml").read_bytes()
    rules = msgspec.toml.decode(text, type=_Table).rule
    if len({rule.name for rule in rules}) != len(rules):
        raise ValueError("an alert is declared twice")
    return rules
