"""Who solves for a site, and who waits for what that brings (delivery.md M7). Pure.

What: the first job of a visitor that meets a challenge leads: its request goes to the solver, and it has a
lease. Another one that meets the same challenge follows: it comes back when the solve is expected to be done,
and the session that it brought is there. A lease ends with the solver's answer, or when nothing can come any
more.

A clearance is a cookie that opens the site, so there is always something to wait for. A token opens one page,
and at most sites a few more after it (a grace), at others none, where waiting for each other would only make
everything slow. Which it is, is found out: after the first solve the session is kept for those who were seen
to be challenged before, and the first of them who comes back knows. What a page proves that nobody was kept
from is nothing: sites protect some pages and not others. Where there is no grace everybody buys his own; all
this is forgotten after ten minutes, as sites change. One goes ahead and the others wait for what he finds: of
several at once some would be turned away although there was a grace, which the others used up.

Times are epoch milliseconds by the broker's clock. A visitor is (site, identity); a group is what one solve
opens.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.records import ChallengeKind
from tidegate.topics import SHORTEST_DELAY_S

TOKEN = "token"  # noqa: S105 -- the name of a group

Visitor = tuple[str, str]
JobName = tuple[str, str]

_WEIGHT = 0.3
_SHORTEST_MS = int(SHORTEST_DELAY_S * 1000)
_LEAST_PATIENCE_MS = 60_000
_FURTHEST_MS = 3_600_000


class Grace(StrEnum):
    """Whether a solve opens more than the page that it was bought for."""

    UNKNOWN = "unknown"
    GRANTED = "granted"
    NONE = "none"


class FlightPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds.

    ``lease_s`` is after how long no answer to a request can come any more; ``usual_s`` what a solve takes
    until one was seen. What was found out of a grace holds for ``known_s``; the session of a first solve is
    kept for those who followed it for ``kept_s``. ``in_a_row``: after so many challenges nobody is sent while
    one is being solved. ``visitors`` and ``followers`` (of each) are remembered.
    """

    lease_s: float
    usual_s: float = 4.0
    known_s: float = 600.0
    kept_s: float = 30.0
    in_a_row: int = 3
    visitors: int = 10_000
    followers: int = 256


class _Flight:
    """What is known of one visitor and one group."""

    __slots__ = (
        "booked",
        "each_opens",
        "followers",
        "grace",
        "kept_until",
        "known_until",
        "leader",
        "opened",
        "since",
        "solve_ms",
        "tester",
        "until",
    )

    def __init__(self, usual_ms: float) -> None:
        self.leader: JobName | None = None
        self.since = 0
        self.until = 0
        self.solve_ms = usual_ms
        self.followers: set[JobName] = set()
        self.grace = Grace.UNKNOWN
        self.known_until = 0
        self.kept_until = 0
        self.tester: JobName | None = None
        self.booked = 0.0
        self.opened = 0
        self.each_opens = 1.0

    def led_by_another(self, job: JobName, now_ms: int) -> bool:
        return self.leader is not None and self.leader != job and self.until > now_ms

    def is_tested_by_another(self, job: JobName, now_ms: int) -> bool:
        return self.kept_until > now_ms and self.tester not in (None, job)


class _Visitor:
    __slots__ = ("challenges", "flights")

    def __init__(self) -> None:
        self.flights: dict[str, _Flight] = {}
        self.challenges = 0


class Lease(msgspec.Struct, frozen=True):
    """A lease as it is told to others: ``left_ms`` from now."""

    group: str
    leader: JobName
    left_ms: int


def group_of(kind: ChallengeKind) -> str:
    """Return what a solve of this kind opens."""
    return kind.value if FACTS[kind].answer is AnswerKind.COOKIES else TOKEN


