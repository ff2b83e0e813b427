"""The arithmetic of Kubernetes' horizontal pod autoscaler, and of KEDA's step between none and one. Pure.

As in `horizontal.go` of Kubernetes 1.36: a metric of type AverageValue, the tolerance, the stabilisation
windows over earlier recommendations, and the policies as limits on what changed in their period.
"""

import math
from collections import deque

from support.scaling_policy import Policy, Rule

TOLERANCE = 0.1
SYNC_S = 15.0


class Autoscaler:
    """The wanted replicas of one deployment, by the metric that the formula gives."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._least = max(1, policy.minimum)
        self.wanted = policy.minimum
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()
        self._active_at = 0.0

    def poll(self, now: float, metric: float) -> None:
        """KEDA's own loop: the first replica comes with activity and goes a while after the last of it."""
        active = metric > self._policy.activation
        if active:
            self._active_at = now
        if self._policy.minimum > 0:
            return
        if self.wanted == 0 and active:
            self.wanted = 1
        elif self.wanted > 0 and not active and now - self._active_at >= self._policy.cooldown_s:
            self.wanted = 0

    def sync(self, now: float, metric: float) -> None:
        """The autoscaler's loop. None are scaled to none by it, and it leaves none alone."""
        if self.wanted == 0:
            return
        target = self._recommend(metric)
        target = max(self._least, min(self._policy.maximum, self._stabilised(now, target)))
        target = self._limited(now, target)
        if target != self.wanted:
            self._changes.append((now, target - self.wanted))
            self.wanted = target

    def _recommend(self, metric: float) -> int:
        usage = metric / (self._policy.threshold * self.wanted)
        return self.wanted if abs(usage - 1) <= TOLERANCE else math.ceil(metric / self._policy.threshold)

    def _stabilised(self, now: float, target: int) -> int:
        up, down = self._policy.up.window_s, self._policy.down.window_s
        while self._recommended and now - self._recommended[0][0] >= max(up, down):
            self._recommended.popleft()
        highest = max([target, *(each for at, each in self._recommended if now - at < down)])
        lowest = min([target, *(each for at, each in self._recommended if now - at < up)])
        self._recommended.append((now, target))
        return min(max(self.wanted, lowest), highest)

    def _limited(self, now: float, target: int) -> int:
        if target > self.wanted:
            return min(target, max(self.wanted, self._start(now, self._policy.up) + self._policy.up.pods))
        if target < self.wanted:
            limit = self._start(now, self._policy.down) - self._policy.down.pods
            return max(target, min(self.wanted, limit))
        return target

    def _start(self, now: float, rule: Rule) -> int:
        """Return how many there were at the start of a policy's period."""
        longest = max(self._policy.up.period_s, self._policy.down.period_s)
        while self._changes and now - self._changes[0][0] > longest:
            self._changes.popleft()
        return self.wanted - sum(change for at, change in self._changes if now - at < rule.period_s)
