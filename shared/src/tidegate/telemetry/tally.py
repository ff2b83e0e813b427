"""Adds events up for the monitor: which event counts as what, and the sums of the current second. Pure.

The same events move the metrics. Metrics have no labels without bounds; here sites, providers and budgets
are told apart, and the bound is on a record: the busiest sites of the second are named, the others are added
up under one name.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from tidegate.events import Event
from tidegate.stats import BUDGET, OTHER, SERVICE, SITE, DeadNote, Part, StatsDelta, bucket_of

_MOST_SITES = 50
_MOST_SUBJECTS = 100
_MOST_NAMES = 64
_MOST_PLACES = _MOST_SITES * _MOST_SUBJECTS
_MOST_NOTES = 3
_LONGEST_TEXT = 200
# Budgets are told every two seconds while they are among the latest; there may be thousands in a life.
_BUDGET_LASTS_S = 10.0

# The sums of a subject and a name among them, or the counts of a name's buckets.
_Place: TypeAlias = tuple[dict[Any, Any], Any]
Snapshot = Callable[[], Mapping[str, object]]
Change = Callable[[Event], None]


class How(StrEnum):
    """SUM adds up over the second, TIMES counts into buckets, LAST is the latest value and is kept."""

    SUM = "sum"
    TIMES = "times"
    LAST = "last"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What one event counts as. Raises ValueError where the event has no such field.

    ``by`` is the field with the subject in ``scope``; ``subject`` says it outright. ``value`` is a field or
    an amount; a field that is None counts nothing, and takes a latest value away. ``label`` is a field whose
    value is put behind the name: ``fetch`` by ``outcome`` makes ``fetch:page``.
    """

    name: str
    event: type[Event]
    how: How = How.SUM
    scope: str = SERVICE
    by: str | None = None
    subject: str = ""
    value: str | float = 1.0
    scale: float = 1.0
    label: str | None = None
    where: tuple[str, str | bool] | None = None

    def __post_init__(self) -> None:
        """Check that all named fields are there."""
        named = (self.by, self.label, self.value, None if self.where is None else self.where[0])
        for field in named:
            if isinstance(field, str) and field not in self.event.__struct_fields__:
                raise ValueError(f"{self.name}: {self.event.__name__} has no {field}")


