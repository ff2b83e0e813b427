"""What the ledger decides, and all that it remembers: plain data. Pure."""

from enum import StrEnum
from typing import TypeAlias

import msgspec

from tidegate.ledger.entries import Scope, StopState
from tidegate.ledger.totals import Key


class Verdict(StrEnum):
    """How a reserve record was decided."""

    GRANTED = "granted"
    EXHAUSTED = "exhausted"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    PROVIDER_OUT = "provider_out"
    BUSY = "busy"  # the request has an open reservation already
    LATE = "late"  # nobody waits for it any more
    ENDED = "ended"  # a copy of one that was granted, and settled or voided since


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A verdict; ``scope`` is the limit that an exhausted one met."""

    verdict: Verdict
    scope: Scope | None = None


GRANTED = Decision(verdict=Verdict.GRANTED)


class Reservation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An open reservation. ``day`` is the UTC day (days since 1970) that its money belongs to."""

    id: str
    request_id: str
    run: str
    site: str
    provider: str
    amount: int
    day: int
    at_ms: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reservation that is over: what a copy of its record is answered, and when it was made."""

    decision: Decision
    at_ms: int


class LevelReached(msgspec.Struct, frozen=True, kw_only=True):
    """So many percent of a limit are spent or reserved; 100 also where a request was refused for it."""

    scope: Scope
    percent: int
    used: int
    limit: int


class ChargedMore(msgspec.Struct, frozen=True, kw_only=True):
    """A provider charged more than was reserved, and is not used until a person admits it again."""

    provider: str
    request_id: str
    reserved: int
    cost: int


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A record changed nothing; ``why`` in words."""

    kind: str
    why: str


Note: TypeAlias = LevelReached | ChargedMore | Dropped


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a record did: the decision where it asked for one, and what a person may want to know."""

    decision: Decision | None = None
    notes: tuple[Note, ...] = ()


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that a ledger knows, as plain data: rows in the order that the ledger keeps them in."""

    next_offset: int
    spent: int
    in_doubt: int
    limits: tuple[tuple[Scope, int], ...] = ()
    stopped: tuple[tuple[str, StopState], ...] = ()
    providers_out: tuple[str, ...] = ()
    ever: tuple[tuple[Key, int], ...] = ()
    days: tuple[tuple[int, tuple[tuple[Key, int], ...]], ...] = ()
    open: tuple[Reservation, ...] = ()
    ended: tuple[tuple[str, Ended], ...] = ()
    levels: tuple[tuple[Scope, int, int], ...] = ()
