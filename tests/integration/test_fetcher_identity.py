"""Who passed a challenge is who asks next: over HTTP, in one fetcher, and in the one after it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.fetcher import fetcher, job, page_of, request_of, run, sent, site, solution
from tidegate.captcha_records import CaptchaRequest, SolutionStatus
from tidegate.clock import SystemClock
from tidegate.events import Event
from tidegate.outcome import Defer, ErrorClass, Outcome, Retry
from tidegate.proxies import proxy_of
from tidegate.testing.fake_broker import FakeBroker
from tidegate.topics import Topic
from tidegate_fetcher.events import FetchDone, SessionPassed, SessionRetired, SessionsRestored
from tidegate_fetcher.handler import Fetcher

HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!doctype html><title>Page</title><p>" + b"content " * 200
SECRET = "5ecret"
WIDGET = (
    '<form action="/verify" method="post"><div class="g-recaptcha" data-sitekey="6Lc-1"></div>'
    '<input type="hidden" name="g-recaptcha-response"></form>'
)


class Gate:
    """A site that asks for a token, or for a clearance; ``views`` is what the cookie of one answer opens."""

    def __init__(self, *, clearance: bool = False, views: int = 1_000) -> None:
        self.clearance = clearance
        self.views = views
        self.left = 0
        self.challenges = 0
        self.agents: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/verify":
            self.left = self.views
            response = web.Response(status=303, headers={"Location": "/page?x=1"})
            response.set_cookie("pass", SECRET, path="/")
            return response
        cookie = request.cookies.get("aws-waf-token" if self.clearance else "pass")
        if cookie == SECRET and (self.left > 0 or self.clearance):
            self.left -= 1
            self.agents.add(request.headers["User-Agent"])
            return web.Response(body=PAGE, headers=HTML)
        self.challenges += 1
        if self.clearance:
            return web.Response(status=405, headers={**HTML, "x-amzn-waf-action": "captcha"}, text="<p>Wait")
        return web.Response(status=403, headers=HTML, text=WIDGET)


async def solved(service: Fetcher, request: CaptchaRequest, **fields: Any) -> Outcome:
    """Hand an answer of the kind that the request wants to the fetcher."""
    if request.challenge.kind == "aws_waf":
        fields = {"token": None, "cookies": {"aws-waf-token": SECRET}, **fields}
    return await run(service, solution(request, **fields), topic=Topic.CAPTCHA_SOLUTIONS)


def kept(broker: FakeBroker, outcome: Outcome) -> None:
    """Put what an outcome writes to ``sessions`` there."""
    for record in sent(outcome, Topic.SESSIONS):
        broker.append(record)


@pytest.mark.parametrize("clearance", [False, True])
async def test_the_next_page_of_a_solved_site_is_not_challenged(clearance: bool) -> None:
    """Token or clearance: its cookies and its user agent are used for the site's next pages."""
    gate, events = Gate(clearance=clearance), list[Event]()
    async with site(gate.handle) as base, fetcher(solve_hosts=("*",), events=events) as service:
        request = request_of(await run(service, f"{base}/page?x=1"))
        page_of(await solved(service, request, user_agent="Solver/3"))
        for number in range(5):
            assert page_of(await run(service, f"{base}/page?x={number}")).body == PAGE
        mine = await run(service, job(f"{base}/page", headers={"Cookie": "mine=1"}))
    assert gate.challenges == 2
    assert gate.agents == {"Solver/3"}
    assert request_of(mine).identity.id is None
    assert [event.kind for event in events if isinstance(event, SessionPassed)] == [request.challenge.kind]
    assert SECRET not in repr(events)


async def test_while_one_is_solved_for_the_others_wait_and_ask_for_nothing() -> None:
    """M7: one request to the solver; the others are put off, and come as who passed."""
    gate = Gate(clearance=True)
    async with site(gate.handle) as base, fetcher(solve_hosts=("*",)) as service:
        urls = [f"{base}/page?x={number}" for number in range(6)]
        first, *others = [await run(service, job(url, id=url)) for url in urls]
        assert all(isinstance(outcome, Defer) for outcome in others)
        # The redo of the one who leads asks under the same id, which the solver answers once (M4).
        again = await run(service, job(urls[0], id=urls[0]))
        assert request_of(again).request_id == request_of(first).request_id
        page_of(await solved(service, request_of(first)))
        for url in urls[1:]:
            page_of(await run(service, job(url, id=url)))
    assert gate.challenges == 3 + 1


