"""Which challenged jobs are not sent to the solver any more. Pure.

What: above a first mark of the load of ``captcha-requests`` those of low priority, above a second one those
of normal priority too; never those of high priority. What is shed is a dead letter with the reason ``shed``,
which can be replayed.
Why so: the gate holds intake back first, its marks lie lower. Shedding is for what is already on its way
when the solver cannot keep up for long: dropping the least wanted is better than all of them coming too
late. A level is left only when the load is well below its mark. Where nothing is taken at all, the wait
is for how long that has been so: a solver that is started again is no reason to shed.
"""

import math
from enum import IntEnum

import msgspec

from tidegate.errors import ConfigurationError
from tidegate.flow.lag import Load
from tidegate.records import Lane


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A load, in records or in seconds of expected wait: either is enough."""

    records: float
    wait_s: float


class SheddingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The two marks, and the part of a mark below which its level is left. Raises ConfigurationError.

    The wait is that of what lies there beyond ``in_hand`` records, as at the gate. A request is worth
    solving for ten minutes: with half of that to wait some come too late, with all of it every one does.
    """

    low: Mark = Mark(records=2000, wait_s=300)
    normal: Mark = Mark(records=5000, wait_s=600)
    leave_at: float = 0.7
    in_hand: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        for first, second in (
            (self.low.records, self.normal.records),
            (self.low.wait_s, self.normal.wait_s),
        ):
            if not 0 < first < second < math.inf:
                raise ConfigurationError(f"marks of shedding must go up: {first}, {second}")
        if not 0 < self.leave_at < 1:
            raise ConfigurationError(f"a level of shedding is left at {self.leave_at} of its mark, not 0 … 1")


class SheddingLevel(IntEnum):
    """What is shed."""

    NOTHING = 0
    LOW = 1
    LOW_AND_NORMAL = 2


class Shedding:
    """Begins with nothing shed."""

    def __init__(self, policy: SheddingPolicy | None = None) -> None:
        self._policy = policy or SheddingPolicy()
        self._level = SheddingLevel.NOTHING

    @property
    def level(self) -> SheddingLevel:
        """What is shed now."""
        return self._level

    def observe(self, load: Load) -> bool:
        """Take a reading of ``captcha-requests``; return True where the level changed."""
        before = self._level
        level = SheddingLevel.NOTHING
        wait_s = load.wait_beyond(self._policy.in_hand)
        if wait_s == math.inf:
            wait_s = load.still_s
        for mark, above in (
            (self._policy.low, SheddingLevel.LOW),
            (self._policy.normal, SheddingLevel.LOW_AND_NORMAL),
        ):
            part = self._policy.leave_at if before >= above else 1.0
            if load.records > mark.records * part or wait_s > mark.wait_s * part:
                level = above
        self._level = level
        return level is not before

    def sheds(self, lane: Lane) -> bool:
        """Say whether a challenged job of that lane is shed."""
        if lane is Lane.HIGH:
            return False
        least = SheddingLevel.LOW if lane is Lane.LOW else SheddingLevel.LOW_AND_NORMAL
        return self._level >= least
