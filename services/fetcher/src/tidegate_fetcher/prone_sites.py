"""Which sites lately answered with challenges that have to be solved. Pure.

What: per site the answers of late and the challenges among them, both fading with time. A site is prone from
a share of challenges on, and until it is well below. A first challenge of a site that is not known makes it
prone; some forty pages without one clear it.
Why so: what is not asked for any more, because it is held, cannot prove itself. So what is known fades, and
a site that was silent for long begins anew, by a job of its own that is not held.
"""

import math
from collections import OrderedDict

import msgspec
from tidegate.errors import ConfigurationError


class PronePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of 0 to 1 from which a site is prone and below which it is not. Raises ConfigurationError.

    What was seen ``memory_s`` ago counts 37 %. ``doubt`` is how many answers without a challenge every site
    is taken to have had beside those seen. At most ``remembered`` sites are kept.
    """

    from_share: float = 0.05
    below_share: float = 0.025
    memory_s: float = 600.0
    doubt: float = 1.0
    remembered: int = 20_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.below_share < self.from_share < 1:
            raise ConfigurationError(
                f"shares of challenges: {self.below_share} < {self.from_share}, in 0 … 1"
            )
        if not (0 < self.memory_s < math.inf and 0 < self.doubt < math.inf and self.remembered >= 1):
            raise ConfigurationError("the memory of challenge-prone sites must be above 0")


class _Site(msgspec.Struct):
    seen_at: float
    answers: float = 0.0
    challenges: float = 0.0
    prone: bool = False


class ProneSites:
    """The table; the sites looked at least recently are forgotten first. ``now`` is monotonic seconds."""

    def __init__(self, policy: PronePolicy | None = None) -> None:
        self._policy = policy or PronePolicy()
        self._sites: OrderedDict[str, _Site] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sites)

    def answered(self, site: str, *, challenged: bool, now: float) -> bool:
        """Take note of a site's answer; return True where the site became prone, or is so no more."""
        known = self._sites.setdefault(site, _Site(seen_at=now))
        self._sites.move_to_end(site)
        fade = self._fade(known, now)
        known.answers = known.answers * fade + 1
        known.challenges = known.challenges * fade + challenged
        known.seen_at = max(known.seen_at, now)
        if len(self._sites) > self._policy.remembered:
            self._sites.popitem(last=False)
        was = known.prone
        share = self._share(known, now)
        known.prone = share >= (self._policy.below_share if was else self._policy.from_share)
        return known.prone is not was

    def is_prone(self, site: str, now: float) -> bool:
        """Say whether a site is prone."""
        known = self._sites.get(site)
        if known is None or not known.prone:
            return False
        self._sites.move_to_end(site)
        return self._share(known, now) >= self._policy.below_share

    def _share(self, known: _Site, now: float) -> float:
        fade = self._fade(known, now)
        return known.challenges * fade / (known.answers * fade + self._policy.doubt)

    def _fade(self, known: _Site, now: float) -> float:
        return math.exp(-max(0.0, now - known.seen_at) / self._policy.memory_s)
