"""robots.txt of every site: fetched once a day at most, by one for all who wait, in a turn of the site's.

It goes through the same client and the same proxy as the page it is for; what comes through a job's own proxy
holds for jobs with that proxy only, and the failure of a proxy for nobody but who asked through it. A site
whose rules cannot be had is asked for nothing (RFC 9309), and the rules that were known before hold as long
as nobody can tell better. After a network failure the job is tried again as after any other. A 5xx or a 429
closes the site until it is asked for its rules again: after its Retry-After, or half a minute.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from tidegate.clock import Clock
from tidegate.outcome import Reason
from yarl import URL

from tidegate_fetcher.classify import retry_after_s
from tidegate_fetcher.exchange import (
    NetworkFailedError,
    RefusedError,
    Request,
    Response,
    RulesUnknownError,
)
from tidegate_fetcher.hosts import host_with_port
from tidegate_fetcher.robots_rules import Answer, RobotsRules, judged, product_of, read
from tidegate_fetcher.site_pace import Answered
from tidegate_fetcher.site_policies import SitePolicies

_SITES = 10_000
_KEPT_BYTES = 64 << 20
# Not a request for every job of a site that is down.
_ASK_AGAIN_S = 2.0
# Of a site that answered, and not with rules: what it says itself, within bounds.
_CLOSED_S, _LONGEST_CLOSED_S = 30.0, 600.0
_LARGE = 16 << 10
# How long a site that answers with a challenge has no rules: that may pass sooner than rules change.
_WALLED_S = 3600.0
# How often a job asks after other jobs' proxies failed at it.
_MOST_ASKED = 4

_Origin = tuple[str, str, str | None]
"""Scheme, host, and the proxy where a job brought its own."""


class _Known(msgspec.Struct):
    """What is known of a site. ``trouble`` is why its rules are not, ``proxy`` the way they were asked by."""

    rules: RobotsRules
    until: float
    trouble: NetworkFailedError | RulesUnknownError | None = None
    proxy: str | None = None

    def is_of_other(self, proxy: str | None) -> bool:
        """Say whether this tells of another one's proxy, and nothing of the site."""
        return self.trouble is not None and self.trouble.of_proxy and self.proxy != proxy


