"""Challenges and what comes back: the token through the page's own form, and every answer of the solver."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from support.fetcher import fetcher, inbound, job, page_of, request_of, run, site, solution
from tidegate.captcha_records import CaptchaRequest, SolutionStatus, request_id
from tidegate.clock import SystemClock
from tidegate.ledger.entries import Scope
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Reason, Retry
from tidegate.runs import RUN_CANCELLED, RUN_PAUSED, RunRecord, RunState, run_record
from tidegate.testing.fake_broker import FakeBroker
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import Topic
from tidegate_fetcher.handler import Fetcher
from tidegate_fetcher.site_slots import Claim

PAGE = b"<!doctype html><title>Page</title><p>" + b"content " * 200
HTML = {"Content-Type": "text/html; charset=utf-8"}


class Guarded:
    """A site whose page is behind a challenge.

    ``answer`` is how a good token is answered: ``page`` (by the page itself), ``redirect`` (303 back, with a
    cookie), ``ok`` (a page that says ok, with a cookie), ``elsewhere`` (the page, at another address, with a
    cookie that opens nothing).
    """

    def __init__(
        self, answer: str = "page", *, status: int = 403, tokens: tuple[str, ...] = ("good",)
    ) -> None:
        self.answer = answer
        self.status = status
        self.tokens = list(tokens)
        self.forms: list[dict[str, Any]] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.kind = '<div class="g-recaptcha" data-sitekey="6Lc-1"></div>'

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.seen.append((request.method, request.path, dict(request.headers)))
        if request.path == "/verify":
            return await self._verify(request)
        if request.path == "/page" and request.cookies.get("pass") == "1":
            return web.Response(body=PAGE, headers=HTML)
        return self._challenge()

    def _challenge(self) -> web.Response:
        response = web.Response(status=self.status, headers=HTML)
        response.text = (
            '<form action="/verify" method="post"><input type="hidden" name="csrf" value="ü&amp;1">'
            f"{self.kind}"
            '<input type="hidden" name="g-recaptcha-response"><button name="go" value="1">Go</button></form>'
        )
        response.set_cookie("sid", "s1", path="/")
        return response

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        token = form.get("g-recaptcha-response", "")
        if request.cookies.get("sid") != "s1" or form.get("csrf") != "ü&1" or token not in self.tokens:
            return self._challenge()
        self.tokens.remove(token)
        response = web.Response(body=PAGE, headers=HTML)
        if self.answer == "redirect":
            response = web.Response(status=303, headers={"Location": "/page?x=1&ok=1"})
            response.set_cookie("pass", "1", path="/")
        elif self.answer == "ok":
            response = web.Response(text="<title>ok</title>thank you", headers=HTML)
            response.set_cookie("pass", "1", path="/")
        elif self.answer == "elsewhere":
            response.set_cookie("pass", "0", path="/")
        return response


@asynccontextmanager
async def guarded(guard: Guarded, **settings: Any) -> AsyncIterator[tuple[Fetcher, str]]:
    """Serve a guarded site and yield a fetcher that may solve there, and the page's URL."""
    async with site(guard.handle) as base, fetcher(solve_hosts=("*",), **settings) as service:
        yield service, f"{base}/page?x=1"


async def resume(
    service: Fetcher, request: CaptchaRequest, token: str | None = "good", **fields: Any
) -> Outcome:
    """Hand a solution to the fetcher."""
    return await run(service, solution(request, token, **fields), topic=Topic.CAPTCHA_SOLUTIONS)


