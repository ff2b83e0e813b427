"""How far a consumer group is behind, in records and in time. Pure.

What: the expected wait is what lies there divided by the rate at which it is taken away.
Why so: that rate is known only while there was lag throughout. A queue that ran empty meanwhile was
emptied as fast as it was filled, which says nothing of how fast it could be; and one record that lies for
a moment in a quiet topic would pass for an endless wait. What has not moved since it is watched, and moves
now, is measured from now on, or the time until its first result would be taken for its pace.
"""

import math
from collections import deque

import msgspec

from tidegate.errors import ConfigurationError


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Records that wait, and the seconds until one put there now is taken; None while that is unknown.

    ``wait_s`` is ``math.inf`` where there was lag throughout and nothing was taken. ``still_s`` is for how
    long nothing was, as far as it was watched.
    """

    records: int
    wait_s: float | None = None
    still_s: float = 0.0

    def wait_beyond(self, in_hand: int) -> float:
        """Return the wait of what lies there beyond ``in_hand`` records; a wait that is not known is none."""
        if self.records <= in_hand or self.wait_s is None:
            return 0.0
        return self.wait_s * (self.records - in_hand) / self.records


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
        self._moved_at = 0.0

    def forget(self) -> None:
        """Measure anew: nobody watched for a while."""
        self._readings.clear()

    def observe(self, now: float, *, end: int, committed: int) -> Load:
        """Take a reading: the sums of the end offsets and of the committed ones. Return the load."""
        readings = self._readings
        records = max(0, end - committed)
        if records == 0 or (readings and (committed < readings[-1][1] or now < readings[-1][0])):
            # Ran empty, or the group was set back: what was measured before says nothing any more.
            readings.clear()
        if records == 0:
            return Load(records=0, wait_s=0.0)
        moved = not readings or committed > readings[-1][1]
        if moved and len(readings) > 1 and readings[0][1] == readings[-1][1]:
            readings.clear()
        if moved:
            self._moved_at = now
        still_s = now - self._moved_at
        readings.append((now, committed))
        while len(readings) > 2 and readings[1][0] <= now - self._policy.window_s:
            readings.popleft()
        began, committed_then = readings[0]
        passed_s = now - began
        if passed_s < self._policy.least_s:
            return Load(records=records, still_s=still_s)
        taken = committed - committed_then
        wait_s = records * passed_s / taken if taken else math.inf
        return Load(records=records, wait_s=wait_s, still_s=still_s)
