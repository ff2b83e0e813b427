"""A session: who asks a site, as one unit, and when it is given up. Pure.

Cookies, proxy and user agent belong together: a site that let one in for its cookies lets nobody else in for
them. A session that passed a challenge was paid for, and is used until the site challenges it again; one that
passed nothing costs nothing and is given up for being old or used often, too, as every visitor leaves some
day.
"""

import hashlib
from enum import StrEnum
from functools import lru_cache

import msgspec
from tidegate.outcome import ErrorClass

from tidegate_fetcher.cookies import Jar

# What this client's handshake looks like. Clearances that another one was given are not used.
TLS_PROFILE = "openssl"

_POINTS = {
    ErrorClass.BLOCKED: 1.0,
    ErrorClass.NETWORK: 0.5,
    ErrorClass.RATE_LIMITED: 0.5,
    ErrorClass.SERVER_ERROR: 0.25,
}
# A proxy that is gone takes its sessions along before a job has used up its tries on it.
_PROXY_POINTS = 1.5


class SessionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a session is given up.

    A block counts 1 against it, what may be the site's or the way's fault less, a page half a point for it;
    at ``max_score`` it goes. ``max_uses`` and ``max_age_s`` hold for those that passed nothing. One that
    passed is forgotten ``life_s`` seconds after it did so.
    """

    max_score: float = 3.0
    max_uses: int = 50
    max_age_s: float = 3000.0
    life_s: float = 86_400.0


class Retired(StrEnum):
    """Why a session is used no longer."""

    CHALLENGED = "challenged"
    BLOCKED = "blocked"
    USED_UP = "used_up"
    PROXY_CHANGED = "proxy_changed"


class Session(msgspec.Struct, kw_only=True, eq=False):
    """One visitor of one site. Times in epoch milliseconds by the broker's clock.

    ``identity`` names it at its site; ``user_agent`` is a solving service's, None where it is the job's own.
    ``passed`` are the groups of challenges that its cookies opened (``single_flight``).
    """

    site: str
    identity: str
    user_agent: str | None = None
    proxy_id: str | None = None
    jar: Jar = ()
    passed: frozenset[str] = frozenset()
    begun_ms: int
    until_ms: int
    published_ms: int = 0
    score: float = 0.0
    uses: int = 0

    def served(self, policy: SessionPolicy, now_ms: int) -> Retired | None:
        """Count a page; return why the session ends with it."""
        self.uses += 1
        if self.score:
            self.score = max(0.0, self.score - 0.5)
        if self.passed:
            return None
        old = now_ms - self.begun_ms > policy.max_age_s * 1000
        return Retired.USED_UP if old or self.uses >= policy.max_uses else None

    def failed(self, policy: SessionPolicy, error_class: ErrorClass, *, of_proxy: bool) -> Retired | None:
        """Count a failure, its proxy's or another; return why the session ends with it."""
        self.uses += 1
        self.score += _PROXY_POINTS if of_proxy else _POINTS.get(error_class, 0.0)
        return Retired.BLOCKED if self.score >= policy.max_score else None


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for one page. ``identity`` is None for a job that is somebody's own.

    ``session`` is the one whose cookies go along, ``jar`` as they were; None for somebody whom the site sees
    for the first time. ``pinned``: the job names its proxy.
    """

    identity: str | None
    pinned: bool = False
    jar: Jar = ()
    session: Session | None = None


NOBODY = Visit(identity=None)


@lru_cache(maxsize=8192)
def identity_of(user_agent: str, pinned: str | None) -> str:
    """Return the name of who asks with this user agent, through this proxy where the job names one.

    Where it names none, the session decides which proxy is used, and not the other way round: a site that was
    opened through one of a thousand proxies is asked through that one.
    """
    return hashlib.blake2b(f"{pinned or ''}\n{user_agent}".encode(), digest_size=8).hexdigest()
