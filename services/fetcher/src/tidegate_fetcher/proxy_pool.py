"""Which proxy a request goes through. Pure.

What: proxies stand in the order in which they were last used, so the first is the coolest. Of the first few
that have cooled down, the one is taken at which the site lately asked the fewest captchas; where none has,
the coolest. Those a caller wants avoided are taken only where there is no other.

Whose fault is a failure? One that is certainly the proxy's counts. Any other counts for at most three
proxies, and three times each, until the site has answered somebody: a site that is down, or refuses
everybody, would otherwise take every proxy out, and with them all other sites.

A whole subnet is told of when all of its proxies, three at least, are out: a site's operator, or the seller,
has struck out the net. A proxy known by name only counts to the "subnet" of that name.
"""

import heapq
from collections import OrderedDict
from collections.abc import Container, Iterable
from ipaddress import ip_address, ip_network

import msgspec
from tidegate.events import Event
from tidegate.proxies import Proxy

from tidegate_fetcher import events
from tidegate_fetcher.proxy_standing import Member, ProxyOutcome, ProxyPolicy, Standing

_LOOKED_AT = 8
_SITES = 10_000
_PAIRS = 50_000
_CHARGED_PROXIES = 3
_CHARGED_TIMES = 3
_LEAST_SUBNET = 3
_PAIR_FADES_AT = 40
# Answers without a captcha that every pair of proxy and site is taken to have had.
_DOUBT = 3


class _Pair:
    """What a site answered through one proxy since its first captcha."""

    __slots__ = ("answers", "captchas")

    def __init__(self) -> None:
        self.answers = 0.0
        self.captchas = 0.0

    @property
    def rate(self) -> float:
        return self.captchas / (self.answers + _DOUBT)

    def count(self, captcha: bool) -> None:
        self.answers += 1
        self.captchas += captcha
        if self.answers >= _PAIR_FADES_AT:
            self.answers /= 2
            self.captchas /= 2


class _Subnet:
    __slots__ = ("out", "size", "told")

    def __init__(self) -> None:
        self.size = 0
        self.out = 0
        self.told = False


class Loaded(msgspec.Struct, frozen=True):
    """What a new list changed; ``restored`` are subnets of which there is nothing bad to tell any more."""

    added: int
    removed: int
    restored: tuple[events.SubnetRestored, ...] = ()


