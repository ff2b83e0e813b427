"""How a vendor misbehaves, set at run time. Chances are shares from 0 to 1 of the requests or tasks.

What the wire does wrong is drawn once a request, before (drop, 5xx, HTML) or after (truncated, lost) the
request was carried out: after a lost answer to createTask there is a task, and it was paid for.
"""

from enum import StrEnum
from random import Random
from typing import Annotated, TypeAlias

import msgspec
from tidegate.records import ChallengeKind


class Operation(StrEnum):
    """What a request asks for."""

    CREATE = "create"
    RESULT = "result"
    BALANCE = "balance"
    REPORT = "report"


Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=600_000)]


class ErrorRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answer ``code`` to that share of requests; ``result`` means tasks that end with the code instead."""

    code: str
    rate: Share = 1.0
    on: Operation = Operation.CREATE


class Spread(StrEnum):
    """How the times to solve are spread around their mean."""

    EVEN = "even"
    LOGNORMAL = "lognormal"
    EXPONENTIAL = "exponential"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One vendor's behaviour; the defaults are those of a good one.

    ``latency_ms`` (None: the process's own) is the mean time to solve, spread evenly by ±``spread`` of it,
    or as ``distribution`` says (of the lognormal one ``spread`` is the sigma). ``enforce_intervals`` refuses
    polls that come too soon, ``enforce_bans`` bans who breaks a rule. ``slow_ms`` is a delay of every answer.
    ``operations`` limits what is wrong on the wire to those; empty means all.
    """

    latency_ms: Milliseconds | None = None
    spread: Share = 0.3
    distribution: Spread = Spread.EVEN
    errors: tuple[ErrorRule, ...] = ()
    never_ready: Share = 0.0
    wrong_token: Share = 0.0
    zero_balance: bool = False
    unsupported: tuple[ChallengeKind, ...] = ()
    threads: Annotated[int, msgspec.Meta(ge=0)] = 1_000
    enforce_intervals: bool = False
    enforce_bans: bool = False
    operations: tuple[Operation, ...] = ()
    slow_ms: Milliseconds = 0.0
    drop: Share = 0.0
    server_error: Share = 0.0
    server_error_status: Annotated[int, msgspec.Meta(ge=500, le=599)] = 500
    html: Share = 0.0
    truncated: Share = 0.0
    lost: Share = 0.0

    def took_s(self, usual_ms: float, random: Random) -> float:
        """Draw the time that a task takes, in seconds."""
        mean_s = (usual_ms if self.latency_ms is None else self.latency_ms) / 1000
        match self.distribution:
            case Spread.EVEN:
                return mean_s * random.uniform(1 - self.spread, 1 + self.spread)
            case Spread.LOGNORMAL:
                return mean_s * random.lognormvariate(-(self.spread**2) / 2, self.spread)
            case Spread.EXPONENTIAL:
                return mean_s * random.expovariate(1.0)

    def refusal(self, operation: Operation, random: Random) -> str:
        """Draw the code to refuse a request with; empty: it is not refused."""
        for rule in self.errors:
            if rule.on is operation and random.random() < rule.rate:
                return rule.code
        return ""


class Wire(StrEnum):
    """What happens to one request on the wire."""

    FINE = "fine"
    DROP = "drop"
    SERVER_ERROR = "server_error"
    HTML = "html"
    TRUNCATED = "truncated"
    LOST = "lost"


BEFORE = frozenset({Wire.DROP, Wire.SERVER_ERROR, Wire.HTML})


def draw_wire(behaviour: Behaviour, operation: Operation, random: Random) -> Wire:
    """Draw what happens to a request on the wire; the first fault that hits wins."""
    if behaviour.operations and operation not in behaviour.operations:
        return Wire.FINE
    shares = (
        (Wire.DROP, behaviour.drop),
        (Wire.SERVER_ERROR, behaviour.server_error),
        (Wire.HTML, behaviour.html),
        (Wire.TRUNCATED, behaviour.truncated),
        (Wire.LOST, behaviour.lost),
    )
    for wire, share in shares:
        if share and random.random() < share:
            return wire
    return Wire.FINE
