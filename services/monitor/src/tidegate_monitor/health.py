"""Which sites are to be slowed down: those whose CAPTCHA rate is high. Pure.

A site is slowed to a half above 30 % and to a quarter above 40 %, and let go again below 25 %: by then its
rate is well below the mark, and a site at the mark does not go up and down.
"""

from collections.abc import Iterable

from tidegate.site_health import HEALTH_LASTS_S, SiteHealth
from tidegate.stats import OTHER, SITE

from tidegate_monitor.readings import captcha_share
from tidegate_monitor.windows import Board

WINDOW_S = 300.0
_LEAST = 20
_SLOWED = ((0.40, 0.25), (0.30, 0.5))
_LET_GO = 0.25
_AGAIN_MS = int(HEALTH_LASTS_S * 1000) // 3


class SiteHealths:
    """The factors of all sites that are slowed; the others have none."""

    def __init__(self) -> None:
        self._told: dict[str, SiteHealth] = {}

    @property
    def slowed(self) -> dict[str, float]:
        """The factors of the slowed sites."""
        return {site: health.factor for site, health in self._told.items()}

    def step(self, board: Board, now_ms: int) -> Iterable[SiteHealth]:
        """Return what is to be told: changes, and each slowed site again before its record counts no more."""
        sites = {site for site in board.subjects(SITE, WINDOW_S, now_ms) if site != OTHER}
        for site in sorted(sites | self._told.keys()):
            rate, fetches = captcha_share(board.total(SITE, site, WINDOW_S, now_ms))
            before = self._told.get(site)
            factor = _factor(rate, fetches, 1.0 if before is None else before.factor)
            if before is None and factor == 1.0:
                continue
            due = before is not None and abs(now_ms - before.at_ms) >= _AGAIN_MS
            if before is not None and before.factor == factor and not due:
                continue
            health = SiteHealth(
                site=site,
                captcha_rate=round(rate, 4),
                fetches=int(fetches),
                factor=factor,
                advice="none" if factor == 1.0 else "add proxies, not workers",
                at_ms=now_ms,
            )
            if factor == 1.0:
                del self._told[site]
            else:
                self._told[site] = health
            yield health


def _factor(rate: float, fetches: float, before: float) -> float:
    if fetches < _LEAST:
        # Slowed to little, a site has few fetches: what was known stays until there is nothing at all.
        return before if fetches else 1.0
    for mark, factor in _SLOWED:
        if rate > mark:
            return factor
    return 1.0 if rate < _LET_GO else before