class Flights:
    """All visitors that were challenged lately; beyond the bound those go who were so longest ago."""

    def __init__(self, policy: FlightPolicy) -> None:
        self._policy = policy
        self._visitors: OrderedDict[Visitor, _Visitor] = OrderedDict()
        self._leads: dict[JobName, tuple[Visitor, str]] = {}

    def __len__(self) -> int:
        return len(self._visitors)

    def knows(self, visitor: Visitor) -> bool:
        """Say whether this visitor was challenged lately."""
        return visitor in self._visitors

    def leads(self, job: JobName) -> bool:
        """Say whether a job's request is what others wait for."""
        return job in self._leads

    # -- before a job is sent -------------------------------------------------------------------------

    def holds(self, visitor: Visitor, job: JobName, now_ms: int, age_s: float) -> float | None:
        """Return the seconds after which to come back, where asking would surely be in vain; else None."""
        known = self._visitors.get(visitor)
        if known is None:
            return None
        for group, flight in known.flights.items():
            if self._grace(group, flight, now_ms) is Grace.NONE:
                continue
            if flight.led_by_another(job, now_ms):
                if known.challenges >= self._policy.in_a_row:
                    return self._turn_s(group, flight, now_ms, age_s)
            elif flight.is_tested_by_another(job, now_ms) and job in flight.followers:
                return _SHORTEST_MS / 1000
        return None

    def may_use(self, visitor: Visitor, passed: Iterable[str], job: JobName, now_ms: int) -> bool:
        """Say whether a job goes as the session that passed these groups, or as nobody.

        As nobody where the site grants nothing for it, and where it is kept for those who can tell.
        """
        known = self._visitors.get(visitor)
        if known is None:
            return True
        opens = False
        for group in passed:
            flight = known.flights.get(group)
            if flight is None or (grace := self._grace(group, flight, now_ms)) is Grace.GRANTED:
                opens = True
            elif grace is Grace.UNKNOWN:
                if flight.kept_until > now_ms:
                    if job not in flight.followers or flight.is_tested_by_another(job, now_ms):
                        return False
                    flight.tester = job
                opens = True
        return opens

    # -- what the site answered -----------------------------------------------------------------------

    def opened(self, visitor: Visitor, passed: Iterable[str], job: JobName, now_ms: int) -> None:
        """Take note of a page, by a session that passed these groups; none of them for nobody's page."""
        known = self._visitors.get(visitor)
        if known is None:
            return
        known.challenges = 0
        for group in passed:
            flight = known.flights.get(group)
            if flight is not None:
                flight.opened += 1
                self._tested(group, flight, job, now_ms, granted=True)

    def challenged(
        self, visitor: Visitor, passed: Iterable[str], kind: ChallengeKind, job: JobName, now_ms: int
    ) -> bool:
        """Take note of a challenge; True where it met a session that had passed that group."""
        known = self._visitors.get(visitor)
        if known is None:
            known = self._visitors[visitor] = _Visitor()
            self._forget_oldest()
        else:
            self._visitors.move_to_end(visitor)
        known.challenges += 1
        group = group_of(kind)
        if group not in passed:
            return False
        flight = self._flight(visitor, group)
        flight.each_opens += _WEIGHT * (flight.opened + 1 - flight.each_opens)
        self._tested(group, flight, job, now_ms, granted=False)
        return True

    def follows(
        self, visitor: Visitor, kind: ChallengeKind, job: JobName, now_ms: int, age_s: float
    ) -> float | None:
        """Return the seconds after which a challenged job comes back for what another one's solve brings."""
        group = group_of(kind)
        flight = self._flight(visitor, group)
        if self._grace(group, flight, now_ms) is Grace.NONE or not flight.led_by_another(job, now_ms):
            return None
        self._join(group, flight, job, now_ms)
        return self._turn_s(group, flight, now_ms, age_s)

    def missed(self, visitor: Visitor, group: str, job: JobName, now_ms: int) -> bool:
        """Say whether a job that was challenged as nobody comes back for a session that is there by now."""
        flight = self._flight(visitor, group)
        if self._grace(group, flight, now_ms) is Grace.NONE:
            return False
        self._join(group, flight, job, now_ms)
        return True

    def untested(self, visitor: Visitor, job: JobName) -> None:
        """Let another one find out: this job's request brought no answer that tells."""
        known = self._visitors.get(visitor)
        for flight in () if known is None else known.flights.values():
            if flight.tester == job:
                flight.tester = None

    # -- leases ---------------------------------------------------------------------------------------

    def leased(self, visitor: Visitor, kind: ChallengeKind, job: JobName, now_ms: int) -> bool:
        """Give a job that buys the lease; False where everybody buys his own."""
        group = group_of(kind)
        flight = self._flight(visitor, group)
        if self._leads.get(job, (visitor, group)) != (visitor, group):
            self.failed(job)
        if self._grace(group, flight, now_ms) is Grace.NONE:
            return False
        self._lead(visitor, group, job, now_ms, now_ms + int(self._policy.lease_s * 1000))
        return True

    def learn(self, visitor: Visitor, group: str, job: JobName, now_ms: int, left_ms: int) -> None:
        """Take note of a lease that another fetcher gave."""
        self._lead(visitor, group, job, now_ms, now_ms + left_ms)

    def landed(
        self, visitor: Visitor, kind: ChallengeKind, job: JobName, now_ms: int, *, opens: bool
    ) -> bool:
        """Take note of an answer that the site took; ``opens``: it also gave cookies to come back with.

        Return whether they are worth keeping.
        """
        group = group_of(kind)
        flight = self._flight(visitor, group)
        if flight.leader == job:
            flight.solve_ms += _WEIGHT * (now_ms - flight.since - flight.solve_ms)
            self._end(flight)
        flight.opened = 0
        known = self._visitors[visitor]
        known.challenges = 0
        if not opens:
            self._settle(group, flight, Grace.NONE, now_ms)
        grace = self._grace(group, flight, now_ms)
        if grace is Grace.UNKNOWN and flight.followers:
            flight.kept_until, flight.tester = now_ms + int(self._policy.kept_s * 1000), None
        return opens and grace is not Grace.NONE

    def failed(self, job: JobName) -> Visitor | None:
        """End the lease of a job whose solve brought nothing, and return for whom it was."""
        led = self._leads.get(job)
        if led is None:
            return None
        visitor, group = led
        self._end(self._flight(visitor, group))
        return visitor

    def leases(self, visitor: Visitor, now_ms: int) -> tuple[Lease, ...]:
        """Return the leases for a visitor that run."""
        known = self._visitors.get(visitor)
        if known is None:
            return ()
        return tuple(
            Lease(group, flight.leader, flight.until - now_ms)
            for group, flight in known.flights.items()
            if flight.leader is not None and flight.until > now_ms
        )

    def forget(self, belongs: Callable[[str], bool]) -> None:
        """Forget all that is known of those sites."""
        for visitor in [visitor for visitor in self._visitors if belongs(visitor[0])]:
            self._remove(visitor)

    # -- inside ---------------------------------------------------------------------------------------

    def _flight(self, visitor: Visitor, group: str) -> _Flight:
        known = self._visitors.get(visitor)
        if known is None:
            known = self._visitors[visitor] = _Visitor()
            self._forget_oldest()
        flight = known.flights.get(group)
        if flight is None:
            flight = known.flights[group] = _Flight(self._policy.usual_s * 1000)
        return flight

    def _lead(self, visitor: Visitor, group: str, job: JobName, now_ms: int, until_ms: int) -> None:
        flight = self._flight(visitor, group)
        if flight.leader is not None and flight.leader != job:
            self._leads.pop(flight.leader, None)
        flight.leader, flight.since, flight.until = job, now_ms, until_ms
        self._leads[job] = (visitor, group)

    def _end(self, flight: _Flight) -> None:
        if flight.leader is not None:
            self._leads.pop(flight.leader, None)
        flight.leader = None

    def _join(self, group: str, flight: _Flight, job: JobName, now_ms: int) -> None:
        """Remember a job that the site kept out, for as long as nobody knows what a solve opens."""
        unknown = self._grace(group, flight, now_ms) is Grace.UNKNOWN
        if unknown and len(flight.followers) < self._policy.followers:
            flight.followers.add(job)

    @staticmethod
    def _grace(group: str, flight: _Flight, now_ms: int) -> Grace:
        if group != TOKEN:
            return Grace.GRANTED
        return flight.grace if flight.known_until > now_ms else Grace.UNKNOWN

    def _tested(self, group: str, flight: _Flight, job: JobName, now_ms: int, *, granted: bool) -> None:
        """Learn from a job that is known to be kept out what the session opens to it.

        That it opens nothing is only known while nobody else used it.
        """
        if job not in flight.followers or self._grace(group, flight, now_ms) is not Grace.UNKNOWN:
            return
        if granted:
            self._settle(group, flight, Grace.GRANTED, now_ms)
        elif flight.kept_until > now_ms:
            self._settle(group, flight, Grace.NONE, now_ms)

    def _settle(self, group: str, flight: _Flight, grace: Grace, now_ms: int) -> None:
        if group != TOKEN:
            return
        flight.grace, flight.known_until = grace, now_ms + int(self._policy.known_s * 1000)
        flight.followers.clear()
        flight.kept_until, flight.tester = 0, None

    def _turn_s(self, group: str, flight: _Flight, now_ms: int, age_s: float) -> float:
        """Return when it is somebody's turn: after the solve, and after those whom it opens to before him.

        It is a guess, so nobody is sent away for longer than twice what he has waited already.
        """
        late_ms = now_ms - flight.since
        expected = max(flight.since + flight.solve_ms, now_ms + late_ms / 2)
        granted = group == TOKEN and self._grace(group, flight, now_ms) is Grace.GRANTED
        slot = max(expected, flight.booked)
        if granted:
            flight.booked = min(slot + flight.solve_ms / max(1.0, flight.each_opens), now_ms + _FURTHEST_MS)
        patience_ms = max(_LEAST_PATIENCE_MS, 2000 * age_s)
        return max(_SHORTEST_MS, min(slot - now_ms, patience_ms)) / 1000

    def _forget_oldest(self) -> None:
        while len(self._visitors) > self._policy.visitors:
            self._remove(next(iter(self._visitors)))

    def _remove(self, visitor: Visitor) -> None:
        for flight in self._visitors.pop(visitor).flights.values():
            self._end(flight)
