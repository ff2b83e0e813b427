"""How many workers a queue of bounded length wants. Pure.

What: every ``interval_s``, on depth and errors smoothed over ``smoothing_s``: two more where the queue is
deep and errors are rare, one fewer where it is nearly empty or errors are many, else as many as there are.
Up in twos and down in ones, because a queue that fills costs more than a worker that idles.
Why so: where many answers are challenges more workers only meet more challenges; what is wanted then is
other proxies, and the number stays.
"""

import math
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError


class ScalingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and marks; depths in records, shares 0 to 1. Raises ConfigurationError.

    ``window_low`` and ``window_high`` are how many records in hand a worker is good for.
    """

    least: int = 2
    most: int = 20
    queue: int = 50
    deep: float = 30
    shallow: float = 5
    errors_low: float = 0.10
    errors_high: float = 0.20
    captcha_rate: float = 0.30
    up: int = 2
    down: int = 1
    interval_s: float = 10.0
    smoothing_s: float = 30.0
    window_low: int = 2
    window_high: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (1 <= self.least <= self.most and self.up >= 1 and self.down >= 1):
            raise ConfigurationError(f"workers from {self.least} to {self.most}, +{self.up}, -{self.down}")
        if not 0 <= self.shallow < self.deep < self.queue:
            raise ConfigurationError(f"depths must go up: {self.shallow}, {self.deep}, {self.queue}")
        if not (0 <= self.errors_low <= self.errors_high <= 1 and 0 <= self.captcha_rate <= 1):
            raise ConfigurationError(f"shares of errors: {self.errors_low}, {self.errors_high}")
        if not (0 < self.interval_s < math.inf and 0 < self.smoothing_s < math.inf):
            raise ConfigurationError("the interval and the smoothing of a scaling must be above 0")
        if not 1 <= self.window_low <= self.window_high:
            raise ConfigurationError(f"a window of {self.window_low} to {self.window_high} for a worker")

    def window(self, workers: int, wanted: int) -> int:
        """Return the in-flight window nearest to ``wanted`` that suits that many workers."""
        return min(max(wanted, self.window_low * workers), self.window_high * workers)


class Advice(StrEnum):
    """What was decided, and why."""

    ADD_DEEP = "add_deep"
    REMOVE_SHALLOW = "remove_shallow"
    REMOVE_ERRORS = "remove_errors"
    STAY = "stay"
    STAY_CAPTCHAS = "stay_captchas"


class WorkerScaling:
    """Begins with the least. ``now`` is monotonic seconds."""

    def __init__(self, policy: ScalingPolicy, now: float) -> None:
        self._policy = policy
        self._workers = policy.least
        self._adjusted_at = now
        self._read_at = now
        self._smooth: tuple[float, float, float] | None = None

    @property
    def workers(self) -> int:
        """How many there should be."""
        return self._workers

    def observe(self, now: float, *, depth: float, errors: float, captchas: float = 0.0) -> Advice | None:
        """Take a reading: queue depth, shares of errors and of challenges. Return a decision when due.

        Raises IllegalTransitionError where time runs backwards.
        """
        if now < self._read_at:
            raise IllegalTransitionError(f"time went from {self._read_at} to {now}")
        weight = 1 - math.exp(-(now - self._read_at) / self._policy.smoothing_s)
        self._read_at = now
        read = (depth, errors, captchas)
        old = read if self._smooth is None else self._smooth
        mean_depth, mean_errors, mean_captchas = (
            was + weight * (is_now - was) for was, is_now in zip(old, read, strict=True)
        )
        self._smooth = (mean_depth, mean_errors, mean_captchas)
        if now - self._adjusted_at < self._policy.interval_s:
            return None
        self._adjusted_at = now
        advice = self._decide(mean_depth, mean_errors, mean_captchas)
        self._workers = self._bounded(advice)
        return advice

    def _decide(self, depth: float, errors: float, captchas: float) -> Advice:
        policy = self._policy
        if errors > policy.errors_high:
            return Advice.REMOVE_ERRORS
        if depth < policy.shallow:
            return Advice.REMOVE_SHALLOW
        if depth > policy.deep and errors < policy.errors_low:
            return Advice.STAY_CAPTCHAS if captchas > policy.captcha_rate else Advice.ADD_DEEP
        return Advice.STAY

    def _bounded(self, advice: Advice) -> int:
        step = 0
        if advice is Advice.ADD_DEEP:
            step = self._policy.up
        elif advice in (Advice.REMOVE_SHALLOW, Advice.REMOVE_ERRORS):
            step = -self._policy.down
        return min(max(self._workers + step, self._policy.least), self._policy.most)
