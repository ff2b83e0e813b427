"""How many requests a site has at once, who waits in hand, and who comes back at a slot. Pure.

A job waits in hand only for as long as its site's queue is short; with more ahead of it than that it is
deferred to a slot of its own (``site_slots``), so that one slow site never fills the window (delivery.md T3).
Nobody who has not been here yet waits in hand while slots of his lane are booked: those who come back at
theirs go first.
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec
from tidegate.records import Lane

from tidegate_fetcher.site_pace import Answered, Change, PacePolicy
from tidegate_fetcher.site_slots import Claim, Later, Never, SiteRule, Slots

_RANKS = 1 + len(Lane)


class Go(msgspec.Struct, frozen=True):
    """A turn is taken; give its place back with ``leave``."""


class Wait(msgspec.Struct, frozen=True):
    """Wait in hand: the job was added to the site's queue."""


class _Site(msgspec.Struct):
    """``waiting`` is jobs in hand by rank, ``started_sum`` the sum of the running ones' starts."""

    slots: Slots
    running: int = 0
    waiting: list[int] = msgspec.field(default_factory=lambda: [0] * _RANKS)
    started_sum: float = 0.0


class SiteLimits:
    """The state of all sites; of those with nothing in hand ``remembered``, the least recently used go first.

    ``rule_of`` says how often a site may be asked; ``wait_s`` is the longest wait in hand; without ``pace``
    sites are not slowed by their answers. ``now`` is monotonic seconds everywhere.
    """

    def __init__(
        self,
        rule_of: Callable[[str], SiteRule],
        *,
        wait_s: float,
        pace: PacePolicy | None = None,
        remembered: int = 10_000,
    ) -> None:
        self._rule_of = rule_of
        self._wait_s = wait_s
        self._pace = pace
        self._remembered = remembered
        self._sites: OrderedDict[str, _Site] = OrderedDict()

    def ask(self, site: str, claim: Claim, now: float) -> Go | Wait | Later | Never:
        """Ask for a turn."""
        rule, load = self._rule_of(site), self._of(site, now)
        answer = self._judge(load, rule, claim, now)
        if isinstance(answer, Go):
            self._start(load, rule, claim, now)
        elif isinstance(answer, Wait):
            load.waiting[claim.rank] += 1
        return answer

    def turn_away(self, site: str, claim: Claim, now: float, let_in: int = 0) -> Later | Never | None:
        """Book a slot where ``ask`` would; None where it has a turn, or lets the job wait in hand.

        ``let_in`` are those who were told so before it and have not asked yet.
        """
        answer = self._judge(self._of(site, now), self._rule_of(site), claim, now, let_in)
        return None if isinstance(answer, Go | Wait) else answer

    def _judge(
        self, load: _Site, rule: SiteRule, claim: Claim, now: float, let_in: int = 0
    ) -> Go | Wait | Later | Never:
        """Say what becomes of a claim. Only a slot is booked; a turn or a place in the queue is not taken."""
        load.slots.came(claim, now)
        waiting = sum(load.waiting[: claim.rank + 1])
        free = not waiting and load.running + let_in < rule.concurrency
        ahead = waiting + let_in
        wait_s = load.slots.wait_s(rule, now, ahead)
        if free and wait_s <= 0:
            return Go()
        guess_s = _pace_s(load, rule, now)
        in_line_s = 0.0 if free else (ahead + 1) * guess_s
        expected_s = max(in_line_s, wait_s)
        behind = not claim.came_before and load.slots.is_booked(claim.lane, now + expected_s)
        if expected_s <= self._wait_s and not behind:
            return Wait()
        return load.slots.book(rule, claim, now, guess_s=guess_s, expected_s=expected_s)

    def promote(self, site: str, claim: Claim, now: float) -> float | None:
        """Let a waiting job go: 0 when it does, else the seconds until a turn; None: no place is free."""
        rule, load = self._rule_of(site), self._of(site, now)
        if load.running >= rule.concurrency:
            return None
        wait_s = load.slots.wait_s(rule, now)
        if wait_s <= 0:
            load.waiting[claim.rank] -= 1
            self._start(load, rule, claim, now)
        return wait_s

    def give_up(self, site: str, claim: Claim, now: float) -> Later | Never:
        """Take a job that waited too long out of the queue and book it a slot."""
        rule, load = self._rule_of(site), self._of(site, now)
        load.waiting[claim.rank] -= 1
        ahead, guess_s = sum(load.waiting[: claim.rank + 1]), _pace_s(load, rule, now)
        expected_s = max((ahead + 1) * guess_s, load.slots.wait_s(rule, now, ahead))
        return load.slots.book(rule, claim, now, guess_s=guess_s, expected_s=expected_s)

    def abandon(self, site: str, claim: Claim, now: float) -> None:
        """Take a waiting job out of the queue without a slot: it was cancelled."""
        self._of(site, now).waiting[claim.rank] -= 1

    def leave(self, site: str, started: float, now: float) -> None:
        """Give a place back that was taken at ``started``."""
        load = self._of(site, now)
        load.running -= 1
        load.started_sum = load.started_sum - started if load.running else 0.0
        load.slots.served(now - started)
        self._forget()

    def answered(self, site: str, answer: Answered, now: float) -> Change | None:
        """Take note of a site's answer: it may slow the site, hold it, or let it go."""
        if self._pace is None:
            return None
        load = self._of(site, now)
        if load.slots.pace.is_quick_page(answer):
            return None
        rule = self._rule_of(site)
        own_s = max(rule.interval_s, load.slots.service_s / rule.concurrency)
        change = load.slots.pace.answered(self._pace, answer, own_s, now)
        self._forget()
        return change

    def learn(self, site: str, lane: Lane, slot: float, now: float) -> None:
        """Take note that a slot was booked by whoever had the site before us."""
        rule = self._rule_of(site)
        if rule.per_second is not None:
            self._of(site, now).slots.learn(rule, lane, slot, now)
            self._forget()

    def running(self, site: str) -> int:
        """Return how many requests of a site are running."""
        load = self._sites.get(site)
        return 0 if load is None else load.running

    def _of(self, site: str, now: float) -> _Site:
        load = self._sites.get(site)
        if load is None:
            load = self._sites[site] = _Site(Slots(now))
        else:
            self._sites.move_to_end(site)
        return load

    @staticmethod
    def _start(load: _Site, rule: SiteRule, claim: Claim, now: float) -> None:
        load.running += 1
        load.started_sum += now
        load.slots.take(rule, claim, now)

    def _forget(self) -> None:
        while len(self._sites) > self._remembered:
            site, load = next(iter(self._sites.items()))
            if load.running or any(load.waiting):
                self._sites.move_to_end(site)
                return
            del self._sites[site]


def _pace_s(load: _Site, rule: SiteRule, now: float) -> float:
    """Return seconds a request. Those that run count by their age: a site that hangs shows at once."""
    age = now - load.started_sum / load.running if load.running else 0.0
    return max(max(load.slots.service_s, age) / rule.concurrency, load.slots.pace.interval_s)
