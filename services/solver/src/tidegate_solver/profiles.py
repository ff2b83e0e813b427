"""What is known of each solving service, read from ``providers.toml``: data, not code.

A profile is the table with the operator's overrides applied. Loading it reads a file, so it happens once,
at start; using it is pure.
"""

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from typing import Any

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind

from tidegate_solver.polling import PollPlan


class ErrorKind(StrEnum):
    """What a solving service's error asks for; the table in ``providers.toml`` explains each."""

    FATAL = "fatal"
    BUSY = "busy"
    RETRY = "retry"
    PROXY = "proxy"
    INPUT = "input"
    WAIT = "wait"
    EXPIRED = "expired"
    LOST = "lost"
    UNKNOWN = "unknown"


class KindProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one kind of challenge is asked for. ``price`` in US dollars, times in seconds.

    ``fields`` maps our parameters to the vendor's task fields, a dot going one level down; ``token``
    names where in ``solution`` the token may be, in order. An empty ``task_type`` means not offered.
    """

    task_type: str
    price: float
    first_delay_s: float
    interval_s: float
    token: tuple[str, ...]
    fields: dict[str, str]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One solving service.

    ``uncharged_failures`` are the codes of failed tasks that the vendor says cost nothing; any other
    failure of a task that was made counts as paid, because in doubt is spent (M3).
    """

    name: str = ""
    base_url: str
    note: str
    verified: bool = True
    prices_as_of: str
    numeric_task_ids: bool
    poll_cap: int
    uncharged_failures: tuple[str, ...] = ()
    kinds: dict[ChallengeKind, KindProfile]
    errors: dict[str, ErrorKind] = {}
    extra_task_fields: dict[str, Any] = {}

    def offer(self, kind: ChallengeKind) -> KindProfile | None:
        """Return how a kind is asked for, None where this service does not offer it."""
        found = self.kinds.get(kind)
        return found if found is not None and found.task_type else None

    def classify(self, code: str) -> ErrorKind:
        """Return the class of an error code; a code that nobody listed is UNKNOWN."""
        return self.errors.get(code, ErrorKind.UNKNOWN)

    def poll_plan(self, kind: KindProfile, time_limit_s: float) -> PollPlan:
        """Return when a task of that kind is asked after."""
        return PollPlan(
            first_delay_s=kind.first_delay_s,
            interval_s=kind.interval_s,
            time_limit_s=time_limit_s,
            cap=self.poll_cap,
        )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    errors: dict[str, ErrorKind]
    providers: dict[str, Profile]


def load_profiles() -> dict[str, Profile]:
    """Return every profile by name, as shipped."""
    text = resources.files("tidegate_solver").joinpath("providers.toml").read_text(encoding="utf-8")
    table = msgspec.convert(tomllib.loads(text), _Table)
    return {
        name: msgspec.structs.replace(profile, name=name, errors={**table.errors, **profile.errors})
        for name, profile in table.providers.items()
    }


def choose_profile(
    name: str,
    *,
    base_url: str | None = None,
    prices: Mapping[ChallengeKind, float] | None = None,
    task_types: Mapping[ChallengeKind, str] | None = None,
    extra_task_fields: Mapping[str, Any] | None = None,
    first_delay_s: float | None = None,
    interval_s: float | None = None,
) -> Profile:
    """Return a profile with the operator's overrides. Raises ConfigurationError for an unknown name."""
    profiles = load_profiles()
    profile = profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(profiles))
        message = f"TIDEGATE_SOLVER__PROVIDER is {name!r}; known solving services are {known}"
        raise ConfigurationError(message)
    kinds = {}
    for kind, shipped in profile.kinds.items():
        kinds[kind] = msgspec.structs.replace(
            shipped,
            price=(prices or {}).get(kind, shipped.price),
            task_type=(task_types or {}).get(kind, shipped.task_type),
            first_delay_s=shipped.first_delay_s if first_delay_s is None else first_delay_s,
            interval_s=shipped.interval_s if interval_s is None else interval_s,
        )
    return msgspec.structs.replace(
        profile,
        base_url=(base_url or profile.base_url).rstrip("/"),
        kinds=kinds,
        extra_task_fields=dict(extra_task_fields or {}),
        # The vendor's cap belongs to the vendor's interval: a simulated service polled faster has none.
        poll_cap=profile.poll_cap if interval_s is None else max(profile.poll_cap, 100_000),
    )
