"""What breaks when: a list of faults that a seed decides. Pure: the same arguments give the same list.

Every target has a chance of its own, so that a new fault of one changes nothing of the others. Faults of
one target never overlap; those of different targets do, and that is the point.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeAlias

import msgspec

Detail: TypeAlias = Mapping[str, float | int | str | bool]

SERVICES = ("fetcher", "solver", "storer")


# What the solving service does wrong with a share of its requests or tasks, under its own names.
SHARES = ("server_error", "html", "truncated", "lost", "drop", "never_ready", "wrong_token")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: it begins ``at_s`` seconds after the start and is healed ``lasts_s`` later."""

    at_s: float
    target: str
    kind: str
    lasts_s: float
    detail: Detail = {}

    def __str__(self) -> str:
        detail = " ".join(f"{name}={value}" for name, value in self.detail.items())
        return (
            f"{self.at_s:8.2f} s  {self.target:<11} {self.kind:<14} {self.lasts_s:6.2f} s  {detail}".rstrip()
        )


class Choice(msgspec.Struct, frozen=True):
    """A kind of fault: how often it is chosen, and how long it lasts, from and to seconds."""

    kind: str
    weight: int
    shortest_s: float
    longest_s: float


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """What can happen to one target; between two faults it is left alone for ``gap_s`` from and to."""

    gap_s: tuple[float, float]
    choices: Sequence[Choice]


_SERVICE = Track(
    gap_s=(2.0, 7.0),
    choices=(
        Choice("kill", 4, 0.0, 1.5),
        # The session time-out of the campaign is 2 s: shorter pauses are noticed by nobody.
        Choice("pause", 2, 2.5, 7.0),
        Choice("term", 2, 0.0, 1.5),
        Choice("extra_kill", 1, 2.0, 8.0),
        Choice("extra_term", 1, 2.0, 8.0),
    ),
)
_NETWORK = (
    Choice("latency", 2, 2.0, 6.0),
    Choice("cut", 2, 2.0, 6.0),
    Choice("black_hole", 2, 1.0, 6.0),
    Choice("reset", 2, 0.5, 3.0),
)
_ONE_NODE = Track(
    gap_s=(10.0, 20.0),
    choices=(Choice("kill", 2, 0.0, 4.0), Choice("term", 2, 0.0, 4.0), Choice("pause", 2, 1.0, 6.0)),
)
_THREE_NODES = Track(
    gap_s=(8.0, 16.0),
    choices=(
        Choice("kill_leader", 4, 1.0, 6.0),
        Choice("rolling", 1, 0.5, 2.0),
        Choice("pause_leader", 2, 2.0, 8.0),
    ),
)
_CLICKHOUSE = Track(
    gap_s=(5.0, 12.0),
    choices=(
        Choice("kill", 3, 0.0, 6.0),
        Choice("term", 1, 0.0, 6.0),
        Choice("pause", 1, 2.0, 8.0),
        Choice("error", 3, 2.0, 8.0),
        *_NETWORK,
    ),
)
_SOLVING = Track(
    gap_s=(3.0, 8.0),
    choices=(
        *(Choice(kind, 2, 2.0, 8.0) for kind in ("refused", "slow", "zero_balance", *SHARES)),
        *(msgspec.structs.replace(each, weight=1) for each in _NETWORK),
    ),
)

_TRACKS: Mapping[str, Track] = {
    **dict.fromkeys(SERVICES, _SERVICE),
    "broker-net": Track(gap_s=(8.0, 18.0), choices=_NETWORK),
    "clickhouse": _CLICKHOUSE,
    "solving": _SOLVING,
    "site": Track(gap_s=(8.0, 16.0), choices=_NETWORK),
}

# Codes that say nothing about the rows: memory, too many parts, too many queries, read only, time-out.
_CLICKHOUSE_CODES = (241, 252, 202, 242, 159)
_LEADERS_OF = ("urls", "captcha-requests", "captcha-tasks", "pages", "__consumer_offsets")


def tracks(nodes: int) -> Mapping[str, Track]:
    """Return what can happen to each target, on one node or on three."""
    return {**_TRACKS, "broker": _ONE_NODE if nodes == 1 else _THREE_NODES}


def schedule(seed: int, *, minutes: float, nodes: int) -> tuple[Fault, ...]:
    """Return the faults of a campaign in the order of their beginnings."""
    end_s = minutes * 60
    faults = []
    for target, track in tracks(nodes).items():
        chance = Random(f"{seed}:{nodes}:{target}")
        at_s = chance.uniform(1.0, track.gap_s[1])
        while at_s < end_s:
            choice = chance.choices(track.choices, [each.weight for each in track.choices])[0]
            lasts_s = chance.uniform(choice.shortest_s, choice.longest_s)
            fault = Fault(
                at_s=round(at_s, 2),
                target=target,
                kind=choice.kind,
                lasts_s=round(lasts_s, 2),
                detail=_detail(choice.kind, chance),
            )
            faults.append(fault)
            at_s += lasts_s + chance.uniform(*track.gap_s)
    return tuple(sorted(faults, key=lambda fault: (fault.at_s, fault.target)))


def _detail(kind: str, chance: Random) -> Detail:
    """Return what a fault of that kind needs beside its length."""
    detail = _DETAILS.get(kind)
    return {} if detail is None else detail(chance)


def _latency(chance: Random) -> Detail:
    return {"latency_s": round(chance.choice((0.05, 0.3, 1.5)) * chance.uniform(0.5, 1.5), 3)}


def _share(chance: Random) -> Detail:
    return {"share": chance.choice((0.3, 0.7, 1.0))}


def _leader(chance: Random) -> Detail:
    return {"of": chance.choice(_LEADERS_OF), "partition": chance.randrange(4)}


_DETAILS: Mapping[str, Callable[[Random], Detail]] = {
    **dict.fromkeys(("latency", "slow"), _latency),
    **dict.fromkeys(SHARES, _share),
    **dict.fromkeys(("kill_leader", "pause_leader"), _leader),
    "cut": lambda chance: {"after_bytes": int(10 ** chance.uniform(0, 5))},
    "black_hole": lambda chance: {"then_reset": chance.random() < 0.5},
    "error": lambda chance: {"code": chance.choice(_CLICKHOUSE_CODES)},
}
