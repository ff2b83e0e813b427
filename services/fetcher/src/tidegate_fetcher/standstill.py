"""Whether a request failed because this process stood still: stopped, suspended, or without a core.

Time-outs run on meanwhile, and sites hang up. That is no error of the site's, and no try of the job's.
"""

from tidegate.clock import Clock

_EVERY_S = 0.5
# Less than that is a busy loop, which no time-out is as short as.
_LEAST_S = 1.0


class Standstill:
    """Adds up how long the process stood still, seen by a ticker that comes late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s = clock.monotonic() + _EVERY_S
        self._total_s = 0.0

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self._due_s = self._clock.monotonic() + _EVERY_S
            await self._clock.sleep(_EVERY_S)
            self._total_s += self._late_s()

    def begin(self) -> tuple[float, float]:
        """Return what ``is_to_blame`` wants to know of a request that begins."""
        return self._clock.monotonic(), self._total_s + self._late_s()

    def is_to_blame(self, begun: tuple[float, float]) -> bool:
        """Say whether the process stood still for half the time since then, or more."""
        at_s, total_s = begun
        # It may have woken this very moment, and the ticker have its turn after us.
        still_s = self._total_s + self._late_s() - total_s
        return still_s >= _LEAST_S and 2 * still_s >= self._clock.monotonic() - at_s

    def _late_s(self) -> float:
        late_s = self._clock.monotonic() - self._due_s
        return late_s if late_s >= _LEAST_S else 0.0
