"""The sessions of all sites, bounded. Pure: ``now_ms`` is the broker's clock.

One session for each site and identity. Beyond the bounds the least recently used go, those that passed
nothing first: the others were paid for.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from tidegate_fetcher.sessions import Session

_LOOKED_AT = 32


class SessionPool:
    """At most ``most`` sessions, and ``of_a_site`` of them for one site."""

    def __init__(self, *, most: int, of_a_site: int = 50) -> None:
        self._most = most
        self._of_a_site = of_a_site
        self._sites: OrderedDict[str, dict[str, Session]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, site: str, identity: str, now_ms: int) -> Session | None:
        """Return a visitor's session; one that is past its life is forgotten."""
        of_site = self._sites.get(site)
        if of_site is None:
            return None
        session = of_site.get(identity)
        if session is not None and session.until_ms <= now_ms:
            self.drop(session)
            return None
        self._sites.move_to_end(site)
        return session

    def of_site(self, site: str) -> Iterable[Session]:
        """Return a site's sessions."""
        return tuple(self._sites.get(site, {}).values())

    def put(self, session: Session) -> None:
        """Keep a session in place of who had its name."""
        of_site = self._sites.setdefault(session.site, {})
        self._count -= session.identity in of_site
        of_site.pop(session.identity, None)
        of_site[session.identity] = session
        self._count += 1
        self._sites.move_to_end(session.site)
        if len(of_site) > self._of_a_site:
            self.drop(next((s for s in of_site.values() if not s.passed), next(iter(of_site.values()))))
        while self._count > self._most:
            self.drop(self._least_wanted())

    def drop(self, session: Session) -> bool:
        """Forget a session; False where another one has its name by now."""
        of_site = self._sites.get(session.site)
        if of_site is None or of_site.get(session.identity) is not session:
            return False
        del of_site[session.identity]
        self._count -= 1
        if not of_site:
            del self._sites[session.site]
        return True

    def forget(self, belongs: Callable[[str], bool]) -> None:
        """Forget the sessions of those sites."""
        for site in [site for site in self._sites if belongs(site)]:
            self._count -= len(self._sites.pop(site))

    def _least_wanted(self) -> Session:
        """Return one that passed nothing at the sites used longest ago, or else the oldest of all."""
        oldest = None
        for _, of_site in zip(range(_LOOKED_AT), self._sites.values(), strict=False):
            for session in of_site.values():
                if not session.passed:
                    return session
                oldest = oldest or session
        assert oldest is not None
        return oldest
