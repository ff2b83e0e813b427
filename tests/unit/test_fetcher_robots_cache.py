"""robots.txt, kept for all: what one job's proxy, agent or scheme says is not held against the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from multidict import CIMultiDict
from tidegate.outcome import Reason
from tidegate.testing.manual_clock import ManualClock
from tidegate_fetcher.exchange import (
    NetworkFailedError,
    RefusedError,
    Request,
    Response,
    RulesUnknownError,
)
from tidegate_fetcher.robots import Robots
from tidegate_fetcher.site_pace import Answered
from tidegate_fetcher.site_policies import SitePolicies, SitePolicy
from tidegate_fetcher.site_slots import SiteRule
from yarl import URL

PAGE = URL("http://a.example/private")
CLOSED = b"User-agent: friendbot\nDisallow:\n\nUser-agent: *\nDisallow: /private"


class Rig:
    """Robots of sites that answer with what ``answers`` says for a proxy or a URL, else with ``text``."""

    def __init__(self, text: bytes = b"", status: int = 200, challenge: bytes = b"no such page") -> None:
        self.text, self.status = text, status
        self.dead: set[str] = set()
        self.answers: dict[str, bytes] = {}
        self.asked: list[Request] = []
        self.delays: dict[str, float] = {}
        self.headers = CIMultiDict[str]()
        self.told: list[tuple[str, Answered]] = []
        self.clock = ManualClock()
        base = SitePolicy(rule=SiteRule(concurrency=1, per_second=None), robots=True, user_agent="Tidegate/1")

        def spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            return asyncio.ensure_future(work)

        self.robots = Robots(
            self._send,
            SitePolicies(base),
            self.delays,
            spawn=spawn,
            clock=self.clock,
            ttl_s=86_400.0,
            is_challenge=lambda response: challenge in response.body,
            answered=lambda site, answer: self.told.append((site, answer)),
        )

    async def _send(self, request: Request) -> Response:
        self.asked.append(request)
        await asyncio.sleep(0)  # noqa: TID251 -- others come to wait; no time passes
        if request.proxy in self.dead:
            raise NetworkFailedError("The proxy cannot be reached.", of_proxy=True)
        body = self.answers.get(request.proxy or "", self.answers.get(str(request.url), self.text))
        return Response(
            url=request.url,
            status=self.status,
            headers=self.headers,
            body=body,
            jar=(),
            redirects=0,
            elapsed_ms=1,
            wire_bytes=len(body),
        )

    async def judged(
        self,
        url: URL = PAGE,
        agent: str = "Tidegate/1",
        proxy: str | None = None,
        proxy_id: str | None = None,
    ) -> str:
        """Return how a URL is judged: "yes", "no", or whose trouble it is."""
        request = Request(url=url, headers={"User-Agent": agent}, proxy=proxy, proxy_id=proxy_id)
        try:
            await self.robots.judge(url, request)
        except RefusedError as error:
            return "no" if error.reason is Reason.ROBOTS else error.reason
        except NetworkFailedError as error:
            return "proxy" if error.of_proxy else "site"
        except RulesUnknownError as error:
            return f"closed for {error.after_s:g} s"
        return "yes"


async def test_a_dead_proxy_is_charged_to_who_asked_through_it_only() -> None:
    """The others, be they waiting or come at once after, ask through their own."""
    rig = Rig()
    rig.dead = {"dead"}
    ways = ["dead", "good", "fine", "dead"]
    found = await asyncio.gather(*(rig.judged(proxy=way, proxy_id=way) for way in ways))
    assert found == ["proxy", "yes", "yes", "proxy"]
    rig = Rig()
    rig.dead = {"dead"}
    assert [await rig.judged(proxy=way, proxy_id=way) for way in ways] == ["proxy", "yes", "yes", "yes"]


async def test_many_dead_proxies_make_nobody_wait_for_ever() -> None:
    """Who has waited for a few of them is told that it is the site's, as far as it knows."""
    rig = Rig()
    rig.dead = {f"dead{number}" for number in range(8)}
    found = await asyncio.gather(
        *(rig.judged(proxy=way, proxy_id=way) for way in [*sorted(rig.dead), "good"])
    )
    assert len(rig.asked) <= 8
    assert set(found) == {"proxy", "site"}


