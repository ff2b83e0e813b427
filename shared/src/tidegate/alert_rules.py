"""The alerts as data: ``alerts.toml`` beside this file, decoded and checked. Pure.

The monitor, the generated Prometheus rules and the documents read the same numbers.
"""

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Literal

import msgspec

Severity = Literal["critical", "warning", "advice"]

# What an installation may set otherwise; the rest is what the alert is.
CHANGEABLE = frozenset(
    {
        "window_s",
        "above",
        "at_least",
        "clear_below",
        "clear_at_most",
        "least",
        "for_s",
        "clear_for_s",
    }
)
# The monitor adds up in buckets of five seconds and keeps a quarter of an hour of them.
_WINDOW_S = (10.0, 900.0)
_MOST = 1e9


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
    few_are_well: bool = False
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


def changed(rules: Iterable[Rule], changes: Mapping[str, Mapping[str, float]]) -> tuple[Rule, ...]:
    """Return the rules with some of their numbers changed, by rule and field.

    Raises ValueError where there is no such rule or field, or where the rule would be unsound.
    """
    known = {rule.name: rule for rule in rules}
    if unknown := changes.keys() - known.keys():
        raise ValueError(f"there is no alert {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return tuple(_changed(rule, changes.get(rule.name, {})) for rule in known.values())


def _changed(rule: Rule, fields: Mapping[str, float]) -> Rule:
    if unknown := fields.keys() - CHANGEABLE:
        raise ValueError(
            f"{rule.name}: {', '.join(sorted(unknown))} cannot be set; {', '.join(sorted(CHANGEABLE))} can"
        )
    if any(not 0 <= value <= _MOST for value in fields.values()):
        raise ValueError(f"{rule.name}: each number must be 0 to {_MOST:g}")
    if "window_s" in fields and not (rule.window_s and _WINDOW_S[0] <= fields["window_s"] <= _WINDOW_S[1]):
        allowed = (
            f"{_WINDOW_S[0]:g} to {_WINDOW_S[1]:g} s" if rule.window_s else "0: it looks at the latest value"
        )
        raise ValueError(f"{rule.name}: its window_s must be {allowed}")
    return msgspec.structs.replace(rule, **fields)
