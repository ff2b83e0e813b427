"""robots.txt of every site: fetched once a day at most, by one for all who wait, in a turn of the site's.

It goes through the same client and the same proxy as the page it is for. A site whose rules cannot be had is
asked for nothing (RFC 9309): the job is tried again as after any network failure, and the rules that were
known before hold as long as nobody can tell better.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from tidegate.clock import Clock
from tidegate.outcome import Reason
from yarl import URL

from tidegate_fetcher.exchange import NetworkFailedError, RefusedError, Request, Response
from tidegate_fetcher.hosts import host_with_port
from tidegate_fetcher.robots_rules import Answer, RobotsRules, judged, read
from tidegate_fetcher.site_policies import SitePolicies

_SITES = 10_000
_KEPT_BYTES = 64 << 20
# Not a request for every job of a site that is down.
_ASK_AGAIN_S = 2.0
_LARGE = 16 << 10


class _Known(msgspec.Struct):
    """What is known of a site. ``trouble`` is why its rules are not."""

    rules: RobotsRules
    until: float
    size: int = 0
    trouble: NetworkFailedError | None = None


class Robots:
    """Judges URLs. ``spawn`` starts a task that somebody owns; ``ttl_s`` is how long rules hold, in seconds.

    It writes to ``delays`` the seconds between two requests that sites ask for.
    """

    def __init__(
        self,
        send: Callable[[Request], Awaitable[Response]],
        policies: SitePolicies,
        delays: dict[str, float],
        *,
        spawn: Callable[[Coroutine[Any, Any, _Known]], "asyncio.Task[_Known]"],
        clock: Clock,
        ttl_s: float,
    ) -> None:
        self._send = send
        self._policies = policies
        self._spawn = spawn
        self._clock = clock
        self._ttl_s = ttl_s
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._kept_bytes = 0
        self._asking: dict[tuple[str, str], asyncio.Task[_Known]] = {}
        self._delays = delays

    async def judge(self, url: URL, request: Request) -> None:
        """Return where the URL may be fetched.

        Raises RefusedError where robots.txt forbids it, NetworkFailedError where nobody knows.
        """
        site = host_with_port(url)
        if not self._policies.of(site).robots:
            return
        origin = (url.scheme, site)
        known = self._known.get(origin)
        if known is None or known.until <= self._clock.monotonic():
            known = await self._learnt(origin, url, request)
        if known.trouble is not None:
            told = known.trouble
            raise NetworkFailedError(told.message, status=told.status, url=url, of_proxy=told.of_proxy)
        if known.rules.parsed is not None and not known.rules.allows(url.raw_path_qs, str(url)):
            sentence = (
                f"robots.txt of {site} forbids this to {known.rules.agent!r}. To ignore it: robots = false "
                "in the policy file, or TIDEGATE_FETCHER__ROBOTS=ignore."
            )
            raise RefusedError(Reason.ROBOTS, sentence, url=url)

    async def _learnt(self, origin: tuple[str, str], url: URL, request: Request) -> _Known:
        asking = self._asking.get(origin)
        if asking is None:
            asking = self._asking[origin] = self._spawn(self._ask(origin, url, request))
        # Whoever waits may be cancelled; the others, and the answer, are not.
        return await asyncio.shield(asking)

    async def _ask(self, origin: tuple[str, str], url: URL, request: Request) -> _Known:
        """Fetch the rules and keep them, whatever comes."""
        asked = Request(
            url=url.origin() / "robots.txt",
            headers={"User-Agent": request.headers["User-Agent"], "Accept": "text/plain,*/*;q=0.8"},
            proxy=request.proxy,
            proxy_id=request.proxy_id,
        )
        try:
            known = await self._answer(asked)
        except NetworkFailedError as error:
            known = self._without(origin, error)
        except RefusedError:  # too many redirects, too large, refused: as if there were none
            known = _Known(RobotsRules(), self._clock.monotonic() + self._ttl_s)
        except Exception as error:  # noqa: BLE001 -- no answer that nobody foresaw may end the process
            sentence = f"robots.txt cannot be had ({type(error).__name__})."
            known = self._without(origin, NetworkFailedError(sentence))
        finally:
            del self._asking[origin]
        self._keep(origin, known)
        return known

    async def _answer(self, asked: Request) -> _Known:
        response = await self._send(asked)
        until = self._clock.monotonic() + self._ttl_s
        what = judged(response.status)
        if what is Answer.UNREACHABLE:
            raise NetworkFailedError(
                f"robots.txt answered {response.status}: until it can be had nothing may be fetched.",
                status=response.status,
            )
        if what is Answer.NONE:
            return _Known(RobotsRules(), until)
        body, agent = response.body, asked.headers["User-Agent"]
        rules = await asyncio.to_thread(read, body, agent) if len(body) > _LARGE else read(body, agent)
        return _Known(rules, until, size=len(body) if rules.parsed is not None else 0)

    def _without(self, origin: tuple[str, str], error: NetworkFailedError) -> _Known:
        """Return the rules known before, or the trouble."""
        until = self._clock.monotonic() + _ASK_AGAIN_S
        before = self._known.get(origin)
        if before is not None and before.trouble is None:
            return _Known(before.rules, until, size=before.size)
        return _Known(RobotsRules(), until, trouble=error)

    def _keep(self, origin: tuple[str, str], known: _Known) -> None:
        self._drop(origin)
        self._known[origin] = known
        self._kept_bytes += known.size
        if known.rules.delay_s is not None:
            self._delays[origin[1]] = known.rules.delay_s
        while len(self._known) > _SITES or (self._kept_bytes > _KEPT_BYTES and len(self._known) > 1):
            self._drop(next(iter(self._known)))

    def _drop(self, origin: tuple[str, str]) -> None:
        known = self._known.pop(origin, None)
        if known is not None:
            self._kept_bytes -= known.size
            self._delays.pop(origin[1], None)
