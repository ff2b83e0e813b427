"""Which dead letters a command is about: filters from the command line, as a condition in SQL. Pure."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.outcome import ErrorClass, Reason

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])", re.IGNORECASE)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """All that are given must hold; of several values of one filter any. Ages in seconds."""

    runs: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    classes: tuple[ErrorClass, ...] = ()
    sites: tuple[str, ...] = ()
    older_than_s: float | None = None
    newer_than_s: float | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it."""
        return self == Selection()


class Condition(msgspec.Struct, frozen=True):
    """A condition on the view ``dead_letters`` and the values of its parameters."""

    sql: str
    parameters: dict[str, Any]


def selection_of(
    *,
    runs: Iterable[str] = (),
    ids: Iterable[str] = (),
    reasons: Iterable[str] = (),
    classes: Iterable[str] = (),
    sites: Iterable[str] = (),
    older_than: str | None = None,
    newer_than: str | None = None,
) -> Selection:
    """Read the options. Raises ConfigurationError for a value that no dead letter could have."""
    selection = Selection(
        runs=tuple(runs),
        ids=tuple(ids),
        reasons=tuple(Reason(_known("--reason", each, Reason)) for each in _split(reasons)),
        classes=tuple(ErrorClass(_known("--class", each, ErrorClass)) for each in _split(classes)),
        sites=tuple(_split(sites)),
        older_than_s=None if older_than is None else duration_s("--older-than", older_than),
        newer_than_s=None if newer_than is None else duration_s("--newer-than", newer_than),
    )
    for site in selection.sites:
        if "/" in site:
            raise ConfigurationError(f"--site takes a host such as example.com, not {site!r}.")
    older, newer = selection.older_than_s, selection.newer_than_s
    if older is not None and newer is not None and older >= newer:
        raise ConfigurationError(
            "Nothing is both older and newer than that: --older-than must be the shorter."
        )
    return selection


def duration_s(option: str, text: str) -> float:
    """Return seconds for a text such as 90s, 15m, 2h, 1.5d or 1w. Raises ConfigurationError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"{option} takes a time such as 90s, 15m, 2h, 7d or 1w, not {text!r}.")
    return float(match[1]) * _UNITS_S[match[2].lower()]


def condition(selection: Selection, now_ms: int) -> Condition:
    """Return the selection as SQL; ``now_ms`` is the moment from which ages count."""
    parts: list[str] = []
    values: dict[str, Any] = {}
    for column, wanted in (
        ("run", selection.runs),
        ("id", selection.ids),
        ("reason", selection.reasons),
        ("error_class", selection.classes),
        ("site", selection.sites),
    ):
        if wanted:
            parts.append(f"{column} IN {{{column}:Array(String)}}")
            values[column] = [str(each) for each in wanted]
    for name, sign, age_s in (
        ("older_ms", "<=", selection.older_than_s),
        ("newer_ms", ">=", selection.newer_than_s),
    ):
        if age_s is not None:
            parts.append(f"recorded_at {sign} fromUnixTimestamp64Milli({{{name}:Int64}})")
            values[name] = max(now_ms - int(age_s * 1000), 0)
    return Condition(" AND ".join(parts) or "1", values)


def _split(values: Iterable[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _known(option: str, value: str, kind: type[Reason] | type[ErrorClass]) -> str:
    names = [str(each) for each in kind]
    if value not in names:
        raise ConfigurationError(f"{option} {value!r} is none of: {', '.join(names)}.")
    return value