@pytest.mark.parametrize(
    ("solve_hosts", "outcomes"), [((), ["solve_not_allowed"] * 2), (("*",), ["challenge", "deferred"])]
)
async def test_what_the_site_answers_is_told_whatever_becomes_of_the_job(
    solve_hosts: tuple[str, ...], outcomes: list[str]
) -> None:
    """A challenge that nothing is bought for is one: else a site that challenges all would have no rate."""
    gate, events = Gate(), list[Event]()
    async with site(gate.handle) as base, fetcher(solve_hosts=solve_hosts, events=events) as service:
        for number in range(2):
            await run(service, job(f"{base}/page?x={number}", id=str(number)))
    told = [event for event in events if isinstance(event, FetchDone)]
    assert [event.outcome for event in told] == outcomes
    assert sum(event.challenged for event in told) == gate.challenges == 2


async def test_a_token_that_is_not_taken_is_no_challenge_more() -> None:
    """It tells of its solver; the page that a taken one brings is no challenge either."""
    gate, events = Gate(clearance=True), list[Event]()
    async with site(gate.handle) as base, fetcher(solve_hosts=("*",), events=events) as service:
        request = request_of(await run(service, f"{base}/page?x=1"))
        await solved(service, request, cookies={"aws-waf-token": "no"})
        request = request_of(await run(service, f"{base}/page?x=1"))
        page_of(await solved(service, request))
    told = [(event.outcome, event.challenged) for event in events if isinstance(event, FetchDone)]
    assert told == [("challenge", True), ("solve_failed", False), ("challenge", True), ("page", False)]


async def test_a_site_that_challenges_again_is_solved_again() -> None:
    """The session ends with it; its successor is bought by one job alone."""
    gate, events = Gate(views=3), list[Event]()
    async with site(gate.handle) as base, fetcher(solve_hosts=("*",), events=events) as service:
        await solved(service, request_of(await run(service, f"{base}/page?x=1")))
        outcomes = [await run(service, f"{base}/page?x={number}") for number in range(3)]
        request = request_of(outcomes[2])
        assert [event.reason for event in events if isinstance(event, SessionRetired)] == ["challenged"]
        assert isinstance(await run(service, job(f"{base}/page?x=4", id="follower")), Defer)
        page_of(await solved(service, request))
        page_of(await run(service, job(f"{base}/page?x=4", id="follower")))
    assert gate.challenges == 3


@pytest.mark.parametrize("status", [SolutionStatus.FAILED, SolutionStatus.UNSOLVABLE, "refused by the site"])
async def test_an_answer_that_opens_nothing_lets_the_next_one_buy(status: str) -> None:
    """Nobody waits for what will not come (M7)."""
    gate = Gate(clearance=True)
    async with site(gate.handle) as base, fetcher(solve_hosts=("*",)) as service:
        request = request_of(await run(service, f"{base}/page?x=1"))
        assert isinstance(await run(service, f"{base}/page?x=2"), Defer)
        bad: dict[str, Any] = {"cookies": {"aws-waf-token": "no"}}
        ended = await solved(service, request, **(bad if " " in status else {"status": status}))
        assert [record.value for record in sent(ended, Topic.SESSIONS)] == [None]
        request_of(await run(service, f"{base}/page?x=2"))


async def test_who_takes_a_partition_over_comes_as_who_passed_before() -> None:
    """M6: a second fetcher reads ``sessions``: a session is used, and a lease holds, there, too."""
    gate, broker, events = Gate(clearance=True), FakeBroker(SystemClock(), partitions=1), list[Event]()
    async with site(gate.handle) as base:
        async with fetcher(solve_hosts=("*",), broker=broker) as first:
            outcome = await run(first, f"{base}/page?x=1")
            kept(broker, outcome)
            async with fetcher(solve_hosts=("*",), broker=broker) as second:
                await second.prepare(0)
                assert isinstance(await run(second, f"{base}/page?x=2"), Defer)
            landed = await solved(first, request_of(outcome))
            kept(broker, landed)
        async with fetcher(solve_hosts=("*",), broker=broker, events=events) as third:
            await third.prepare(0)
            page_of(await run(third, f"{base}/page?x=2"))
            third.release(0)
            request_of(await run(third, f"{base}/page?x=3"))
    assert [event.visitors for event in events if isinstance(event, SessionsRestored)] == [1]


