"""When a site's turns are, and which of them are taken already. Pure; the state of one site.

What: a site may be asked ``per_second`` times a second. Who has to wait is given a turn of his own (a slot):
the first free one. Jobs come to their slots from delay topics, never early; so what is booked comes to the
site one by one, however long the queue is, and nobody comes round again and again in vain (delivery.md T3).

Why so: newcomers book nine tenths of the turns, each lane one after the other. The last tenth is for those
who came and did not get their turn, because the site was slower than thought, or something was down: theirs
is the next one of that tenth, not the end of a queue that may be days long. A lane's queue is its own, so ten
urgent jobs do not stand behind a million others; where two lanes book the same turn, who loses it goes on in
the tenth, and goes first when he is back.

A slot by a limit of requests a second is certain: it cannot come sooner. A slot by the site's own speed, or
by the pace that it was slowed to (``site_pace``), is a guess, which one slow minute spoils, so nobody is
sent away on its account for longer than twice what he has waited already, and he asks again then. A booking
that nobody claims any more, because the jobs have ended elsewhere, is no certainty either, and is forgotten
when newcomers had thirty turns in a row.

Rejected: one slot after the other with nothing kept free. One second's delay then makes every later job
miss its turn, and each of them goes to the end of the queue.
"""

import math

import msgspec
from tidegate.consume import delays
from tidegate.errors import ConfigurationError
from tidegate.records import Lane
from tidegate.topics import DELAYS

from tidegate_fetcher.site_pace import Pace

_LANES = tuple(Lane)
_KEPT_FREE = 0.1
_FIRST_GUESS_S = 0.1
_WEIGHT = 0.2
# The shortest wait that a delay topic gives, with its jitter.
_SHORTEST_S = 2.5
_LEAST_PATIENCE_S = 60.0
# Who is due comes within so many seconds; after that, turns that newcomers have are counted.
_GRACE_S = 5.0
_UNCLAIMED_TURNS = 30


class SiteRule(msgspec.Struct, frozen=True, kw_only=True):
    """How often a site may be asked, by one fetcher. Raises ConfigurationError.

    ``concurrency`` is requests at once; ``per_second`` requests begun a second in the long run, None without
    such a limit; ``burst`` how many of them at once after a rest.
    """

    concurrency: int
    per_second: float | None = None
    burst: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.concurrency < 1 or self.burst < 1:
            raise ConfigurationError("a site's concurrency and burst must be 1 or more")
        if self.per_second is not None and not 0 < self.per_second < math.inf:
            raise ConfigurationError(f"a site's rate is {self.per_second} a second, it must be above 0")

    @property
    def interval_s(self) -> float:
        """Seconds from one turn to the next; 0 without a limit."""
        return 0.0 if self.per_second is None else 1 / self.per_second


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: his lane, how often he came before, how old he is, and what is left of his deadline."""

    lane: Lane = Lane.NORMAL
    came_before: int = 0
    age_s: float = 0.0
    left_s: float = math.inf

    @property
    def rank(self) -> int:
        """Who goes first of those who wait in hand: he who came twice in vain, then lane by lane."""
        return 0 if self.came_before > 1 else 1 + _LANES.index(self.lane)


class Later(msgspec.Struct, frozen=True):
    """Come back in ``delay_s`` seconds."""

    delay_s: float


class Never(msgspec.Struct, frozen=True):
    """The next free slot is in ``delay_s`` seconds, and that is after the job's deadline. None was booked."""

    delay_s: float


