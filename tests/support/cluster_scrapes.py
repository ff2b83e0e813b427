"""What Prometheus would answer to the chart's queries, from the pages of processes that run here.

The queries are not evaluated: their meaning is written down here once more, for gauges as they are now and
for rates over half a minute, where the chart takes minutes: a test of minutes has no more.
"""

import asyncio
import re
from collections import deque

import aiohttp
from support.cluster import CLOCK, RELEASE
from support.cluster_nodes import Nodes
from support.cluster_readings import Readings

_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
_WINDOW_S = 30.0
_TIMEOUT_S = 2.0


class Scrapes:
    """Reads the pages, and sets the readings."""

    def __init__(self, nodes: Nodes, readings: Readings) -> None:
        self._nodes = nodes
        self._readings = readings
        self._counted: dict[str, deque[tuple[float, float]]] = {}
        self._last: dict[tuple[str, str], float] = {}
        self._totals: dict[str, float] = {}
        self._gauges: dict[str, float] = {}

    async def once(self, wanted: int) -> None:
        """Read all pages; ``wanted`` is what the fetchers' deployment names."""
        self._gauges = {"fetcher": 0.0, "solver": 0.0, "held": 0.0}
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for service in ("fetcher", "solver", "storer"):
                for pod, page in self._nodes.pages(service).items():
                    text = await _text(session, page)
                    for name, labels, value in _SAMPLE.findall(text):
                        self._take(service, name, pod + labels, float(value))
        challenges, pages = self._rate("challenges"), self._rate("pages")
        fetcher, solver, storer = (f"{RELEASE}-{each}" for each in ("fetcher", "solver", "storer"))
        self._readings.values |= {
            (fetcher, "work"): self._gauges["fetcher"],
            (fetcher, "held"): self._gauges["held"],
            (fetcher, "captcha"): challenges / max(0.1, challenges + pages),
            (fetcher, "wanted"): float(wanted),
            (solver, "work"): self._gauges["solver"],
            (storer, "work"): self._rate("stored"),
        }

    def _take(self, service: str, name: str, series: str, value: float) -> None:
        if name == "tidegate_records_in_hand" and service in self._gauges:
            self._gauges[service] += value
        elif name == "tidegate_gate_share_clean":
            self._gauges["held"] += value < 0.5
        elif name == "tidegate_challenges_total":
            self._count("challenges", series, value)
        elif name == "tidegate_fetches_total" and 'outcome="page"' in series:
            self._count("pages", series, value)
        elif name == "tidegate_store_records_total":
            self._count("stored", series, value)

    def _count(self, what: str, series: str, value: float) -> None:
        """Add a counter's growth, also of one that ends before it is read again."""
        self._totals[what] = self._totals.get(what, 0.0) + value - self._last.get((what, series), 0.0)
        self._last[what, series] = value

    def _rate(self, what: str) -> float:
        """Return growth a second over the window."""
        seen = self._counted.setdefault(what, deque())
        now = CLOCK.monotonic()
        seen.append((now, self._totals.get(what, 0.0)))
        while len(seen) > 2 and now - seen[1][0] >= _WINDOW_S:
            seen.popleft()
        (since, before), (_, after) = seen[0], seen[-1]
        return (after - before) / max(_WINDOW_S, now - since)


async def _text(session: aiohttp.ClientSession, page: str) -> str:
    """Return a page; nothing where its process is just starting or ending."""
    try:
        async with session.get(page) as response:
            return await response.text()
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError):
        return ""
