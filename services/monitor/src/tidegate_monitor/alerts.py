"""When an alert fires and when it clears. Pure.

It fires where the value was past its mark without a break for as long as the rule says, and clears where it
was back beyond the other mark for as long. Between the marks nothing changes. Fewer than the least sample
say nothing: nothing fires, and what fires is kept; after ten minutes of that it clears, for nobody can say
any more that it is so. Where few are well, as a queue that is nearly empty, they count as what is well.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from tidegate.alert_rules import Rule, Severity

from tidegate_monitor.readings import Reading

_UNKNOWN_CLEARS_MS = 600_000
_MOST_WATCHED = 2_000


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it stands: a record of the topic ``alerts``, keyed by rule and subject.

    ``value`` is what it was when it fired or cleared, ``sample`` of how many; ``since_ms`` is when it fired.
    """

    version: int = 1
    rule: str
    subject: str
    severity: Severity
    state: Literal["fired", "cleared"]
    value: float
    sample: float
    since_ms: int
    at_ms: int
    summary: str
    action: str

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{self.rule}|{self.subject}"


class _Watch(msgspec.Struct):
    bad_since_ms: int | None = None
    well_since_ms: int | None = None
    unknown_since_ms: int | None = None
    alert: Alert | None = None


class AlertBook:
    """Every rule's subjects and how they stand."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._watches: dict[tuple[str, str], _Watch] = {}

    def firing(self) -> list[Alert]:
        """Return the alerts that have fired and not cleared, in the order of the rules."""
        order = {rule.name: place for place, rule in enumerate(self.rules)}
        found = [watch.alert for watch in self._watches.values() if watch.alert is not None]
        return sorted(found, key=lambda alert: (order[alert.rule], alert.subject))

    def step(self, readings: Mapping[str, Iterable[Reading]], now_ms: int) -> list[Alert]:
        """Look at the readings of all rules, by rule; return what fired and what cleared."""
        changes: list[Alert] = []
        for rule in self.rules:
            seen = set()
            for reading in readings.get(rule.name, ()):
                seen.add(reading.subject)
                changes += self._look(rule, reading, now_ms)
            gone = [key for key in self._watches if key[0] == rule.name and key[1] not in seen]
            for key in gone:
                changes += self._look(rule, Reading(key[1], 0.0, -1.0), now_ms)
        return changes

    def _look(self, rule: Rule, reading: Reading, now_ms: int) -> Iterable[Alert]:
        key = (rule.name, reading.subject)
        known = reading.sample >= rule.least
        watch = self._watches.get(key)
        if watch is None:
            if not known or not rule.is_bad(reading.value) or len(self._watches) >= _MOST_WATCHED:
                return
            watch = self._watches[key] = _Watch()
        bad = known and rule.is_bad(reading.value)
        few = rule.few_are_well and 0 <= reading.sample < rule.least
        well = few or (known and rule.is_well(reading.value))
        watch.bad_since_ms = _since(watch.bad_since_ms, bad, now_ms)
        watch.well_since_ms = _since(watch.well_since_ms, well, now_ms)
        watch.unknown_since_ms = _since(watch.unknown_since_ms, not (known or few), now_ms)
        if watch.alert is None:
            if watch.bad_since_ms is not None and now_ms - watch.bad_since_ms >= rule.for_s * 1000:
                watch.alert = _alert(rule, reading, now_ms)
                yield watch.alert
        elif (
            watch.well_since_ms is not None and now_ms - watch.well_since_ms >= rule.clear_for_s * 1000
        ) or (watch.unknown_since_ms is not None and now_ms - watch.unknown_since_ms >= _UNKNOWN_CLEARS_MS):
            yield msgspec.structs.replace(
                watch.alert,
                state="cleared",
                value=reading.value,
                sample=max(0.0, reading.sample),
                at_ms=now_ms,
            )
            watch.alert = None
        if watch.alert is None and not bad:
            del self._watches[key]


def _since(since_ms: int | None, is_so: bool, now_ms: int) -> int | None:
    if not is_so:
        return None
    # Where the broker's clock went back, the while begins anew.
    return now_ms if since_ms is None or since_ms > now_ms else since_ms


def _alert(rule: Rule, reading: Reading, now_ms: int) -> Alert:
    return Alert(
        rule=rule.name,
        subject=reading.subject,
        severity=rule.severity,
        state="fired",
        value=reading.value,
        sample=reading.sample,
        since_ms=now_ms,
        at_ms=now_ms,
        summary=rule.summary,
        action=rule.action,
    )
