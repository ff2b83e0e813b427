"""What the monitor tells the fetchers of a site: a record of the compacted topic ``site-health``. Pure."""

from typing import Literal

import msgspec

Advice = Literal["none", "add proxies, not workers"]

HEALTH_LASTS_S = 180.0
"""For how long a record counts: a monitor that is gone slows nobody down for ever."""


class SiteHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a site did in the last minutes, and by which factor (0 to 1) its rate and places are to be cut."""

    version: int = 1
    site: str
    captcha_rate: float
    fetches: int
    factor: float
    advice: Advice
    at_ms: int
