"""Follows the topic ``site-health``: a site whose CAPTCHA rate rises is asked less often by all fetchers.

What the monitor says counts for three minutes and is said again each minute. Where no monitor runs, nobody is
slowed, and nothing waits for it.
"""

from contextlib import aclosing

import msgspec
from tidegate.clock import BrokerClock, Clock
from tidegate.errors import BrokerError, OffsetsLostError
from tidegate.process import PartitionReader
from tidegate.records import Inbound
from tidegate.site_health import HEALTH_LASTS_S, SiteHealth
from tidegate.topics import Topic

from tidegate_fetcher.site_slots import SiteRule

_BACKOFF_S = 5.0
_MOST_SITES = 10_000


class HealthWatch:
    """The factors of slowed sites, kept up to date by ``run``."""

    def __init__(self, reader: PartitionReader, clock: Clock, broker_clock: BrokerClock) -> None:
        self._reader = reader
        self._clock = clock
        self._broker_clock = broker_clock
        self._next = 0
        self._factors: dict[str, tuple[float, float]] = {}

    def slowed(self, site: str, rule: SiteRule) -> SiteRule:
        """Return a site's rule, cut by its factor where it has one now; one request at once stays."""
        found = self._factors.get(site)
        if found is None:
            return rule
        factor, until_s = found
        if self._clock.monotonic() >= until_s:
            del self._factors[site]
            return rule
        rate = None if rule.per_second is None else rule.per_second * factor
        concurrency = max(1, int(rule.concurrency * factor))
        return msgspec.structs.replace(rule, concurrency=concurrency, per_second=rate)

    async def run(self) -> None:
        """Follow until cancelled. While the topic cannot be read, what was known runs out."""
        while True:
            try:
                async with aclosing(self._reader.follow(Topic.SITE_HEALTH, 0, self._next)) as batches:
                    async for batch in batches:
                        for record in batch:
                            self._take(record)
            except OffsetsLostError as error:
                self._next = max(0, *(left for _, left in error.lost.values()))
            except BrokerError:
                pass
            await self._clock.sleep(_BACKOFF_S)

    def _take(self, record: Inbound) -> None:
        if record.offset < self._next:
            return
        self._next = record.offset + 1
        left_s = HEALTH_LASTS_S - (self._broker_clock.now_ms() - record.timestamp_ms) / 1000
        try:
            health = msgspec.json.decode(record.value or b"", type=SiteHealth)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if not 0.0 < health.factor < 1.0 or left_s <= 0:
            self._factors.pop(health.site, None)
            return
        now = self._clock.monotonic()
        if health.site not in self._factors and len(self._factors) >= _MOST_SITES:
            # Of sites that nobody asks any more, nobody else takes the factors out.
            self._factors = {site: known for site, known in self._factors.items() if known[1] > now}
        if health.site in self._factors or len(self._factors) < _MOST_SITES:
            self._factors[health.site] = (health.factor, now + left_s)