async def test_a_session_that_is_blocked_thrice_is_given_up() -> None:
    """The fourth page is asked for by somebody the site does not know."""
    gate = Gate()
    blocked = False

    async def handle(request: web.Request) -> web.StreamResponse:
        if blocked and request.cookies:
            return web.Response(status=403, text="go away")
        return await gate.handle(request)

    async with site(handle) as base, fetcher(solve_hosts=("*",)) as service:
        await solved(service, request_of(await run(service, f"{base}/page?x=1")))
        blocked = True
        for _ in range(3):
            outcome = await run(service, f"{base}/page?x=2")
            assert isinstance(outcome, Retry)
            assert outcome.error_class is ErrorClass.BLOCKED
        request_of(await run(service, f"{base}/page?x=2"))


async def test_a_session_keeps_to_the_proxy_that_it_passed_through(tmp_path: Path) -> None:
    """However many others are cooler. A proxy that is gone takes its session along; another begins."""
    gate, ways = Gate(clearance=True), Counter[str]()
    listed = tmp_path / "proxies"

    async def one(request: web.Request) -> web.StreamResponse:
        ways["one"] += 1
        return await gate.handle(request)

    async def two(request: web.Request) -> web.StreamResponse:
        ways["two"] += 1
        return web.Response(status=407) if gone else await gate.handle(request)

    gone = False
    async with site(one) as first, site(two) as second:
        listed.write_text(f"{second}\n")
        async with fetcher(solve_hosts=("*",), proxies_file=listed) as service:
            request = request_of(await run(service, "http://pages.example/page?x=1"))
            service._proxies.pool.load([proxy_of(second), proxy_of(first)])
            page_of(await solved(service, request))
            for number in range(4):
                page = page_of(await run(service, f"http://pages.example/page?x={number}"))
                assert page.meta.proxy_id == request.identity.proxy_id
            assert ways == {"two": 6}
            gone = True
            for _ in range(2):
                assert isinstance(await run(service, "http://pages.example/page?x=2"), Retry)
            assert ways == {"two": 8}
            # Somebody new now, through whichever proxy; the first one's answer is a challenge again.
            new = [await run(service, job("http://pages.example/page?x=2", id=f"{n}")) for n in range(4)]
    assert ways["one"] >= 1
    assert sum(len(sent(outcome, Topic.CAPTCHA_REQUESTS)) for outcome in new) == 1


async def test_a_session_whose_proxy_left_the_list_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The next one who is challenged buys, and the record of who passed is taken back."""
    gate, listed = Gate(clearance=True), tmp_path / "proxies"
    async with site(gate.handle) as first, site(gate.handle) as second:
        listed.write_text(f"{first}\n")
        async with fetcher(solve_hosts=("*",), proxies_file=listed) as service:
            url = "http://pages.example/page?x=1"
            page_of(await solved(service, request_of(await run(service, url))))
            page_of(await run(service, job(url, id="2")))
            service._proxies.pool.load([proxy_of(second)])
            outcome = await run(service, job(url, id="3"))
            assert request_of(outcome).identity.proxy_id == proxy_of(second).id
            (record,) = sent(outcome, Topic.SESSIONS)
            assert record.value is not None  # the lease of who buys, and nobody's cookies
            assert SECRET.encode() not in record.value
            page_of(await solved(service, request_of(outcome)))
            assert page_of(await run(service, job(url, id="4"))).meta.proxy_id == proxy_of(second).id


async def test_a_clearance_is_not_handed_in_through_another_proxy(tmp_path: Path) -> None:
    """Its proxy left the list meanwhile: it would be refused, and who sold it be blamed."""
    gate, listed = Gate(clearance=True), tmp_path / "proxies"
    async with site(gate.handle) as first, site(gate.handle) as second:
        listed.write_text(f"{first}\n")
        async with fetcher(solve_hosts=("*",), proxies_file=listed) as service:
            await service.prepare(0)
            request = request_of(await run(service, "http://pages.example/page?x=1"))
            service._proxies.pool.load([proxy_of(second)])
            bad = {"cookies": {"aws-waf-token": "no"}, "task_id": "7"}
            ended = await solved(service, request, **bad)
    assert isinstance(ended, Retry)
    assert ended.error_class is ErrorClass.SOLVE_FAILED
    assert gate.challenges == 1
    assert not sent(ended, Topic.CAPTCHA_VERDICTS)
    assert [record.value for record in sent(ended, Topic.SESSIONS)] == [None]


async def test_a_fault_of_ours_before_a_job_is_sent_costs_its_site_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The site's only place is free for the next job."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with site(Gate().handle) as base, fetcher(site_concurrency=1, solve_hosts=("*",)) as service:
        with monkeypatch.context() as patched:
            patched.setattr(service._identities, "visit", broken)
            with pytest.raises(ZeroDivisionError):
                await run(service, f"{base}/page")
        request_of(await run(service, f"{base}/page"))