class ProxyPool:
    """The proxies and how each stands. ``now`` is monotonic seconds everywhere.

    It remembers captchas of 50,000 pairs of proxy and site, and failures of 10,000 sites.
    """

    def __init__(self, policy: ProxyPolicy | None = None) -> None:
        self._policy = policy or ProxyPolicy()
        self._members: dict[str, Member] = {}
        self._by_url: dict[str, Member] = {}
        self._order: OrderedDict[str, Member] = OrderedDict()
        self._away: list[tuple[float, str]] = []
        self._subnets: dict[str, _Subnet] = {}
        self._failing_subnets = 0
        self._failing: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()
        self.healthy = 0
        """Proxies that are neither in quarantine nor on probation."""

    def __len__(self) -> int:
        return len(self._members)

    def load(self, proxies: Iterable[Proxy]) -> Loaded:
        """Take a new list. Proxies that were in the old one keep their standing; new ones are cool."""
        wanted = {proxy.id: proxy for proxy in proxies}
        failing = {name: subnet for name, subnet in self._subnets.items() if subnet.told}
        gone = [name for name in self._members if name not in wanted]
        new = [proxy for name, proxy in wanted.items() if name not in self._members]
        for name in gone:
            self._remove(self._members.pop(name))
        for proxy in new:
            member = self._members[proxy.id] = self._by_url[proxy.url] = Member(proxy, subnet_of(proxy.host))
            self._order[proxy.id] = member
            self._order.move_to_end(proxy.id, last=False)
            self._subnets.setdefault(member.subnet, _Subnet()).size += 1
            self.healthy += 1
        well = [(name, subnet) for name, subnet in failing.items() if not 0 < subnet.size == subnet.out]
        return Loaded(len(new), len(gone), tuple(self._well(name, subnet) for name, subnet in well))

    def find(self, name: str) -> Proxy | None:
        """Return the proxy of an id or a URL, however it stands; None where the pool has none."""
        member = self._members.get(name) or self._by_url.get(name)
        return None if member is None else member.proxy

    def is_usable(self, proxy_id: str, now: float) -> bool:
        """Say whether a proxy is in the pool and neither in quarantine nor on a trial that is under way."""
        self._return(now)
        return proxy_id in self._order

    def choose(
        self, site: str, now: float, *, pinned: str | None = None, avoid: Container[str] = ()
    ) -> Proxy | None:
        """Return the proxy for a request and count it as used; None where none is healthy.

        ``pinned`` is an id or a URL: that one, however it stands, or None where the pool does not have it.
        """
        self._return(now)
        if pinned is not None:
            member = self._members.get(pinned) or self._by_url.get(pinned)
        else:
            member = self._coolest(site, now, avoid)
        if member is None:
            return None
        self._use(member, now)
        return member.proxy

    def report(self, proxy_id: str, site: str, outcome: ProxyOutcome, now: float) -> tuple[Event, ...]:
        """Take note of how a request through a proxy ended, and return what that changed."""
        member = self._members.get(proxy_id)
        if member is None:  # the list has changed, or a job brought its own
            return ()
        if outcome is ProxyOutcome.SUCCESS or outcome is ProxyOutcome.CAPTCHA:
            if self._failing:
                self._failing.pop(site, None)
            self._count(proxy_id, site, captcha=outcome is ProxyOutcome.CAPTCHA)
            return self._answered(member)
        if outcome is ProxyOutcome.FAILURE and not self._is_charged(proxy_id, site):
            return ()
        return self._failed(member, now)

    def captcha_rate(self, proxy_id: str, site: str) -> float:
        """Return the share of captchas of late at a site through a proxy, 0 to 1, on the low side."""
        pair = self._pairs.get((proxy_id, site))
        return 0.0 if pair is None else pair.rate

    def has_room(self, now: float) -> bool:
        """Say whether any proxy can be chosen now."""
        self._return(now)
        return bool(self._order)

    def next_in_s(self, now: float) -> float:
        """Return the seconds until a proxy can be chosen again; 0 where one can, or where there is none."""
        self._return(now)
        return 0.0 if self._order or not self._away else max(0.0, self._away[0][0] - now)

    def _coolest(self, site: str, now: float, avoid: Container[str]) -> Member | None:
        best: Member | None = None
        best_rank = (True, True, 1.0)
        for looked, (name, member) in enumerate(self._order.items()):
            if looked == _LOOKED_AT and best is not None and not best_rank[0]:
                break
            warm = now - member.used_at < self._policy.cooldown_s
            if warm and best is not None and not best_rank[0]:
                break
            rank = (name in avoid, warm, self.captcha_rate(name, site) if self._pairs else 0.0)
            if best is None or rank < best_rank:
                best, best_rank = member, rank
            if rank == (False, False, 0.0):
                break
        return best

    def _use(self, member: Member, now: float) -> None:
        name = member.proxy.id
        member.used_at = now
        if name not in self._order:
            return
        if member.standing is Standing.PROBATION:
            del self._order[name]
            self._leave_until(member, now + self._policy.trial_s)
        else:
            self._order.move_to_end(name)

    def _leave_until(self, member: Member, until: float) -> None:
        member.until = until
        heapq.heappush(self._away, (until, member.proxy.id))

    def _return(self, now: float) -> None:
        """Let those come back whose quarantine, or whose trial without a report, is over."""
        while self._away and self._away[0][0] <= now:
            until, name = heapq.heappop(self._away)
            member = self._members.get(name)
            if member is None or name in self._order or member.until != until:
                continue
            if member.standing is Standing.QUARANTINED:
                member.put_on_probation()
            self._order[name] = member
            self._order.move_to_end(name, last=False)

    def _answered(self, member: Member) -> tuple[Event, ...]:
        name = member.proxy.id
        restored = member.answered(self._policy)
        if member.standing is not Standing.QUARANTINED and name not in self._order:
            self._order[name] = member  # a trial that passed: it was used just now
        if not restored:
            return ()
        self.healthy += 1
        told: list[Event] = [events.ProxyRestored(proxy=name, healthy=self.healthy)]
        subnet = self._subnets[member.subnet]
        subnet.out -= 1
        if subnet.told:
            told.append(self._well(member.subnet, subnet))
        return tuple(told)

    def _well(self, name: str, subnet: _Subnet) -> events.SubnetRestored:
        subnet.told = False
        self._failing_subnets -= 1
        return events.SubnetRestored(subnet=name, proxies=subnet.size, failing=self._failing_subnets)

    def _failed(self, member: Member, now: float) -> tuple[Event, ...]:
        was_healthy = member.standing is Standing.HEALTHY
        successes, failures = member.successes, member.failures + 1
        if not member.failed(self._policy, now):
            return ()
        name = member.proxy.id
        self._order.pop(name, None)
        self._leave_until(member, member.until)
        subnet = self._subnets[member.subnet]
        if was_healthy:
            self.healthy -= 1
            subnet.out += 1
        told: list[Event] = [
            events.ProxyQuarantined(
                proxy=name,
                failures=failures if was_healthy else 1,
                successes=successes if was_healthy else member.passed,
                seconds=member.until - now,
                healthy=self.healthy,
            )
        ]
        if subnet.out == subnet.size >= _LEAST_SUBNET and not subnet.told:
            subnet.told = True
            self._failing_subnets += 1
            told.append(
                events.SubnetFailing(subnet=member.subnet, proxies=subnet.size, failing=self._failing_subnets)
            )
        return tuple(told)

    def _is_charged(self, proxy_id: str, site: str) -> bool:
        """Say whether a failure at a site is counted against the proxy."""
        failing = self._failing.setdefault(site, {})
        self._failing.move_to_end(site)
        if len(self._failing) > _SITES:
            self._failing.popitem(last=False)
        times = failing.get(proxy_id, 0)
        if not times and len(failing) >= _CHARGED_PROXIES:
            return False
        failing[proxy_id] = times + 1
        return times < _CHARGED_TIMES

    def _count(self, proxy_id: str, site: str, *, captcha: bool) -> None:
        if not captcha and not self._pairs:
            return
        key = (proxy_id, site)
        pair = self._pairs.get(key)
        if pair is None:
            if not captcha:
                return
            pair = self._pairs[key] = _Pair()
            if len(self._pairs) > _PAIRS:
                self._pairs.popitem(last=False)
        else:
            self._pairs.move_to_end(key)
        pair.count(captcha)

    def _remove(self, member: Member) -> None:
        name = member.proxy.id
        self._by_url.pop(member.proxy.url, None)
        self._order.pop(name, None)
        subnet = self._subnets[member.subnet]
        subnet.size -= 1
        if member.standing is Standing.HEALTHY:
            self.healthy -= 1
        else:
            subnet.out -= 1
        if not subnet.size:
            del self._subnets[member.subnet]


def subnet_of(host: str) -> str:
    """Return the /24 of an IPv4 address, the /48 of an IPv6 one; a name is a subnet of its own."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))
