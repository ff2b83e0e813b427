"""The list of proxies in use: read and read again, chosen from, reported to. The shell of ``proxy_pool``."""

from random import Random

from tidegate.clock import Clock
from tidegate.errors import ConfigurationError
from tidegate.events import Emit
from tidegate.outcome import Outcome
from tidegate.proxies import Proxy, ProxyList, parse
from tidegate.records import JobState

from tidegate_fetcher import events, ways
from tidegate_fetcher.proxy_pool import ProxyPool
from tidegate_fetcher.proxy_source import ProxySource
from tidegate_fetcher.ways import NoWay

_TOLD_LINES = 10


class Proxies:
    """Where requests go out. Without a source they go directly, unless their job brings a proxy."""

    def __init__(
        self,
        pool: ProxyPool,
        source: ProxySource | None,
        *,
        reread_s: float,
        clock: Clock,
        random: Random,
        emit: Emit,
    ) -> None:
        self.pool = pool
        self._source = source
        self._reread_s = reread_s
        self._clock = clock
        self._random = random
        self._emit = emit
        self._unread = False
        self._broken = False
        self._none_since: float | None = None

    async def begin(self) -> None:
        """Read the list for the first time. Raises ConfigurationError where a file is not as it must be.

        An address may be away for a while: nothing is fetched until it has answered.
        """
        if self._source is None:
            return
        try:
            await self._read(self._source)
        except ConfigurationError as error:
            if self._source.must_be_there:
                raise
            self._tell_unread(error)

    async def run(self) -> None:
        """Look for changes until cancelled. What cannot be read leaves the last good list in use."""
        while self._source is not None:
            await self._clock.sleep(self._reread_s)
            try:
                await self._read(self._source)
            except ConfigurationError as error:
                self._tell_unread(error)

    def choose(self, site: str, pin: str | None, avoid: str | None) -> Proxy | NoWay | None:
        """Return the proxy for a request; None: directly. ``pin`` is the job's own, by id or URL."""
        if pin is None and self._source is None:
            return None
        now = self._clock.monotonic()
        own = None if pin is None else ways.pinned(pin)
        named = pin if own is None else own.url
        chosen = self.pool.choose(site, now, pinned=named, avoid=() if avoid is None else (avoid,))
        if chosen is not None:
            return chosen
        if pin is not None:
            return own or NoWay(unknown=pin)
        self.has_room()
        return NoWay(wait_s=self.pool.next_in_s(now))

    def again(self, site: str, pin: str | None, proxy_id: str | None) -> Proxy | NoWay | None:
        """Return the proxy that somebody used before, however it stands; another one where it is gone."""
        known = None if proxy_id is None else self.pool.find(proxy_id)
        return self.choose(site, pin if known is None else known.id, None)

    def settled(self, proxy: Proxy | None, outcome: Outcome, state: JobState, *, failed: bool) -> Outcome:
        """Take note of how a try ended, and return its outcome with what the next one must know.

        ``failed``: the proxy itself could not be reached or turned us away.
        """
        if proxy is None or not proxy.id:
            return outcome
        verdict = ways.outcome_of(outcome, proxy_failed=failed)
        if verdict is not None:
            for event in self.pool.report(proxy.id, state.site, verdict, self._clock.monotonic()):
                self._emit(event)
        return ways.elsewhere(outcome, state, proxy.id)

    def is_ours(self, url: str) -> bool:
        """Say whether a proxy's URL is on the operator's list, who may have it at a private address."""
        return self._source is not None and self.pool.find(url) is not None

    def has_room(self) -> bool:
        """Say whether anything may be fetched: a wall of the intake."""
        if self._source is None:
            return True
        now = self._clock.monotonic()
        room = self.pool.has_room(now)
        if not room and self._none_since is None:
            self._none_since = now
            wait_s = round(self.pool.next_in_s(now), 3)
            self._emit(events.NoHealthyProxy(proxies=len(self.pool), seconds=wait_s))
        elif self._none_since is not None and self.pool.healthy:
            # A trial alone is no recovery: it would be told of, and taken back, each time.
            self._emit(events.ProxiesBack(seconds=round(now - self._none_since, 3)))
            self._none_since = None
        return room

    async def _read(self, source: ProxySource) -> None:
        data = await source.read()
        listed = None
        if data is not None:
            self._broken = True
            listed = parse(data)
            self._broken = False
        if self._unread and not self._broken:  # what came back as it was is back, too
            self._unread = False
            proxies = len(self.pool) if listed is None else len(listed.proxies)
            self._emit(events.ProxyListRead(proxies=proxies))
        if listed is not None:
            self._take(listed)

    def _take(self, listed: ProxyList) -> None:
        # Fetchers that begin with the same list must not all begin with the same proxy.
        proxies = list(listed.proxies)
        self._random.shuffle(proxies)
        changed = self.pool.load(proxies)
        for restored in changed.restored:
            self._emit(restored)
        if listed.bad:
            self._emit(
                events.ProxyLinesRefused(
                    count=len(listed.bad),
                    lines=tuple(bad.number for bad in listed.bad[:_TOLD_LINES]),
                    first_problem=listed.bad[0].problem,
                )
            )
        self._emit(
            events.ProxiesLoaded(
                proxies=len(self.pool),
                added=changed.added,
                removed=changed.removed,
                healthy=self.pool.healthy,
            )
        )

    def _tell_unread(self, error: ConfigurationError) -> None:
        if not self._unread:
            self._unread = True
            self._emit(events.ProxyListUnread(error=str(error), proxies=len(self.pool)))
