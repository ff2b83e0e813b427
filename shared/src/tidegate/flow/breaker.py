"""Whether a remote system is asked at all. Pure.

What: closed, everything passes; after ``failures`` in a row it is open and nothing passes for ``reset_s``;
then half-open: one probe passes, and its ending closes the breaker or opens it again.
Why so: every pass bears the epoch of the state that gave it. A call that began before the breaker opened and
ends after it proves nothing about now, and its ending changes nothing.
Rejected: a failure share over a window; with few calls it says little, and five in a row is what a person
understands in an event.

    closed ──failures in a row──▶ open ──reset_s, then the first who asks──▶ half-open
      ▲                            ▲                                           │  │
      └────────────────────────────┼───────────probe succeeded─────────────────┘  │
                                   └───────────probe failed───────────────────────┘
"""

import math
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Failures in a row that open it, seconds until a probe. Raises ConfigurationError."""

    failures: int = 5
    reset_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.failures < 1:
            raise ConfigurationError(f"a breaker opens after {self.failures} failures, it must be 1 or more")
        if not (math.isfinite(self.reset_s) and self.reset_s > 0):
            raise ConfigurationError(f"a breaker's reset is {self.reset_s} s, it must be above 0")


class BreakerState(StrEnum):
    """The three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Pass(msgspec.Struct, frozen=True):
    """Leave to call once. End it with ``succeed``, ``fail`` or ``drop``."""

    epoch: int
    number: int
    probe: bool = False


class Refused(msgspec.Struct, frozen=True):
    """No call now. ``retry_in_s`` until it is worth asking again; None: when the probe has ended."""

    retry_in_s: float | None


class Breaker:
    """Closed at first. ``now`` is monotonic seconds."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._state = BreakerState.CLOSED
        self._epoch = 0
        self._number = 0
        self._out: set[int] = set()
        self._failures = 0
        self._opened_at = 0.0

    @property
    def state(self) -> BreakerState:
        """The state; open turns half-open only when somebody asks."""
        return self._state

    def refusal(self, now: float) -> Refused | None:
        """Say whether ``ask`` would be refused now, and for how long; changes nothing."""
        if self._state is BreakerState.OPEN:
            left_s = self._opened_at + self._policy.reset_s - now
            return Refused(left_s) if left_s > 0 else None
        if self._state is BreakerState.HALF_OPEN and self._out:
            return Refused(None)
        return None

    def ask(self, now: float) -> Pass | Refused:
        """Ask for leave to call."""
        refused = self.refusal(now)
        if refused is not None:
            return refused
        if self._state is BreakerState.OPEN:
            self._enter(BreakerState.HALF_OPEN)
        self._number += 1
        self._out.add(self._number)
        return Pass(self._epoch, self._number, self._state is BreakerState.HALF_OPEN)

    def succeed(self, passed: Pass) -> bool:
        """Take note that a call worked. Return True where that closed the breaker."""
        if not self._end(passed):
            return False
        self._failures = 0
        if self._state is BreakerState.CLOSED:
            return False
        self._enter(BreakerState.CLOSED)
        return True

    def fail(self, passed: Pass, now: float) -> bool:
        """Take note that a call failed. Return True where that opened the breaker."""
        if not self._end(passed):
            return False
        self._failures += 1
        if self._state is BreakerState.CLOSED and self._failures < self._policy.failures:
            return False
        self._enter(BreakerState.OPEN)
        self._opened_at = now
        return True

    def drop(self, passed: Pass) -> None:
        """Take note that a call was not made, or says nothing: the next who asks may be the probe."""
        self._end(passed)

    def _end(self, passed: Pass) -> bool:
        if passed.epoch != self._epoch:
            return False
        if passed.number not in self._out:
            raise IllegalTransitionError(f"pass {passed.number} has ended before, or was never given")
        self._out.discard(passed.number)
        return True

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._out.clear()
        self._failures = 0
