"""How often something may be done. Pure.

What: at most ``rate_per_s`` a second in the long run, and ``burst`` at once. A caller with patience is given
the moment of its turn instead of a refusal: turns are handed out one after the other, so that a hundred
callers who wait do not all wake up for one token.
Rejected: giving an unused turn back. Those behind it have their moments already, and two would fall on one.
"""

import math

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError


class BucketPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Turns a second, and how many at once after a rest. Raises ConfigurationError."""

    rate_per_s: float
    burst: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.rate_per_s) and self.rate_per_s > 0):
            raise ConfigurationError(f"a token bucket's rate is {self.rate_per_s}, it must be above 0")
        if not (math.isfinite(self.burst) and self.burst >= 1):
            raise ConfigurationError(f"a token bucket's burst is {self.burst}, it must be 1 or more")


class TokenBucket:
    """Full at first. ``now`` is monotonic seconds."""

    def __init__(self, policy: BucketPolicy, now: float) -> None:
        self._policy = policy
        self._tokens = policy.burst
        self._at = now

    def take(self, now: float, patience_s: float = 0.0) -> float | None:
        """Take a turn and return the seconds to wait for it; None where that is more than the patience.

        Nothing is taken with None. Raises IllegalTransitionError where time runs backwards.
        """
        if now < self._at:
            raise IllegalTransitionError(f"time went from {self._at} to {now}")
        policy = self._policy
        self._tokens = min(policy.burst, self._tokens + (now - self._at) * policy.rate_per_s)
        self._at = now
        wait_s = max(0.0, (1 - self._tokens) / policy.rate_per_s)
        if wait_s > patience_s:
            return None
        self._tokens -= 1
        return wait_s
