"""The router's formulas, worked out by brute force from docs/solving.md, and from nothing of the router's.

A task is bought again and again until one opens the page: what that costs and how long it takes is added up
task by task, not divided. The order is found by comparing everybody with everybody.
"""

from collections.abc import Sequence
from typing import NamedTuple

_TASKS = 4_000
_ASSUMED_SHARE, _ASSUMED_WEIGHT, _HALF_LIFE_S = 0.95, 5.0, 1800.0


class Seen(NamedTuple):
    """What happened at one provider: tasks as (age s, solved, took s), verdicts as (age s, accepted)."""

    name: str
    price: float
    charges_failures: bool
    assumed_s: float
    tasks: Sequence[tuple[float, bool, float]]
    verdicts: Sequence[tuple[float, bool]]
    sold_before: int


class Expected(NamedTuple):
    """The three objectives of one provider."""

    name: str
    sold_before: int
    dollars: float
    seconds: float
    chance: float


def expected(seen: Seen) -> Expected:
    """Return what a page that opens costs and takes by this provider, and how likely one task opens it."""
    solve_rate = _faded([(age, float(solved)) for age, solved, _ in seen.tasks], _ASSUMED_SHARE)
    acceptance = _faded([(age, float(accepted)) for age, accepted in seen.verdicts], _ASSUMED_SHARE)
    task_s = _faded([(age, took) for age, _, took in seen.tasks], seen.assumed_s)
    chance = solve_rate * acceptance
    task_dollars = seen.price if seen.charges_failures else seen.price * solve_rate
    dollars = seconds = 0.0
    needed = 1.0  # the chance that this task is bought at all: that none before it opened the page
    for _ in range(_TASKS):
        dollars += needed * task_dollars
        seconds += needed * task_s
        needed *= 1.0 - chance
    return Expected(seen.name, seen.sold_before, dollars, seconds, chance)


def order(providers: Sequence[Seen], route: str) -> list[str]:
    """Return the names, the best first."""
    left = [expected(seen) for seen in providers]
    ordered = []
    top = max((one.chance for one in left), default=0.0)
    while left:
        best = next(
            one for one in left if all(_beats(one, other, route, top) for other in left if other != one)
        )
        ordered.append(best.name)
        left.remove(best)
    return ordered


def _beats(one: Expected, other: Expected, route: str, top: float) -> bool:
    """Say whether one comes before the other.

    Who sold to the job before comes last; then who opens less than half as often as the best; then it is
    the objective.
    """
    if one.sold_before != other.sold_before:
        return one.sold_before < other.sold_before
    if (one.chance < top / 2) != (other.chance < top / 2):
        return other.chance < top / 2
    first = {
        "cheapest": (one.dollars, other.dollars),
        "fastest": (one.seconds, other.seconds),
        "reliable": (other.chance, one.chance),
    }[route]
    for mine, others in (first, (one.dollars, other.dollars), (one.seconds, other.seconds)):
        if not close(mine, others):
            return mine < others
    return one.name < other.name


def close(one: float, other: float) -> bool:
    """Say whether two sums differ by no more than adding them up may."""
    return abs(one - other) <= 1e-9 * max(abs(one), abs(other))


def _faded(samples: Sequence[tuple[float, float]], assumed: float) -> float:
    weights: list[float] = [0.5 ** (age / _HALF_LIFE_S) for age, _ in samples]
    total = sum(weight * value for weight, (_, value) in zip(weights, samples, strict=True))
    return (total + _ASSUMED_WEIGHT * assumed) / (sum(weights) + _ASSUMED_WEIGHT)
