"""Is this process still what its group takes it for? If not, others own its work, and it must not buy (M3).

``Heartbeat`` is pure: a ticker beats it, and a gap between beats, or since the last one, tells of a stall.
It looks at the wall clock beside the monotonic one because a suspended machine stops the latter.
"""

from collections.abc import Callable

from tidegate.clock import Clock


class Heartbeat:
    """Trusts this process unless it stood still for ``limit_s`` (half the session time-out).

    After a stall it takes another ``limit_s`` of regular beats to be trusted again: time for the consumer
    to learn that its partitions are gone and for the runtime to cancel what was in hand.
    """

    def __init__(self, limit_s: float, *, monotonic_s: float, wall_ms: int) -> None:
        self.limit_s = limit_s
        self._last_s = monotonic_s
        self._last_wall_ms = wall_ms
        self._trusted_from_s = monotonic_s

    def beat(self, monotonic_s: float, wall_ms: int) -> None:
        """Take a beat of the ticker."""
        if self._gap_s(monotonic_s, wall_ms) > self.limit_s:
            self._trusted_from_s = monotonic_s + self.limit_s
        self._last_s = monotonic_s
        self._last_wall_ms = wall_ms

    def is_trusted(self, monotonic_s: float, wall_ms: int) -> bool:
        """Say whether the process may buy now."""
        return monotonic_s >= self._trusted_from_s and self._gap_s(monotonic_s, wall_ms) <= self.limit_s

    def _gap_s(self, monotonic_s: float, wall_ms: int) -> float:
        return max(monotonic_s - self._last_s, (wall_ms - self._last_wall_ms) / 1000)


class Pulse:
    """The heartbeat with a clock: the ticker's side and the buyer's side.

    ``membership_age_s`` is the group's side: how long ago it certainly counted this process in. One that runs
    well while the broker is away, or the network, is given up all the same, and hears of it last.
    """

    _BEATS_PER_LIMIT = 8

    def __init__(self, clock: Clock, session_timeout_s: float, membership_age_s: Callable[[], float]) -> None:
        self._clock = clock
        self._membership_age_s = membership_age_s
        self._limit_s = limit_s = session_timeout_s / 2
        self._every_s = limit_s / self._BEATS_PER_LIMIT
        self._heartbeat = Heartbeat(limit_s, monotonic_s=clock.monotonic(), wall_ms=clock.wall_ms())

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._heartbeat.beat(self._clock.monotonic(), self._clock.wall_ms())
            await self._clock.sleep(self._every_s)

    def is_trusted(self) -> bool:
        """Say whether this process may buy right now."""
        if self._membership_age_s() > self._limit_s:
            return False
        return self._heartbeat.is_trusted(self._clock.monotonic(), self._clock.wall_ms())

    async def wait_until_trusted(self) -> None:
        """Wait out a stall; whoever waits here may well be cancelled meanwhile, which is the point."""
        while not self.is_trusted():
            await self._clock.sleep(self._every_s)