@pytest.mark.parametrize("first", ["friendbot/1.0", "Tidegate/1"])
async def test_rules_are_for_who_asks_whoever_came_first(first: str) -> None:
    """One answer serves all agents, each by its own group."""
    rig = Rig(CLOSED)
    await rig.judged(agent=first)
    assert await rig.judged(agent="friendbot/1.0") == "yes"
    assert await rig.judged() == "no"
    assert [request.headers["User-Agent"] for request in rig.asked] == ["Tidegate/1"]


async def test_what_a_jobs_own_proxy_says_holds_for_it_alone() -> None:
    """It may be anybody's; rules and delays of the site come through the operator's ways."""
    rig = Rig(CLOSED)
    rig.answers["theirs"] = b"User-agent: *\nCrawl-delay: 500"
    assert await rig.judged(proxy="theirs") == "yes"
    assert rig.delays == {}
    assert await rig.judged() == "no"
    assert await rig.judged(proxy="ours", proxy_id="p1") == "no"
    assert await rig.judged(proxy="theirs") == "yes"
    assert len(rig.asked) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_challenge_in_the_place_of_rules_is_none(status: int) -> None:
    """As 403 is: else no job of a walled site would ever meet the challenge that can be solved."""
    assert await Rig(b"prove it", status, challenge=b"prove it").judged() == "yes"
    assert await Rig(b"too busy", status, challenge=b"prove it").judged() == "closed for 30 s"


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(("asked_for", "closed"), [(None, 30), ("90", 90), ("0", 30), ("86400", 600)])
async def test_a_site_that_cannot_tell_its_rules_is_closed_for_a_while(
    status: int, asked_for: str | None, closed: float
) -> None:
    """For its Retry-After, in bounds; one of all who wait tells the site's pace of it."""
    rig = Rig(b"too busy", status)
    if asked_for is not None:
        rig.headers["Retry-After"] = asked_for
    assert set(await asyncio.gather(rig.judged(), rig.judged())) == {f"closed for {closed:g} s"}
    rig.clock.advance(closed - 10)
    assert await rig.judged() == "closed for 10 s"
    after_s = None if asked_for is None else float(asked_for)
    assert rig.told == [("a.example", Answered(status, 0.001, after_s))]
    rig.clock.advance(10)
    rig.status, rig.text = 200, CLOSED
    assert await rig.judged() == "no"
    assert len(rig.asked) == 2


async def test_rules_that_were_known_hold_while_the_site_cannot_tell_better() -> None:
    """They are asked for again when it said; a job's own proxy tells nothing of the site's pace."""
    rig = Rig(CLOSED)
    assert await rig.judged() == "no"
    rig.status = 503
    rig.clock.advance(86_400.0)
    assert [await rig.judged(), await rig.judged()] == ["no", "no"]
    assert len(rig.asked) == 2
    rig.told.clear()
    assert await rig.judged(proxy="theirs") == "closed for 30 s"
    assert rig.told == []


async def test_the_longer_delay_of_both_schemes_is_kept() -> None:
    """They share the site's turns."""
    for order in (("http", "https"), ("https", "http")):
        rig = Rig()
        rig.answers["https://a.example/robots.txt"] = b"User-agent: *\nCrawl-delay: 30"
        rig.answers["http://a.example/robots.txt"] = b"User-agent: *\nCrawl-delay: 2"
        for scheme in order:
            await rig.judged(PAGE.with_scheme(scheme))
        assert rig.delays == {"a.example": 30.0}