@pytest.mark.parametrize("answer", ["page", "redirect", "ok", "elsewhere"])
async def test_a_token_goes_back_through_the_pages_own_form(answer: str) -> None:
    """All fields, the session's cookies and user agent go along; what is stored is the page asked for."""
    guard = Guarded(answer)
    async with guarded(guard, user_agent="Tide/1") as (service, url):
        request = request_of(await run(service, job(url, id="j", metadata=[1], parser="p")))
        page = page_of(await resume(service, request))
    assert page.body == PAGE
    assert (page.meta.url, page.meta.status, page.meta.parser) == (url, 200, "p")
    assert (bytes(page.meta.metadata), page.meta.challenges) == (b"[1]", 1)
    assert page.record.site == request.state.site
    assert guard.forms == [{"csrf": "ü&1", "g-recaptcha-response": "good", "go": "1"}]
    method, _, headers = next(seen for seen in guard.seen if seen[1] == "/verify")
    assert (method, headers["User-Agent"], headers["Cookie"]) == ("POST", "Tide/1", "sid=s1")
    assert headers["Referer"] == url
    assert headers["Origin"] == url.removesuffix("/page?x=1")


@pytest.mark.parametrize("lifetime_s", [110.0, 0.0], ids=["alive", "dead"])
async def test_a_copy_of_a_job_that_was_answered_ends(lifetime_s: float) -> None:
    """C5: the answer's other record goes on. A used token is not handed in, a dead one not bought anew."""
    guard = Guarded()
    async with guarded(guard) as (service, url):
        request = request_of(await run(service, url))
        outcome = await resume(service, request, repeated=True, answered_before=True, lifetime_s=lifetime_s)
    assert isinstance(outcome, Done)
    assert [record.topic for record in outcome.outgoing] == [Topic.SESSIONS]
    assert guard.forms == []


async def test_a_paid_solve_is_in_the_pages_state() -> None:
    """What was paid is stored with the page."""
    async with guarded(Guarded()) as (service, url):
        request = request_of(await run(service, url))
        page = page_of(await resume(service, request))
    assert b'"provider":"sim","cost":0.002' in dict(page.record.headers)["tidegate-job"]


async def test_the_solvers_user_agent_is_used_where_it_names_one() -> None:
    """Some tokens are bound to the browser that solved them."""
    guard = Guarded("redirect")
    async with guarded(guard) as (service, url):
        request = request_of(await run(service, url))
        await resume(service, request, user_agent="Solver/3")
    assert {headers["User-Agent"] for _, _, headers in guard.seen[1:]} == {"Solver/3"}


async def test_a_refused_token_is_a_failed_solve() -> None:
    """The same challenge again means that the token was not taken: a fresh fetch after a delay."""
    async with guarded(Guarded()) as (service, url):
        request = request_of(await run(service, job(url, max_retries=1)))
        outcome = await resume(service, request, "bad")
    assert isinstance(outcome, Retry)
    assert (outcome.error_class, outcome.max_retries) == (ErrorClass.SOLVE_FAILED, 1)
    assert outcome.state is not None
    assert len(outcome.state.solves) == 1
    assert "bad" not in outcome.message


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_an_error_page_for_a_token_is_a_failed_solve(status: int) -> None:
    """A refusal that answers the form is not the page, nor is a form's address that is not there."""
    guard = Guarded()

    async def refuse(request: web.Request) -> web.StreamResponse:
        if request.path == "/verify":
            return web.Response(status=status, text="captcha expired")
        return await guard.handle(request)

    async with site(refuse) as base, fetcher(solve_hosts=("*",)) as service:
        request = request_of(await run(service, f"{base}/page"))
        outcome = await resume(service, request)
    assert isinstance(outcome, Retry)
    assert (outcome.error_class, outcome.last_status) == (ErrorClass.SOLVE_FAILED, status)


async def test_another_challenge_is_another_round() -> None:
    """M4: a second gate has a new request id, by a new hop; rounds are counted and the solve is kept."""
    guard = Guarded("elsewhere")
    second = '<div class="g-recaptcha" data-sitekey="6Lc-2"></div>'

    async def two(request: web.Request) -> web.StreamResponse:
        response = await guard.handle(request)
        if request.path == "/verify":
            guard.kind = second
            return guard._challenge()
        return response

    async with site(two) as base, fetcher(solve_hosts=("*",)) as service:
        first = request_of(await run(service, f"{base}/page"))
        again = request_of(await resume(service, first))
    assert again.challenge.params["sitekey"] == "6Lc-2"
    assert again.state.hop == first.state.hop + 1
    assert again.request_id == request_id(again.state) != first.request_id
    assert again.state.attempts == {"challenge": 2}
    assert [solve.request_id for solve in again.state.solves] == [first.request_id]


