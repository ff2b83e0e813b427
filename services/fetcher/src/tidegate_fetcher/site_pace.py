"""How far a site is slowed down by its own answers, and until when it is left alone. Pure; one site's state.

What: a 429 doubles the time between two requests, once for all that were under way; so do three 503 in a
row, and five answers in a row that took more than three times what is usual. Every ten seconds without
trouble that time shrinks by a tenth, until it is no more than the site's usual pace. A Retry-After holds the
whole site, not only the job that it was told to.

Why so: who asked in vain has used up an attempt, so the others had better not find out the same way. All
limits are times between two requests, so the policy file's rate, the Crawl-delay, the monitor's word and
this one are compared, and the slowest holds. With one request at a time a slow answer is none of our doing,
so latency slows a site no further than that; and the usual time follows what is seen: a site that has become
slow for good is slowed for some eighty answers, not for ever. A section of a site that is broken is no site
that is: hence three 503. Answers to solutions, which wait for no turn, hold a site but tell nothing of its
pace.

Bounds: a site cannot hold itself for longer than ``hold_most_s`` in one answer, nor slow itself beyond
``slowest_s``. What is slowed is a guess about the site (``site_slots``): it ends no job.
"""

import math
from enum import StrEnum

import msgspec

_CUT = 2.0
_RECOVERY = 1.1
_STEP_S = 10.0
_SLOW_IN_A_ROW = 5
_IN_A_ROW = {429: 1, 503: 3}
_SLOW = 3.0
# Below a second nobody suffers, whatever is usual.
_LEAST_SLOW_S = 1.0
_USUAL_WEIGHT = 0.005


class PacePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The most seconds between two requests of a slowed site, and of one answer's Retry-After."""

    slowest_s: float = 30.0
    hold_most_s: float = 600.0


class Why(StrEnum):
    """Why a site's pace was changed."""

    TOO_MANY = "429"
    UNAVAILABLE = "503"
    LATENCY = "latency"
    RECOVERED = "recovered"


_REFUSALS = {429: Why.TOO_MANY, 503: Why.UNAVAILABLE}


class Answered(msgspec.Struct, frozen=True):
    """One answer of a site, no challenge: its status, the seconds it took, its Retry-After in seconds.

    ``in_turn``: it was asked in a turn of the site's, at the pace that is judged here.
    """

    status: int
    took_s: float
    after_s: float | None = None
    in_turn: bool = True


class Change(msgspec.Struct, frozen=True):
    """A site was slowed, deeper or for the first time, or let go again. ``hold_s`` is left of its hold."""

    why: Why
    interval_s: float
    hold_s: float


class Pace:
    """One site's. ``interval_s`` is the least time between two requests, 0 at full pace.

    ``not_before`` is the moment until which it is held; monotonic seconds everywhere.
    """

    __slots__ = ("_cut_at", "_refused", "_slow", "_stepped_at", "_usual_s", "interval_s", "not_before")

    def __init__(self) -> None:
        self.interval_s = 0.0
        self.not_before = -math.inf
        self._cut_at = -math.inf
        self._stepped_at = -math.inf
        self._usual_s: float | None = None
        self._slow = 0
        self._refused = 0

    def is_quick_page(self, answer: Answered) -> bool:
        """Take note of a page that changes nothing, the usual case; say whether the answer was one."""
        if answer.status >= 400 or answer.took_s > _LEAST_SLOW_S or self.interval_s:
            return False
        self._learn(answer.took_s)
        self._slow = self._refused = 0
        return True

    def answered(self, policy: PacePolicy, answer: Answered, own_s: float, now: float) -> Change | None:
        """Take note of an answer; ``own_s`` is the time between two requests at the site's usual pace."""
        # What was under way when the pace was cut tells nothing about the new one.
        is_news = answer.in_turn and now - answer.took_s >= self._cut_at
        refusal = _REFUSALS.get(answer.status)
        if refusal is None:
            return self._of_page(policy, answer, own_s, now) if is_news and answer.status < 400 else None
        begins = self.not_before <= now and bool(answer.after_s) and policy.hold_most_s > 0
        if answer.after_s is not None:
            self.not_before = max(self.not_before, now + min(answer.after_s, policy.hold_most_s))
        self._refused += is_news
        slowed = self._refused >= _IN_A_ROW[answer.status] and self._cut(policy.slowest_s, own_s, now)
        return self._change(refusal, now) if slowed or begins else None

    def _of_page(self, policy: PacePolicy, answer: Answered, own_s: float, now: float) -> Change | None:
        took_s = answer.took_s
        self._refused = 0
        usual_s = self._learn(took_s)
        if took_s > _LEAST_SLOW_S and took_s > _SLOW * usual_s:
            self._slow += 1
            slowed = self._slow >= _SLOW_IN_A_ROW and self._cut(min(took_s, policy.slowest_s), own_s, now)
            return self._change(Why.LATENCY, now) if slowed else None
        self._slow = 0
        if not self.interval_s or now - self._stepped_at < _STEP_S:
            return None
        self._stepped_at = now
        self.interval_s /= _RECOVERY
        if self.interval_s > own_s:
            return None
        self.interval_s = 0.0
        return self._change(Why.RECOVERED, now)

    def _learn(self, took_s: float) -> float:
        """Return what was usual before this answer."""
        usual_s = took_s if self._usual_s is None else self._usual_s
        self._usual_s = usual_s + _USUAL_WEIGHT * (took_s - usual_s)
        return usual_s

    def _cut(self, most_s: float, own_s: float, now: float) -> bool:
        """Double the time between two requests; say whether that made it longer."""
        before = max(self.interval_s, own_s)
        wanted = min(_CUT * before, most_s)
        self._cut_at = self._stepped_at = now
        self._slow = self._refused = 0
        if wanted <= before:
            return False
        self.interval_s = wanted
        return True

    def _change(self, why: Why, now: float) -> Change:
        return Change(why, self.interval_s, max(0.0, self.not_before - now))
