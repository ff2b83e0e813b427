"""Whether more answers are bought while those bought before lie unread. Pure.

What: shut for a partition of ``captcha-solutions`` while its oldest unread record is older than a mark, open
again when it is well below; shut for all while nothing is known.
Why so: a token lives for two minutes or so. Where nobody takes them, each one that is bought is money lost.
By partition, because a partition has one reader: where that one hangs, the others' sites go on. And a record
in the hands of a slow handler cannot always be told from one that nobody has seen: so a page that takes a
minute to answer holds up its own partition's purchases and nobody else's.
Rejected: to go on while the broker cannot say. Whoever cannot be asked may be the one who does not read.
"""

import math
from collections.abc import Mapping

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError


class UnreadPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Ages in seconds. Raises ConfigurationError.

    ``mark_s``: from there on nothing is bought, until the oldest is younger than ``open_s``. A reading is
    worth something for ``stale_s``.
    """

    mark_s: float = 60.0
    open_s: float = 30.0
    stale_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.open_s < self.mark_s < math.inf:
            raise ConfigurationError(f"unread answers shut at {self.mark_s} s and open at {self.open_s} s")
        if not 0 < self.stale_s < math.inf:
            raise ConfigurationError(f"a reading is worth something for {self.stale_s} s, it must be above 0")


class UnreadChange(msgspec.Struct, frozen=True, kw_only=True):
    """A partition was shut, or opened after ``seconds``; ``age_s`` of its oldest unread record, 0: none."""

    partition: int
    shut: bool
    age_s: float
    seconds: float = 0.0


class UnreadWall:
    """Begins with nothing known. ``now`` is monotonic seconds."""

    def __init__(self, policy: UnreadPolicy | None = None) -> None:
        self._policy = policy or UnreadPolicy()
        self._read_at = -math.inf
        self._shut: dict[int, float] = {}

    def observe(self, ages_s: Mapping[int, float], now: float) -> tuple[UnreadChange, ...]:
        """Take a reading: the age of the oldest unread record by partition, where there is one.

        Returns what changed, by partition. Raises IllegalTransitionError where time runs backwards.
        """
        if now < self._read_at:
            raise IllegalTransitionError(f"a reading at {now} after one at {self._read_at}")
        self._read_at = now
        changes = []
        for partition in sorted({*ages_s, *self._shut}):
            age_s = ages_s.get(partition, 0.0)
            since = self._shut.get(partition)
            if since is None and age_s >= self._policy.mark_s:
                self._shut[partition] = now
                changes.append(UnreadChange(partition=partition, shut=True, age_s=age_s))
            elif since is not None and age_s < self._policy.open_s:
                del self._shut[partition]
                changes.append(
                    UnreadChange(partition=partition, shut=False, age_s=age_s, seconds=now - since)
                )
        return tuple(changes)

    def is_known(self, now: float) -> bool:
        """Say whether the last reading is worth something."""
        return now - self._read_at <= self._policy.stale_s

    def is_shut(self, partition: int, now: float) -> bool:
        """Say whether nothing may be bought whose answer goes to this partition."""
        return partition in self._shut or not self.is_known(now)