@pytest.mark.parametrize(
    ("rounds", "max_retries", "allowed"),
    [(0, None, True), (2, None, True), (3, None, False), (1, 1, False), (0, 0, True), (3, 9, False)],
)
async def test_solves_are_bounded(rounds: int, max_retries: int | None, allowed: bool) -> None:
    """A job's max_retries lowers the number of solves, never raises it, and never forbids the first."""
    async with guarded(Guarded()) as (service, url):
        work = service.decode(inbound(job(url, max_retries=max_retries)))
        state = msgspec.structs.replace(work.job.state, attempts={"challenge": rounds} if rounds else {})
        work = msgspec.structs.replace(work, job=msgspec.structs.replace(work.job, state=state))
        outcome = await service.handle(work)
    assert isinstance(outcome, Done) is allowed
    if isinstance(outcome, Dead):
        assert (outcome.reason, outcome.error_class) == (Reason.RETRIES_EXHAUSTED, ErrorClass.CHALLENGE)


def is_retry(outcome: Outcome) -> bool:
    """Say whether a solve failed."""
    return isinstance(outcome, Retry) and outcome.error_class is ErrorClass.SOLVE_FAILED


def is_dead(reason: Reason) -> Callable[[Outcome], bool]:
    """Return a test for a dead letter with a reason."""
    return lambda outcome: isinstance(outcome, Dead) and outcome.reason is reason


@pytest.mark.parametrize(
    ("status", "check"),
    [
        (SolutionStatus.FAILED, is_retry),
        (SolutionStatus.REFUSED, is_dead(Reason.BUDGET_EXHAUSTED)),
        (SolutionStatus.UNSOLVABLE, is_dead(Reason.UNSOLVABLE)),
        (SolutionStatus.SOLVED, is_retry),
    ],
)
async def test_a_challenge_that_was_not_solved(
    status: SolutionStatus, check: Callable[[Outcome], bool]
) -> None:
    """C2: the fetcher decides what each answer means; solved without a token is a failed solve."""
    guard = Guarded()
    async with guarded(guard) as (service, url):
        request = request_of(await run(service, url))
        asked = len(guard.seen)
        outcome = await resume(service, request, None, status=status, message="because")
    assert check(outcome), outcome
    assert len(guard.seen) == asked


async def test_what_was_not_bought_is_no_attempt() -> None:
    """C4: overload defers the job; its hop grows, or the same expiry would be answered again (M4)."""
    async with guarded(Guarded()) as (service, url):
        request = request_of(await run(service, url))
        outcome = await resume(service, request, None, status=SolutionStatus.EXPIRED_UNBOUGHT, cost=0.0)
    assert isinstance(outcome, Defer)
    assert outcome.state is not None
    assert outcome.state.attempts == {}
    assert outcome.state.hop == request.state.hop + 1
    assert outcome.state.solves == ()


@pytest.mark.parametrize(("age_s", "alive"), [(0.0, True), (97.0, True), (99.0, False), (500.0, False)])
async def test_a_tokens_life_counts_from_its_records_append_time(age_s: float, alive: bool) -> None:
    """T1: a token with less left than the margin is not sent."""
    clock = ManualClock()
    guard = Guarded()
    async with guarded(guard, clock=clock) as (service, url):
        request = request_of(await run(service, url, timestamp_ms=clock.wall_ms()))
        clock.advance(age_s)
        when = clock.wall_ms() - int(age_s * 1000)
        answer = solution(request, lifetime_s=100.0)
        outcome = await run(service, answer, topic=Topic.CAPTCHA_SOLUTIONS, timestamp_ms=when)
    assert bool(guard.forms) is alive
    assert is_retry(outcome) is not alive


