"""How far a consumer group is behind, in records and in time. Pure.

What: the expected wait is what lies there divided by the rate at which it is taken away.
Why so: that rate is known only while there was lag throughout. A queue that ran empty meanwhile was
emptied as fast as it was filled, which says nothing of how fast it could be; and one record that lies for
a moment in a quiet topic would pass for an endless wait.
"""

import math
from collections import deque

import msgspec

from tidegate.errors import ConfigurationError


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Records that wait, and the seconds until one put there now is taken; None while that is unknown.

    ``math.inf`` where there was lag throughout and nothing was taken.
    """

    records: int
    wait_s: float | None = None


class LagPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds over which the rate is taken, and the least that makes a rate. Raises ConfigurationError.

    The least must be longer than the group's batches and commit intervals, or a pause between two commits
    looks like a standstill.
    """

    window_s: float = 30.0
    least_s: float = 15.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.least_s <= self.window_s < math.inf:
            raise ConfigurationError(f"a lag window of {self.window_s} s with least {self.least_s} s")


class LagMeter:
    """Takes readings of one topic and group, summed over the partitions."""

    _MOST_READINGS = 1024

    def __init__(self, policy: LagPolicy | None = None) -> None:
        self._policy = policy or LagPolicy()
        self._readings: deque[tuple[float, int]] = deque(maxlen=self._MOST_READINGS)

    def observe(self, now: float, *, end: int, committed: int) -> Load:
        """Take a reading: the sums of the end offsets and of the committed ones. Return the load."""
        readings = self._readings
        records = max(0, end - committed)
        if records == 0 or (readings and (committed < readings[-1][1] or now < readings[-1][0])):
            # Ran empty, or the group was set back: what was measured before says nothing any more.
            readings.clear()
        if records == 0:
            return Load(records=0, wait_s=0.0)
        readings.append((now, committed))
        while len(readings) > 2 and readings[1][0] <= now - self._policy.window_s:
            readings.popleft()
        began, committed_then = readings[0]
        passed_s = now - began
        if passed_s < self._policy.least_s:
            return Load(records=records)
        taken = committed - committed_then
        return Load(records=records, wait_s=records * passed_s / taken if taken else math.inf)