class Robots:
    """Judges URLs. ``spawn`` starts a task that somebody owns; ``ttl_s`` is how long rules hold, in seconds.

    It writes to ``delays`` the seconds between two requests that sites ask for. ``is_challenge`` says whether
    an answer is one; ``answered`` is told of what says something of the site's pace.
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
        is_challenge: Callable[[Response], bool],
        answered: Callable[[str, Answered], None],
    ) -> None:
        self._send = send
        self._policies = policies
        self._spawn = spawn
        self._clock = clock
        self._ttl_s = ttl_s
        self._is_challenge = is_challenge
        self._answered = answered
        self._known: OrderedDict[_Origin, _Known] = OrderedDict()
        self._kept_bytes = 0
        self._asking: dict[_Origin, asyncio.Task[_Known]] = {}
        self._delays = delays

    async def judge(self, url: URL, request: Request) -> None:
        """Return where the URL may be fetched.

        Raises RefusedError where robots.txt forbids it, NetworkFailedError and RulesUnknownError where nobody
        knows.
        """
        site = host_with_port(url)
        if not self._policies.of(site).robots:
            return
        origin = (url.scheme, site, request.proxy if request.proxy_id is None else None)
        known = self._known.get(origin)
        if known is None or known.until <= self._clock.monotonic():
            known = await self._learnt(origin, url, request)
        if known.trouble is not None:
            told = known.trouble
            if isinstance(told, RulesUnknownError):
                after_s = max(0.0, known.until - self._clock.monotonic())
                raise RulesUnknownError(told.message, status=told.status or 0, after_s=after_s, url=url)
            of_proxy = told.of_proxy and not known.is_of_other(request.proxy)
            raise NetworkFailedError(told.message, status=told.status, url=url, of_proxy=of_proxy)
        user_agent = request.headers["User-Agent"]
        if not known.rules.allows(url.raw_path_qs, str(url), user_agent):
            sentence = (
                f"robots.txt of {site} forbids this to {product_of(user_agent)!r}. To ignore it: "
                "robots = false in the policy file, or TIDEGATE_FETCHER__ROBOTS=ignore."
            )
            raise RefusedError(Reason.ROBOTS, sentence, url=url)

    async def _learnt(self, origin: _Origin, url: URL, request: Request) -> _Known:
        for _ in range(_MOST_ASKED):
            asking = self._asking.get(origin)
            if asking is None:
                asking = self._asking[origin] = self._spawn(self._ask(origin, url, request))
            # Whoever waits may be cancelled; the others, and the answer, are not.
            known = await asyncio.shield(asking)
            if not known.is_of_other(request.proxy):
                break
        return known

    async def _ask(self, origin: _Origin, url: URL, request: Request) -> _Known:
        """Fetch the rules and keep them, whatever comes."""
        asked = Request(
            url=url.origin() / "robots.txt",
            headers={"User-Agent": self._policies.of(origin[1]).user_agent, "Accept": "text/plain,*/*;q=0.8"},
            proxy=request.proxy,
            proxy_id=request.proxy_id,
        )
        try:
            known = await self._answer(origin, asked)
        except (NetworkFailedError, RulesUnknownError) as error:
            known = self._without(origin, error)
        except RefusedError:  # too many redirects, too large, refused: as if there were none
            known = _Known(RobotsRules(), self._clock.monotonic() + self._ttl_s)
        except Exception as error:  # noqa: BLE001 -- no answer that nobody foresaw may end the process
            sentence = f"robots.txt cannot be had ({type(error).__name__})."
            known = self._without(origin, NetworkFailedError(sentence))
        finally:
            del self._asking[origin]
        known.proxy = request.proxy
        if known.trouble is None or not known.trouble.of_proxy:
            self._keep(origin, known)
        return known

    async def _answer(self, origin: _Origin, asked: Request) -> _Known:
        response = await self._send(asked)
        until = self._clock.monotonic() + self._ttl_s
        what = judged(response.status)
        if what is Answer.UNREACHABLE and self._is_challenge(response):
            # Who waits until it can be had waits for ever: nobody solves a challenge but for a page.
            walled_until = self._clock.monotonic() + min(self._ttl_s, _WALLED_S)
            return _Known(self._before(origin) or RobotsRules(), walled_until)
        if what is Answer.UNREACHABLE:
            after_s = retry_after_s(response.headers)
            if origin[2] is None:  # what came through a job's own proxy holds for that job
                self._answered(origin[1], Answered(response.status, response.elapsed_ms / 1000, after_s))
            raise RulesUnknownError(
                f"robots.txt answered {response.status}: until it can be had nothing may be fetched.",
                status=response.status,
                after_s=min(max(_ASK_AGAIN_S, after_s or _CLOSED_S), _LONGEST_CLOSED_S),
            )
        if what is Answer.NONE:
            return _Known(RobotsRules(), until)
        body, agent = response.body, asked.headers["User-Agent"]
        rules = await asyncio.to_thread(read, body, agent) if len(body) > _LARGE else read(body, agent)
        return _Known(rules, until)

    def _before(self, origin: _Origin) -> RobotsRules | None:
        before = self._known.get(origin)
        return None if before is None or before.trouble is not None else before.rules

    def _without(self, origin: _Origin, error: NetworkFailedError | RulesUnknownError) -> _Known:
        """Return the rules known before, or the trouble."""
        again_s = error.after_s if isinstance(error, RulesUnknownError) else _ASK_AGAIN_S
        until = self._clock.monotonic() + again_s
        before = self._before(origin)
        if before is not None:
            return _Known(before, until)
        return _Known(RobotsRules(), until, trouble=error)

    def _keep(self, origin: _Origin, known: _Known) -> None:
        self._drop(origin)
        self._known[origin] = known
        self._kept_bytes += known.rules.size
        self._slow(origin[1])
        while len(self._known) > _SITES or (self._kept_bytes > _KEPT_BYTES and len(self._known) > 1):
            self._drop(next(iter(self._known)))

    def _drop(self, origin: _Origin) -> None:
        known = self._known.pop(origin, None)
        if known is not None:
            self._kept_bytes -= known.rules.size
            self._slow(origin[1])

    def _slow(self, site: str) -> None:
        """Write the longer of the delays that a site asks for by its schemes; a job's proxy slows nobody."""
        both = (self._known.get((scheme, site, None)) for scheme in ("http", "https"))
        asked = [
            known.rules.delay_s for known in both if known is not None and known.rules.delay_s is not None
        ]
        if asked:
            self._delays[site] = max(asked)
        else:
            self._delays.pop(site, None)