class Slots:
    """One site's turns. ``now`` is monotonic seconds everywhere."""

    __slots__ = ("_again", "_booked", "_claimed_at", "_strangers", "_turn_at", "pace", "service_s")

    def __init__(self, now: float) -> None:
        self.service_s = _FIRST_GUESS_S
        self.pace = Pace()
        self._turn_at = now
        self._booked = [now] * len(_LANES)
        self._again = now
        self._claimed_at = now
        self._strangers = 0

    def wait_s(self, rule: SiteRule, now: float, ahead: int = 0) -> float:
        """Return the seconds until the slowest of its limits lets one more go, behind ``ahead``."""
        pace = self.pace
        interval_s, burst, held_s = rule.interval_s, rule.burst, pace.not_before - now
        if pace.interval_s > interval_s:
            interval_s, burst = pace.interval_s, 1
        turn_s = self._turn_at - now - (burst - 1 - ahead) * interval_s if interval_s else 0.0
        return max(0.0, turn_s, held_s + ahead * interval_s)

    def is_booked(self, lane: Lane, until: float) -> bool:
        """Say whether the lane's slots are taken beyond a moment."""
        return self._booked[_LANES.index(lane)] > until

    def came(self, claim: Claim, now: float) -> None:
        """Take note that somebody asks."""
        if claim.came_before:
            self._claimed_at = now
            self._strangers = 0

    def take(self, rule: SiteRule, claim: Claim, now: float) -> None:
        """Take the turn of this moment."""
        self._turn_at = max(self._turn_at, now) + max(rule.interval_s, self.pace.interval_s)
        if claim.came_before or now - self._claimed_at <= max(_GRACE_S, 3 * rule.interval_s):
            return
        self._strangers += 1
        if self._strangers > _UNCLAIMED_TURNS + rule.burst:
            self._booked = [now] * len(_LANES)
            self._again = now
            self._strangers = 0

    def book(
        self, rule: SiteRule, claim: Claim, now: float, *, guess_s: float, expected_s: float
    ) -> Later | Never:
        """Book a slot, in ``expected_s`` at the earliest; ``guess_s`` is the site's own pace, a request."""
        each_s = max(rule.interval_s, guess_s)
        lane = _LANES.index(claim.lane)
        # A hold is no guess: nobody is sent here before its end.
        open_at = max(now, self.pace.not_before)
        if open_at - now > claim.left_s:
            return Never(open_at - now)
        earliest = now + max(expected_s, _SHORTEST_S)
        slot, again = max(earliest, self._booked[lane]), max(earliest, self._again)
        patience_s = max(_LEAST_PATIENCE_S, 2 * claim.age_s)
        from_again = (
            claim.came_before > 0
            and again < slot
            and (again - now <= patience_s / _KEPT_FREE or slot - now > claim.left_s)
        )
        if from_again:
            slot = again
        if not self._is_certain(rule, guess_s, now):
            # One delay class, so that he asks again as soon as it has ended.
            most_s = DELAYS[delays.topic_for(min(patience_s, claim.left_s / 2))]
            slot = min(slot, open_at + max(_SHORTEST_S, most_s))
        elif slot - now > claim.left_s:
            return Never(slot - now)
        if self._booked[lane] <= now:
            self._claimed_at = max(self._claimed_at, slot)  # nobody comes before the first slot
        if from_again:
            self._again = max(self._again, slot + each_s / _KEPT_FREE)
        else:
            # Of a guess nothing is kept free: who misses his turn there is served when the next one is late.
            share = 1.0 if rule.per_second is None else 1 - _KEPT_FREE
            self._booked[lane] = max(self._booked[lane], slot + each_s / share)
        return Later(slot - now)

    def learn(self, rule: SiteRule, lane: Lane, slot: float, now: float) -> None:
        """Take note of a slot that somebody booked before us; no certainty until somebody claims his."""
        number = _LANES.index(lane)
        self._booked[number] = max(self._booked[number], slot + rule.interval_s / (1 - _KEPT_FREE))
        self._claimed_at = min(self._claimed_at, now - 10 * rule.interval_s - _LEAST_PATIENCE_S - 1)

    def served(self, seconds: float) -> None:
        """Take note of how long a request took."""
        self.service_s += _WEIGHT * (seconds - self.service_s)

    def _is_certain(self, rule: SiteRule, guess_s: float, now: float) -> bool:
        """Say whether a slot is by the limit alone, and those before it still come to claim theirs."""
        if rule.per_second is None or guess_s > rule.interval_s:
            return False
        return now - self._claimed_at <= max(_LEAST_PATIENCE_S, 10 * rule.interval_s)
