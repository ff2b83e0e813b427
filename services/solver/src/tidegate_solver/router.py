"""Which provider a request goes to, and what follows a refusal. Pure; the formulas are in docs/solving.md.

What: the candidates are ordered by the job's objective: what a page that opens costs, how long it takes, or
how likely it is. Whoever sold this job a solve before comes last: the others are asked for a second opinion.
Whoever opens less than half as often as the best comes behind those who do better, however cheap or fast:
each failure costs the job one of its few tries.
Why so: price and latency of a task say nothing where the answer is then refused; dividing by the chance that
a task opens the page makes the three objectives comparable, and a provider that fails gets dearer and slower
by itself.
Rejected: weights between price and time that a user would have to guess, and a random choice for exploring;
assumptions that are favourable and evidence that fades do the same, and can be reproduced.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec
from tidegate.records import Route

from tidegate_solver.profiles import ErrorKind


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that could be asked. ``price`` in US dollars for a task, ``seconds`` until it ends.

    ``sold_before`` is how many solves of the kind it has sold to this job already.
    """

    name: str
    price: float
    charges_failures: bool
    solve_rate: float
    acceptance: float
    seconds: float
    sold_before: int = 0

    @property
    def opens(self) -> float:
        """The chance that one task opens the page."""
        return self.solve_rate * self.acceptance

    @property
    def cost_to_open(self) -> float:
        """US dollars until the page opens, over as many tasks as that takes."""
        charged = 1.0 if self.charges_failures else self.solve_rate
        return self.price * charged / self.opens

    @property
    def seconds_to_open(self) -> float:
        """Seconds until the page opens, over as many tasks as that takes."""
        return self.seconds / self.opens


def rank(candidates: Iterable[Candidate], route: Route) -> list[str]:
    """Return the names, the best first; equal ones by cost, then time, then name."""
    found = list(candidates)
    poor = max((candidate.opens for candidate in found), default=0.0) * _POOR

    def key(candidate: Candidate) -> tuple[float | str, ...]:
        objective = {
            Route.CHEAPEST: candidate.cost_to_open,
            Route.FASTEST: candidate.seconds_to_open,
            Route.RELIABLE: -candidate.opens,
        }[route]
        rest = (candidate.cost_to_open, candidate.seconds_to_open, candidate.name)
        return (candidate.sold_before, candidate.opens < poor, objective, *rest)

    return [candidate.name for candidate in sorted(found, key=key)]


# The share of the best one's chance below which a provider comes behind.
_POOR = 0.5
# Refusals that may be others in a moment.
_PASSING = frozenset({ErrorKind.BUSY, ErrorKind.RETRY})


class Next(StrEnum):
    """What follows a refusal: another provider at once, all of them again after a pause, or the end."""

    OTHER = "other"
    AGAIN = "again"
    END = "end"


def is_of_the_page(refused: ErrorKind, *, one_use: bool, proxied: bool) -> bool:
    """Say whether any provider would refuse the request as this one did, until its page is fetched again.

    A stale parameter is, where the challenge is good for one use; a bad proxy, where it is the fetcher's.
    """
    return (refused is ErrorKind.EXPIRED and one_use) or (refused is ErrorKind.PROXY and proxied)


class Visit:
    """One request's way through the providers: who refused, and how many rounds it has left.

    Who has no room or asks to try again is asked again in the next round; who says anything else is not: that
    would be nonsense to it, and the next provider may well see it otherwise.
    """

    def __init__(self, retries: int) -> None:
        self._rounds_left = retries
        self._busy: set[str] = set()
        self._gone: set[str] = set()
        self.tries = 0

    def excludes(self, name: str) -> bool:
        """Say whether a provider is not to be asked now."""
        return name in self._busy or name in self._gone

    def next_after(self, refused: ErrorKind, *, others: bool, of_the_page: bool = False) -> Next:
        """Say what would follow a refusal of that class; ``others``: somebody else could be asked."""
        if of_the_page:
            return Next.END
        if others:
            return Next.OTHER
        waits = refused in _PASSING or bool(self._busy)
        return Next.AGAIN if waits and self._rounds_left > 0 else Next.END

    def refused(self, name: str, refused: ErrorKind, *, others: bool, of_the_page: bool = False) -> Next:
        """Take note of a refusal and say what follows."""
        self.tries += 1
        following = self.next_after(refused, others=others, of_the_page=of_the_page)
        if refused in _PASSING:
            self._busy.add(name)
        else:
            self._gone.add(name)
        if following is Next.AGAIN:
            self._rounds_left -= 1
            self._busy.clear()
        return following
