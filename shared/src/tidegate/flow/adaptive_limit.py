"""How many calls a remote system gets at once, found out from how it answers. Pure.

What: calls that begin in the same ``interval_s`` are a cohort, judged together once most have ended; where
they are too few, later ones join them until they can be judged. The limit rises only where it was reached
and the cohort was fast; it falls where calls were dropped or slow; between those marks it stays, and that
dead band keeps it from swinging. Fast and slow are ratios of the median to what each kind of call takes
unhurried.
Why so:
- A cohort begins after the last change: earlier calls tell of another limit, and listening to them is how
  such loops overshoot. It is judged as a whole, because those that end first are the fast ones.
- Under load the unhurried time is never learnt upwards, or a queue at the other side would slowly become
  the norm. Where the limit was halved and calls are as slow as before, the slowness is not ours: then the
  new time is taken over and the limit goes back.
- After an outage (nothing but drops) the limit goes back to where it was last healthy. Climbing from the
  floor takes minutes, and the outage has said nothing about how much the other side can take.
Rejected: a windowed minimum for the unhurried time (one lucky call in a noisy thousand sets it) and its
cure, regular dips to measure it; smoothing by a moving average, which reacts late and lets drops that come
by the hundred outweigh calls that take their time.
"""

import math
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError

# The unhurried time follows faster calls quickly, slower ones slowly.
_LEARN_DOWN = 0.3
_LEARN_UP = 0.1
# One step down is at least the first and at most the second.
_LEAST_CUT = 0.9
_MOST_CUT = 0.5
# One step up, until the first cohort that is not fast; from then on it is the square root of the limit.
_FIRST_RISES = 1.5
# A cohort is judged when this part of it has ended, and takes no more members than this.
_RIPE = 0.75
_MOST_MEMBERS = 256
# Times are compared as ratios; a clock may say that a call took none.
_LEAST_TOOK_S = 0.001
# Half the calls and still this much of the slowness: not ours.
_UNMOVED = 0.75


class LimitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and marks; ``initial`` None begins at the maximum. Raises ConfigurationError.

    ``fast`` and ``slow`` are ratios to the unhurried time, ``errors_low`` and ``errors_high`` shares of
    dropped calls: below the first of each it may rise, above the second it falls.
    """

    maximum: int = 50
    minimum: int = 1
    initial: int | None = None
    interval_s: float = 10.0
    least_samples: int = 10
    fast: float = 1.2
    slow: float = 1.5
    errors_low: float = 0.1
    errors_high: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges."""
        initial = self.maximum if self.initial is None else self.initial
        if not 1 <= self.minimum <= initial <= self.maximum:
            raise ConfigurationError(
                f"a limit goes from {self.minimum} to {self.maximum} and begins at {initial}: out of order"
            )
        if not (math.isfinite(self.interval_s) and self.interval_s > 0 and self.least_samples >= 1):
            raise ConfigurationError("a limit needs an interval above 0 and at least one sample")
        if not 1 < self.fast < self.slow < math.inf:
            raise ConfigurationError(f"1 < fast ({self.fast}) < slow ({self.slow}) must hold")
        if not 0 <= self.errors_low <= self.errors_high < 1:
            raise ConfigurationError(f"errors must go up: {self.errors_low}, {self.errors_high}, below 1")


class Ending(StrEnum):
    """How a call ended, as far as the other side's strength is concerned.

    SUCCESS took its time and is measured. IGNORED says nothing (cancelled, never sent, a bad request).
    DROPPED was refused for want of capacity, lost or timed out.
    """

    SUCCESS = "success"
    IGNORED = "ignored"
    DROPPED = "dropped"


class Why(StrEnum):
    """Why the limit changed."""

    FULL_AND_FAST = "full_and_fast"
    DROPPED = "dropped"
    SLOW = "slow"
    SLOW_ANYWAY = "slow_anyway"
    OUTAGE_OVER = "outage_over"


class LimitChange(msgspec.Struct, frozen=True, kw_only=True):
    """The limit went from ``before`` to ``after``, ``slowness`` and ``dropped`` being what was seen."""

    before: int
    after: int
    why: Why
    slowness: float = 1.0
    dropped: float = 0.0


class Place(msgspec.Struct, frozen=True):
    """Leave to have one call in flight. Give it back with ``release``."""

    number: int
    cohort: int
    kind: str


class _Cohort:
    """The calls that began in one interval, by kind: how many, and what those that ended took (s)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.began: float | None = None
        self.joined: dict[str, int] = {}
        self.took: dict[str, list[float]] = {}
        self.dropped = 0
        self.full = False

    @property
    def members(self) -> int:
        return sum(self.joined.values())

    @property
    def worked(self) -> int:
        return sum(len(took) for took in self.took.values())

    def join(self, kind: str, now: float, interval_s: float, least: int) -> bool:
        if self.began is None:
            self.began = now
        members = self.members
        # Too few to be judged, it stays open: closed, it would never end, and the limit never change again.
        if members >= _MOST_MEMBERS or (members >= least and now - self.began > interval_s):
            return False
        self.joined[kind] = self.joined.get(kind, 0) + 1
        return True

    def medians(self) -> dict[str, float]:
        """Return each kind's median; those still out are longer than all, so it may not be known yet."""
        found = {}
        for kind, took in self.took.items():
            middle = self.joined[kind] // 2
            if middle < len(took):
                found[kind] = sorted(took)[middle]
        return found

    def slowness(self, usual_s: dict[str, float]) -> float:
        """Return the median ratio to the unhurried times; a kind that has none yet counts as unhurried."""
        ratios = sorted(
            one / usual_s[kind] if kind in usual_s else 1.0
            for kind, took in self.took.items()
            for one in took
        )
        middle = (self.members - self.dropped) // 2
        return ratios[min(middle, len(ratios) - 1)] if ratios else 1.0


