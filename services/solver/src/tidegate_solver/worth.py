"""Is it still worth buying? Pure.

A token that comes after the request's life is money lost, so a task is bought only if the request's age,
the time that a solve usually takes and a margin to hand the token in fit into its lifetime (C4).
"""

from collections import deque

from tidegate.records import ChallengeKind

# 95 % of solves take less, until it is measured; by what vendors and their clients allow for.
USUAL_S: dict[ChallengeKind, float] = {
    ChallengeKind.RECAPTCHA_V2: 45.0,
    ChallengeKind.RECAPTCHA_V2_ENTERPRISE: 45.0,
    ChallengeKind.RECAPTCHA_V3: 30.0,
    ChallengeKind.RECAPTCHA_V3_ENTERPRISE: 30.0,
    ChallengeKind.HCAPTCHA: 45.0,
    ChallengeKind.TURNSTILE: 25.0,
    ChallengeKind.CLOUDFLARE_CHALLENGE: 30.0,
    ChallengeKind.GEETEST_V3: 30.0,
    ChallengeKind.GEETEST_V4: 30.0,
    ChallengeKind.FUNCAPTCHA: 30.0,
    ChallengeKind.AWS_WAF: 30.0,
    ChallengeKind.DATADOME: 30.0,
    ChallengeKind.IMAGE: 15.0,
}


def time_to_wait_s(*, age_s: float, usual_s: float, margin_s: float, lifetime_s: float) -> float:
    """Return how long a request may still wait before it is bought; not above 0 means not at all."""
    return lifetime_s - margin_s - usual_s - age_s


class SolveTimes:
    """The 95th percentile of one kind's solve times at one provider, in seconds.

    Smoothed by a window of the last ``_WINDOW`` solves. Samples age away: when a slow hour has stopped all
    buying, nothing new is measured, and without the default coming back nothing would ever be bought again.
    """

    _WINDOW = 200
    _LEAST = 20
    _FRESH_S = 600.0

    def __init__(self, default_s: float) -> None:
        self._default_s = default_s
        self._samples: deque[tuple[float, float]] = deque(maxlen=self._WINDOW)
        self._p95_s: float | None = None

    def observe(self, took_s: float, now_s: float) -> None:
        """Take the time that one task took, or the limit at which it was given up."""
        self._samples.append((now_s, took_s))
        self._p95_s = None

    def p95_s(self, now_s: float) -> float:
        """Return the percentile, or the default while fewer than 20 samples are fresh."""
        while self._samples and self._samples[0][0] + self._FRESH_S < now_s:
            self._samples.popleft()
            self._p95_s = None
        if len(self._samples) < self._LEAST:
            return self._default_s
        if self._p95_s is None:  # whoever waits asks much more often than a task ends
            ordered = sorted(took for _, took in self._samples)
            self._p95_s = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return self._p95_s
