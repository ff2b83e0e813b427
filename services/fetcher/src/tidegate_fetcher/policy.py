"""What may be fetched, and where solving is allowed. Pure.

Solving is allowed only on hosts that the operator named: nothing is spent, and no challenge answered, on
a site nobody listed.
"""

from collections.abc import Iterable

import msgspec
from tidegate.outcome import Reason
from yarl import URL

from tidegate_fetcher.hosts import DEFAULT_PORTS, host_of, host_with_port
from tidegate_fetcher.site_policies import SitePolicies


class HostRules:
    """A list of hosts: ``host``, ``host:port``, ``*.example.com`` (subdomains only), ``*``.

    A rule without a port holds for all ports of the host.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._exact: set[str] = set()
        suffixes: list[str] = []
        self._all = False
        for pattern in patterns:
            rule = pattern.strip().lower().rstrip(".")
            if rule == "*":
                self._all = True
            elif rule.startswith("*."):
                suffixes.append(rule[1:])
            elif rule:
                self._exact.add(rule)
        self._suffixes = tuple(suffixes)

    def admits(self, url: URL) -> bool:
        """Say whether the URL's host is on the list."""
        if self._all:
            return True
        host = host_of(url)
        with_port = f"{host}:{url.port}"
        if host in self._exact or with_port in self._exact:
            return True
        return any(host.endswith(s) or with_port.endswith(s) for s in self._suffixes)


class Refusal(msgspec.Struct, frozen=True):
    """Why something may not be fetched; ``message`` is a sentence without secrets."""

    reason: Reason
    message: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's rules. ``allow_private`` admits every port; ``sites`` go before ``solve_hosts``."""

    allowed_ports: frozenset[int] = frozenset({80, 443})
    allow_private: bool = False
    solve_hosts: HostRules = msgspec.field(default_factory=HostRules)
    sites: SitePolicies | None = None

    def refusal(self, url: URL) -> Refusal | None:
        """Return why a URL, the job's or a redirect's, may not be fetched; None admits it."""
        if url.scheme not in DEFAULT_PORTS:
            return Refusal(
                Reason.SCHEME_NOT_ALLOWED,
                f"URLs with the scheme {url.scheme[:32]!r} are not fetched, only http and https.",
            )
        if not url.raw_host:
            return Refusal(Reason.NOT_A_URL, "This is not a URL: it names no host.")
        if not self.allow_private and url.port not in self.allowed_ports:
            ports = ", ".join(str(port) for port in sorted(self.allowed_ports))
            return Refusal(
                Reason.NOT_ALLOWED,
                f"Port {url.port} is not fetched from, only {ports} (TIDEGATE_FETCHER__ALLOWED_PORTS).",
            )
        return None

    def solve_refusal(self, url: URL) -> Refusal | None:
        """Return why a challenge at a URL is not solved, with the setting that would allow it."""
        host = host_with_port(url)
        site = None if self.sites is None else self.sites.of(host)
        said = None if site is None else site.solve
        if said or (said is None and self.solve_hosts.admits(url)):
            return None
        how = f"TIDEGATE_FETCHER__SOLVE_HOSTS={host} (added to the hosts already listed)"
        if site is not None and said is False:
            how = f'solve = true in the policy file, for match = ["{host}"]; {site.source} says false'
        elif self.sites is not None and self.sites.entries:
            how += f', or solve = true in the policy file for match = ["{host}"]'
        return Refusal(
            Reason.SOLVE_NOT_ALLOWED,
            f"A CAPTCHA of {host} is not solved: solving is not allowed there. To allow it: {how}.",
        )

    def has_recipe(self, url: URL) -> bool:
        """Say whether the operator told how an answer is handed in at a URL."""
        return self.sites is not None and self.sites.of(host_with_port(url)).submit is not None

    def max_cost(self, url: URL, asked: float | None) -> float | None:
        """Return the most that a solve at a URL may cost in US dollars: the least that anybody said."""
        said = None if self.sites is None else self.sites.of(host_with_port(url)).max_cost
        return min((cost for cost in (asked, said) if cost is not None), default=None)
