"""A simulated site that can be asked too often, and the real site limits before it, for ``support.flow``."""

import heapq
from collections import defaultdict
from typing import Any

import msgspec
from tidegate_fetcher.site_limits import Go, SiteLimits
from tidegate_fetcher.site_pace import Answered, PacePolicy
from tidegate_fetcher.site_slots import Claim, SiteRule

_TICK_S = 0.05
_SITE = "slowed.example"
_NEW = Claim()


class _Site(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a site bears: ``per_s`` requests a second (429 above it) by ``workers`` of ``latency_s`` each.

    A refusal says ``retry_after_s``, if it is given; in an outage (from, to) every answer is a 503.
    """

    per_s: list[tuple[float, float]]
    workers: list[tuple[float, int]] = msgspec.field(default_factory=lambda: [(0.0, 1000)])
    latency_s: float = 0.2
    retry_after_s: float | None = None
    outages: list[tuple[float, float]] = []


class _Server:
    """The site at work."""

    def __init__(self, peer: _Site) -> None:
        self.peer = peer
        self.allowed = 1.0
        self.free_at: list[float] = []

    def tick(self, now: float) -> None:
        """Let it bear one tick's more."""
        per_s = [value for since, value in self.peer.per_s if since <= now][-1]
        self.allowed = min(max(1.0, per_s), self.allowed + per_s * _TICK_S)

    def ask(self, now: float) -> tuple[float, int]:
        """Return when the answer comes, and its status."""
        if any(begin <= now < end for begin, end in self.peer.outages):
            return now + 0.05, 503
        if self.allowed < 1:
            return now + 0.05, 429
        self.allowed -= 1
        workers = [count for since, count in self.peer.workers if since <= now][-1]
        self.free_at = sorted(at for at in self.free_at if at > now)
        begins = now if len(self.free_at) < workers else self.free_at[-workers]
        self.free_at.append(begins + self.peer.latency_s)
        return begins + self.peer.latency_s, 200


def play(
    rule: dict[str, Any], peer: dict[str, Any], policies: dict[str, Any], seconds: int
) -> dict[str, list[float]]:
    """Ask a site as often as its limits let; return requests, refusals and the mean wait of each second."""
    whole = msgspec.convert(rule, SiteRule)
    pace = msgspec.convert(policies.get("pace", {}), PacePolicy)
    limits = SiteLimits(lambda _site: whole, wait_s=0.0, pace=pace)
    site = msgspec.convert(peer, _Site)
    server = _Server(site)
    under_way: list[tuple[float, float, int]] = []
    series: dict[str, list[float]] = defaultdict(list)
    asked = refused = 0
    took: list[float] = []
    for tick in range(round(seconds / _TICK_S)):
        now = tick * _TICK_S
        server.tick(now)
        while under_way and under_way[0][0] <= now:
            at, began, status = heapq.heappop(under_way)
            limits.leave(_SITE, began, at)
            after_s = None if status == 200 else site.retry_after_s
            limits.answered(_SITE, Answered(status, at - began, after_s), now)
            refused += status != 200
            took.append(at - began)
        while isinstance(limits.ask(_SITE, _NEW, now), Go):
            asked += 1
            at, status = server.ask(now)
            heapq.heappush(under_way, (at, now, status))
        if (tick + 1) * _TICK_S >= len(series["asked"]) + 1:
            series["asked"].append(asked)
            series["refused"].append(refused)
            series["took_s"].append(sum(took) / len(took) if took else 0.0)
            asked = refused = 0
            took.clear()
    return series