class AdaptiveLimit:
    """The limit and what is in flight. ``now`` is monotonic seconds."""

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._level = float(policy.maximum if policy.initial is None else policy.initial)
        self._out: set[int] = set()
        self._number = 0
        self._cohort = _Cohort(1)
        self._usual_s: dict[str, float] = {}
        self._healthy = self._level
        self._outage = False
        self._seeking = True
        self._slow_from: tuple[float, float] | None = None

    @property
    def limit(self) -> int:
        """How many calls may be in flight."""
        return int(self._level)

    @property
    def in_flight(self) -> int:
        """How many are; more than the limit for a while after it fell."""
        return len(self._out)

    @property
    def _least(self) -> int:
        """How many calls a cohort must have to be judged."""
        return min(self._policy.least_samples, 2 * self.limit, _MOST_MEMBERS)

    def acquire(self, now: float, kind: str = "") -> Place | None:
        """Take a place, None where there is none.

        ``kind`` groups calls that take equally long; the set of kinds must be small.
        """
        cohort = self._cohort
        if self.in_flight >= self.limit:
            cohort.full = True
            return None
        self._number += 1
        self._out.add(self._number)
        cohort.full = cohort.full or self.in_flight >= self.limit
        joined = cohort.join(kind, now, self._policy.interval_s, self._least)
        return Place(self._number, cohort.number if joined else 0, kind)

    def release(self, place: Place, ending: Ending, now: float, took_s: float = 0.0) -> LimitChange | None:
        """Give a place back and say how its call ended; ``took_s`` is what a success took.

        Return the change, if this ending led to one. Raises IllegalTransitionError for a place that was
        given back before or never given.
        """
        if place.number not in self._out:
            raise IllegalTransitionError(f"place {place.number} was given back before, or never given")
        self._out.discard(place.number)
        cohort = self._cohort
        if place.cohort == cohort.number:
            if ending is Ending.IGNORED:
                cohort.joined[place.kind] -= 1
            elif ending is Ending.DROPPED:
                cohort.dropped += 1
            else:
                if self._outage:
                    return self.recovered()
                cohort.took.setdefault(place.kind, []).append(max(took_s, _LEAST_TOOK_S))
        return self._judge(now)

    def recovered(self) -> LimitChange | None:
        """Go back to the last healthy limit: the outage is over (a breaker closed, say)."""
        self._outage = False
        self._slow_from = None
        # Whatever is still out was sent into the outage.
        self._next_cohort()
        return self._move(max(self._level, self._healthy), Why.OUTAGE_OVER)

    def _judge(self, now: float) -> LimitChange | None:
        policy, cohort = self._policy, self._cohort
        members = cohort.members
        if cohort.began is None or now - cohort.began < policy.interval_s or members < self._least:
            return None
        dropped = cohort.dropped / members
        failing = dropped > policy.errors_high
        if not failing and cohort.worked + cohort.dropped < _RIPE * members:
            return None
        slowness = cohort.slowness(self._usual_s)
        self._next_cohort()
        self._seeking = self._seeking and not failing and slowness <= policy.fast
        if failing:
            self._outage = not cohort.worked
            self._slow_from = None
            # Refused calls end at once, so what is in flight now is what the other side carries.
            carried = min(_LEAST_CUT * self._level, max(_MOST_CUT * self._level, float(self.in_flight)))
            return self._move(carried, Why.DROPPED, slowness, dropped)
        if slowness > policy.slow:
            return self._ease(cohort, slowness, dropped)
        self._slow_from = None
        self._healthy = self._level
        self._learn(cohort, slowness)
        if cohort.full and slowness <= policy.fast and dropped <= policy.errors_low:
            step = self._level * (_FIRST_RISES - 1) if self._seeking else math.sqrt(self._level)
            raised = self._level + max(1.0, step)
            return self._move(raised, Why.FULL_AND_FAST, slowness, dropped)
        return None

    def _ease(self, cohort: _Cohort, slowness: float, dropped: float) -> LimitChange | None:
        """Come down because calls are slow, as far as would make them fast if it is our load."""
        if self._slow_from is None:
            self._slow_from = (self._level, slowness)
        from_level, from_slowness = self._slow_from
        if self._level <= max(from_level * _MOST_CUT, self._policy.minimum):
            if slowness > from_slowness * _UNMOVED:
                self._usual_s.update(cohort.medians())
                self._slow_from = None
                return self._move(from_level, Why.SLOW_ANYWAY, slowness, dropped)
            self._slow_from = (self._level, slowness)
        cut = min(_LEAST_CUT, max(_MOST_CUT, self._policy.fast / slowness))
        return self._move(self._level * cut, Why.SLOW, slowness, dropped)

    def _learn(self, cohort: _Cohort, slowness: float) -> None:
        unhurried = not cohort.full or slowness <= (1 + self._policy.fast) / 2
        for kind, median_s in cohort.medians().items():
            usual_s = self._usual_s.setdefault(kind, median_s)
            if median_s < usual_s:
                self._usual_s[kind] += _LEARN_DOWN * (median_s - usual_s)
            elif unhurried:
                self._usual_s[kind] += _LEARN_UP * (median_s - usual_s)

    def _move(
        self, level: float, why: Why, slowness: float = 1.0, dropped: float = 0.0
    ) -> LimitChange | None:
        before = self.limit
        self._level = min(max(level, float(self._policy.minimum)), float(self._policy.maximum))
        if self.limit == before:
            return None
        return LimitChange(before=before, after=self.limit, why=why, slowness=slowness, dropped=dropped)

    def _next_cohort(self) -> None:
        self._cohort = _Cohort(self._cohort.number + 1)