class Tallies:
    """The sums of the current second, and the latest values since the start."""

    def __init__(
        self,
        service: str,
        instance: str,
        tallies: Iterable[Tally],
        *,
        dead: type[Event] | None = None,
        states: tuple[str, ...] = (),
    ) -> None:
        """Take the declarations. ``dead`` is the event of which samples are kept.

        ``states`` are the keys of the process's snapshot that are latest values, too.
        """
        self._service, self._instance = service, instance
        self._places: list[dict[object, _Place]] = []
        self._changes: dict[type[Event], list[Change]] = {}
        for tally in tallies:
            self._changes.setdefault(tally.event, []).append(self._change(tally))
        if dead is not None:
            self._changes.setdefault(dead, []).append(self._keep_note)
        self._states = states
        self._parts: dict[str, dict[str, Part]] = {}
        self._last: dict[str, dict[str, dict[str, float]]] = {}
        self._budget_ages: dict[str, float] = {}
        self._notes: list[DeadNote] = []
        self._snapshot: Snapshot | None = None

    def watch(self, snapshot: Snapshot) -> None:
        """Read the declared states from ``snapshot`` at each record."""
        self._snapshot = snapshot

    def note(self, event: Event) -> None:
        """Count an event."""
        for change in self._changes.get(type(event), ()):
            change(event)

    def put(self, scope: str, subject: str, name: str, value: float) -> None:
        """Take note of a latest value."""
        subjects = self._last.setdefault(scope, {})
        if subject in subjects or len(subjects) < _MOST_SUBJECTS:
            names = subjects.setdefault(subject, {})
            if name in names or len(names) < _MOST_NAMES:
                names[name] = value
            if scope == BUDGET:
                self._budget_ages[subject] = 0.0

    def forget(self, scope: str, subject: str, name: str) -> None:
        """Take a latest value away: nobody knows it any more."""
        subjects = self._last.get(scope, {})
        names = subjects.get(subject, {})
        names.pop(name, None)
        if not names:
            subjects.pop(subject, None)

    def take(self, seconds: float) -> StatsDelta:
        """Return what was counted since the last time, with all latest values, and begin anew."""
        parts, self._parts = self._parts, {}
        for places in self._places:
            places.clear()
        notes, self._notes = self._notes, []
        if SITE in parts:
            parts[SITE] = _busiest(parts[SITE])
        if self._snapshot is not None:
            state = self._snapshot()
            for name in self._states:
                value = state.get(name)
                if isinstance(value, bool | int | float):
                    self.put(SERVICE, "", name, float(value))
        self._forget_budgets(seconds)
        for scope, subjects in self._last.items():
            for subject, names in subjects.items():
                _part(parts.setdefault(scope, {}), subject).last.update(names)
        return StatsDelta(
            service=self._service, instance=self._instance, seconds=seconds, parts=parts, dead=tuple(notes)
        )

    def _forget_budgets(self, seconds: float) -> None:
        """Drop the budgets that nobody tells of any more, so that others find a place."""
        for subject in list(self._budget_ages):
            self._budget_ages[subject] += seconds
            if self._budget_ages[subject] > _BUDGET_LASTS_S:
                del self._budget_ages[subject]
                self._last.get(BUDGET, {}).pop(subject, None)

    def _change(self, tally: Tally) -> Change:
        if tally.how is How.LAST:
            return self._replacing(tally)
        where, scale, times = tally.where, tally.scale, tally.how is How.TIMES
        field, fixed = (tally.value, 0.0) if isinstance(tally.value, str) else (None, tally.value)
        fields = tuple(each for each in (tally.by, tally.label) if each is not None)
        values_of = attrgetter(*fields) if fields else None
        # Where an event's values lead to, for this second: most of an event's cost would be finding it again.
        places: dict[object, _Place] = {}
        self._places.append(places)

        def change(event: Event) -> None:
            if where is not None and getattr(event, where[0]) != where[1]:
                return
            amount = fixed if field is None else getattr(event, field)
            if amount is None:
                return
            values = None if values_of is None else values_of(event)
            place = places.get(values)
            if place is None:
                if len(places) >= _MOST_PLACES:
                    places.clear()
                place = places[values] = self._place(tally, values)
            kept, key = place
            if times:
                key = bucket_of(amount * scale)
                amount = 1
            else:
                amount *= scale
            kept[key] = kept.get(key, 0) + amount

        return change

    def _place(self, tally: Tally, values: Any) -> "_Place":
        """Return where to add what an event with these values in its fields counts as."""
        subject: Any = tally.subject
        label = None
        if tally.by is not None and tally.label is not None:
            subject, label = values
        elif tally.by is not None:
            subject = values
        elif tally.label is not None:
            label = values
        if subject is None:
            return {}, ""
        named = tally.name if tally.label is None else f"{tally.name}:{label}"
        part = _part(self._parts.setdefault(tally.scope, {}), str(subject))
        if tally.how is How.TIMES:
            return part.times.setdefault(named, {}), named
        if named not in part.sums and len(part.sums) >= _MOST_NAMES:
            named = f"{tally.name}:{OTHER}"
        return part.sums, named

    def _replacing(self, tally: Tally) -> Change:
        """Return what an event does to a latest value."""
        scope, by, scale, where = tally.scope, tally.by, tally.scale, tally.where
        label, value, name, fixed = tally.label, tally.value, tally.name, tally.subject

        def change(event: Event) -> None:
            if where is not None and getattr(event, where[0]) != where[1]:
                return
            amount = getattr(event, value) if isinstance(value, str) else value
            subject = fixed if by is None else getattr(event, by)
            if subject is None:
                return
            named = name if label is None else f"{name}:{getattr(event, label)}"
            if amount is None:
                self.forget(scope, str(subject), named)
            else:
                self.put(scope, str(subject), named, float(amount) * scale)

        return change

    def _keep_note(self, event: Event) -> None:
        if len(self._notes) < _MOST_NOTES:
            texts = (str(getattr(event, field)) for field in DeadNote.__struct_fields__)
            self._notes.append(DeadNote(*(text[:_LONGEST_TEXT] for text in texts)))


def _part(subjects: dict[str, Part], subject: str) -> Part:
    part = subjects.get(subject)
    if part is None:
        # Sites without end may come in one second; the record is cut down to the busiest, this to what fits.
        if len(subjects) >= _MOST_SITES * _MOST_SUBJECTS:
            subject = OTHER
            part = subjects.get(subject)
        if part is None:
            part = subjects[subject] = Part()
    return part


def _busiest(sites: dict[str, Part]) -> dict[str, Part]:
    """Return the busiest sites as they are, and the others as one."""
    if len(sites) <= _MOST_SITES:
        return sites
    ordered = sorted(sites.items(), key=lambda item: (-sum(item[1].sums.values()), item[0]))
    kept = dict(ordered[:_MOST_SITES])
    others = kept.setdefault(OTHER, Part())
    for _, part in ordered[_MOST_SITES:]:
        others.add(part)
    return kept
