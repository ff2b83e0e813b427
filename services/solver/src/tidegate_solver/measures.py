"""What a provider has shown: how often it solves, how long that takes, what sites say of its tokens. Pure.

Every measure is a weighted mean whose old evidence fades, by half every ``HALF_LIFE_S``, towards what is
assumed of somebody unknown. So a provider that did badly an hour ago is tried again by itself, and one that
nobody knows is tried at all: the assumptions are favourable on purpose.
"""

from collections import OrderedDict

import msgspec
from tidegate.records import ChallengeKind

HALF_LIFE_S = 1800.0
ASSUMED_SOLVE_RATE = 0.95
ASSUMED_ACCEPTANCE = 0.95
ASSUMPTIONS_WEIGH = 5.0
_MOST_SITES = 10_000


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What to expect of a task: the chances that it is solved and the answer taken; how long it takes."""

    solve_rate: float
    acceptance: float
    seconds: float


class FadingMean:
    """A mean of samples that lose half their weight every ``HALF_LIFE_S``."""

    __slots__ = ("_at_s", "_sum", "_weight")

    def __init__(self) -> None:
        self._sum = 0.0
        self._weight = 0.0
        self._at_s = 0.0

    def add(self, value: float, now_s: float) -> None:
        """Take a sample. ``now_s`` is monotonic."""
        self._fade(now_s)
        self._sum += value
        self._weight += 1.0

    def mean(self, now_s: float, assumed: float) -> float:
        """Return the mean, with the assumed value as ``ASSUMPTIONS_WEIGH`` samples that never fade."""
        self._fade(now_s)
        return (self._sum + assumed * ASSUMPTIONS_WEIGH) / (self._weight + ASSUMPTIONS_WEIGH)

    def _fade(self, now_s: float) -> None:
        kept = 0.5 ** (max(0.0, now_s - self._at_s) / HALF_LIFE_S) if self._weight else 0.0
        self._sum *= kept
        self._weight *= kept
        self._at_s = now_s


class Measures:
    """One provider's. At most 10,000 pairs of site and kind are remembered; the longest unused go first."""

    def __init__(self) -> None:
        self._solved: dict[ChallengeKind, FadingMean] = {}
        self._took: dict[ChallengeKind, FadingMean] = {}
        self._accepted: OrderedDict[tuple[str, ChallengeKind], FadingMean] = OrderedDict()

    def task_ended(self, kind: ChallengeKind, *, solved: bool, took_s: float, now_s: float) -> None:
        """Take note of a task that ended by the provider's doing, well or badly."""
        self._solved.setdefault(kind, FadingMean()).add(float(solved), now_s)
        self._took.setdefault(kind, FadingMean()).add(took_s, now_s)

    def judged(self, site: str, kind: ChallengeKind, *, accepted: bool, now_s: float) -> None:
        """Take note of a site's verdict on an answer."""
        key = (site, kind)
        self._accepted.setdefault(key, FadingMean()).add(float(accepted), now_s)
        self._accepted.move_to_end(key)
        if len(self._accepted) > _MOST_SITES:
            self._accepted.popitem(last=False)

    def estimate(self, site: str, kind: ChallengeKind, *, assumed_s: float, now_s: float) -> Estimate:
        """Return what to expect of a task for a site; ``assumed_s`` is what an unknown one would take."""
        return Estimate(
            solve_rate=_mean(self._solved.get(kind), now_s, ASSUMED_SOLVE_RATE),
            acceptance=_mean(self._accepted.get((site, kind)), now_s, ASSUMED_ACCEPTANCE),
            seconds=_mean(self._took.get(kind), now_s, assumed_s),
        )


def _mean(measured: FadingMean | None, now_s: float, assumed: float) -> float:
    return assumed if measured is None else measured.mean(now_s, assumed)
