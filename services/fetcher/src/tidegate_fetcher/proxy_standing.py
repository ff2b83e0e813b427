"""How one proxy stands: healthy, in quarantine, or on probation. Pure.

::

    healthy ──more than 5 failures, and more than half as many as successes──▶ quarantined
    quarantined ──its term is over──▶ probation: one request at a time
    probation ──3 answers──▶ healthy          probation ──1 failure──▶ quarantined, twice as long

What is old counts less: both counts are halved when they reach 200 together, so that a proxy that did well
for a day is not trusted for another one after it broke.
"""

from enum import StrEnum

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.proxies import Proxy

_FADES_AT = 200
_LONGEST_DOUBLING = 16


class ProxyOutcome(StrEnum):
    """How a request through a proxy ended.

    SUCCESS is an answer, CAPTCHA a challenge in its place. FAILURE is what may be the proxy's fault or the
    site's: a block, 429, silence. FAULT is certainly the proxy's: it cannot be reached, or turns us away.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    CAPTCHA = "captcha"
    FAULT = "fault"


class Standing(StrEnum):
    """Whether a proxy is used."""

    HEALTHY = "healthy"
    PROBATION = "probation"
    QUARANTINED = "quarantined"


class ProxyPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds. Raises ConfigurationError.

    A proxy rests ``cooldown_s`` where another one is cool. It goes into quarantine with more than
    ``failures`` failures that are more than ``share`` of its successes, first for ``quarantine_s``, each time
    for twice as long, up to ``quarantine_most_s``. It comes back for good after ``trials`` answers; a trial
    of which nobody reports is over after ``trial_s``.
    """

    cooldown_s: float = 2.0
    failures: int = 5
    share: float = 0.5
    quarantine_s: float = 60.0
    quarantine_most_s: float = 3600.0
    trials: int = 3
    trial_s: float = 150.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.cooldown_s < 0 or not 0 < self.quarantine_s <= self.quarantine_most_s:
            raise ConfigurationError("a proxy's quarantine must last, and its longest at least as long")
        if self.failures < 0 or self.share <= 0 or self.trials < 1 or self.trial_s <= 0:
            raise ConfigurationError("a proxy's health is counted in numbers above 0")


class Member:
    """One proxy of the pool, and what is known of it. ``used_at`` is monotonic seconds."""

    __slots__ = (
        "failures",
        "passed",
        "proxy",
        "standing",
        "subnet",
        "successes",
        "terms",
        "until",
        "used_at",
    )

    def __init__(self, proxy: Proxy, subnet: str) -> None:
        self.proxy = proxy
        self.subnet = subnet
        self.standing = Standing.HEALTHY
        self.used_at = float("-inf")
        self.successes = 0
        self.failures = 0
        self.terms = 0
        self.passed = 0
        self.until = 0.0

    def answered(self, policy: ProxyPolicy) -> bool:
        """Count an answer; return True where that ends the probation."""
        if self.standing is Standing.PROBATION:
            self.passed += 1
            if self.passed < policy.trials:
                return False
            self.standing = Standing.HEALTHY
            self.successes, self.failures = self.passed, 0
            return True
        if self.standing is Standing.HEALTHY:
            self.successes += 1
            self._fade()
            if self.successes > policy.failures:
                self.terms = 0
        return False

    def failed(self, policy: ProxyPolicy, now: float) -> bool:
        """Count a failure; return True where the proxy goes into quarantine for it."""
        if self.standing is Standing.QUARANTINED:
            return False
        if self.standing is Standing.HEALTHY:
            self.failures += 1
            self._fade()
            if self.failures <= policy.failures or self.failures <= policy.share * max(self.successes, 1):
                return False
        self.standing = Standing.QUARANTINED
        term_s = policy.quarantine_s * 2.0 ** min(self.terms, _LONGEST_DOUBLING)
        self.until = now + min(term_s, policy.quarantine_most_s)
        self.terms += 1
        return True

    def put_on_probation(self) -> None:
        """End the quarantine's term."""
        self.standing = Standing.PROBATION
        self.passed = 0

    def _fade(self) -> None:
        if self.successes + self.failures >= _FADES_AT:
            self.successes //= 2
            self.failures //= 2