async def test_a_token_refused_to_a_redo_is_held_against_nobody() -> None:
    """Only what came after its partition had come to us cannot have been handed in before (M7)."""
    clock = ManualClock()
    async with guarded(Guarded(), clock=clock) as (service, url):
        request = request_of(await run(service, url, timestamp_ms=clock.wall_ms()))
        before_ms = clock.wall_ms()
        await service.prepare(0)
        clock.advance(10)
        answer = solution(request, "bad", task_id="7")
        told = []
        for when in (before_ms, clock.wall_ms()):
            outcome = await run(service, answer, topic=Topic.CAPTCHA_SOLUTIONS, timestamp_ms=when)
            assert isinstance(outcome, Retry)
            told.append([record.topic for record in outcome.besides])
    assert told == [[], [Topic.CAPTCHA_VERDICTS]]


async def test_the_deadline_holds_for_resumed_jobs_too() -> None:
    """T1: a job whose deadline has passed is dead, token or not."""
    clock = ManualClock()
    async with guarded(Guarded(), clock=clock) as (service, url):
        value = job(url, deadline=50)
        request = request_of(await run(service, value, timestamp_ms=clock.wall_ms()))
        clock.advance(51)
        outcome = await run(
            service, solution(request), topic=Topic.CAPTCHA_SOLUTIONS, timestamp_ms=clock.wall_ms()
        )
    assert is_dead(Reason.DEADLINE)(outcome)


async def test_solutions_do_not_wait_for_their_sites_turn() -> None:
    """C3: with the site's only slot held, a solution is submitted at once."""
    async with guarded(Guarded(), site_concurrency=1) as (service, url):
        request = request_of(await run(service, url))
        held = await service._limiter.enter(request.state.site, Claim())
        page = page_of(await resume(service, request))
        assert isinstance(held, float)
        service._limiter.leave(request.state.site, held)
    assert page.body == PAGE


async def test_any_fetcher_resumes_any_job() -> None:
    """C1: a fetcher that never saw the job, started later, ends it."""
    guard = Guarded("redirect")
    async with site(guard.handle) as base:
        async with fetcher(solve_hosts=("*",)) as one:
            request = request_of(await run(one, f"{base}/page?x=1"))
        async with fetcher(solve_hosts=("*",)) as other:
            assert page_of(await resume(other, request)).body == PAGE


async def test_a_challenge_without_a_form_buys_nothing() -> None:
    """A hard block that no solver opens is retried as a block."""
    guard = Guarded()

    async def formless(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text=guard.kind, headers=HTML)

    async with site(formless) as base, fetcher(solve_hosts=("*",)) as service:
        outcome = await run(service, base)
    assert isinstance(outcome, Retry)
    assert outcome.error_class is ErrorClass.BLOCKED


async def test_a_form_that_leads_to_a_host_nobody_named_gets_no_token() -> None:
    """The form's host must be allowed too."""

    async def abroad(_request: web.Request) -> web.StreamResponse:
        text = (
            '<form method=post action="http://127.0.0.9/v">'
            '<div class="h-captcha" data-sitekey="abcd"></div></form>'
        )
        return web.Response(status=403, text=text, headers=HTML)

    async with site(abroad) as base, fetcher(solve_hosts=("127.0.0.1",)) as service:
        outcome = await run(service, base)
    assert is_dead(Reason.SOLVE_NOT_ALLOWED)(outcome)


async def test_a_get_form_carries_the_token_in_its_query() -> None:
    """A form without a method submits by GET."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.path_qs)
        if request.query.get("h-captcha-response") == "good":
            return web.Response(body=PAGE, headers=HTML)
        text = (
            '<form action="/v?old=1"><input type=hidden name=k value="a b&amp;c">'
            '<div class="h-captcha" data-sitekey="abcd"></div></form>'
        )
        return web.Response(status=429, text=text, headers=HTML)

    async with site(handle) as base, fetcher(solve_hosts=("*",)) as service:
        request = request_of(await run(service, f"{base}/page"))
        page = page_of(await resume(service, request))
    assert page.body == PAGE
    assert seen[1] == "/v?k=a+b%26c&h-captcha-response=good&g-recaptcha-response=good"
    assert page.meta.url == f"{base}/page"


async def test_a_job_that_posts_is_posted_again_when_the_gate_is_open() -> None:
    """What answers the form is not what answers a POST of the job's."""
    guard = Guarded("ok")

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/page" and request.cookies.get("pass") == "1":
            return web.Response(text=f"{request.method} {await request.text()}")
        return await guard.handle(request)

    async with site(handle) as base, fetcher(solve_hosts=("*",)) as service:
        request = request_of(await run(service, job(f"{base}/page", method="POST", body="q=1")))
        page = page_of(await resume(service, request))
    assert page.body == b"POST q=1"


async def test_a_network_failure_while_submitting_is_retried_as_one() -> None:
    """The job goes on from a fresh fetch; its attempts and solves stay counted."""
    async with guarded(Guarded()) as (service, url):
        request = request_of(await run(service, url))
    async with fetcher(solve_hosts=("*",)) as service:
        outcome = await resume(service, request)
    assert isinstance(outcome, Retry)
    assert outcome.error_class is ErrorClass.NETWORK
    assert outcome.state is not None
    assert outcome.state.attempts == {"challenge": 1}


async def test_a_used_up_budget_ends_the_job_and_asks_for_nothing_more() -> None:
    """M8: the refusal names the budget; the next challenge under it makes no request at all."""
    async with guarded(Guarded()) as (service, url):
        request = request_of(await run(service, job(url, run="spring")))
        told = {"status": SolutionStatus.REFUSED, "exhausted": Scope(run="spring"), "cost": 0.0}
        ended = await resume(service, request, None, **told)
        again = await run(service, job(url, run="spring"))
        other = request_of(await run(service, job(url, run="autumn")))
    for outcome in (ended, again):
        assert isinstance(outcome, Dead)
        assert outcome.reason is Reason.BUDGET_EXHAUSTED
    assert other.state.run == "autumn"


async def test_a_held_job_asks_under_a_new_id_later() -> None:
    """M4: what waits for money after a solution must not be answered with that solution again."""
    async with guarded(Guarded("again"), budget_exhausted="hold") as (service, url):
        request = request_of(await run(service, job(url, run="spring")))
        told = {"status": SolutionStatus.REFUSED, "exhausted": Scope(run="spring"), "cost": 0.0}
        waits = await resume(service, request, None, **told)
    assert isinstance(waits, Defer)
    assert waits.state is not None
    assert (waits.state.hop, waits.state.attempts) == (request.state.hop + 1, {})


async def test_a_request_lives_no_longer_than_its_run() -> None:
    """C4: what would be solved after the run's deadline is not bought."""
    broker = FakeBroker(SystemClock())
    broker.append(run_record(RunRecord(run="short", deadline_s=90.0)))
    async with guarded(Guarded(), broker=broker) as (service, url):
        request = request_of(await run(service, job(url, run="short")))
        visitor = {"User-Agent": "Another/1"}
        other = request_of(await run(service, job(url, run="spring", headers=visitor)))
    assert 60 < request.lifetime_s <= 90
    assert other.lifetime_s == 600


async def test_a_cancelled_runs_jobs_end_and_a_paused_ones_wait() -> None:
    """What the solver answers of such a run, and what the fetcher knows of it itself."""
    broker = FakeBroker(SystemClock())
    broker.append(run_record(RunRecord(run="gone", state=RunState.CANCELLED)))
    broker.append(run_record(RunRecord(run="later", state=RunState.PAUSED)))
    async with guarded(Guarded(), broker=broker) as (service, url):
        gone = await run(service, job(url, run="gone"))
        later = await run(service, job(url, run="later"))
        request = request_of(await run(service, job(url, run="spring")))
        told = {"status": SolutionStatus.REFUSED, "code": RUN_CANCELLED}
        cancelled = await resume(service, request, None, **told)
        told = {"status": SolutionStatus.EXPIRED_UNBOUGHT, "code": RUN_PAUSED}
        paused = await resume(service, request, None, **told)
    for outcome in (gone, cancelled):
        assert isinstance(outcome, Dead)
        assert outcome.reason is Reason.CANCELLED
    for waits in (later, paused):
        assert isinstance(waits, Defer)
        assert waits.delay_s == 60
