"""What the fetcher does with jobs while its walls hold: put aside, let through, shed; solutions never."""

from aiohttp import web
from support.fetcher import fetcher, inbound, job, page_of, request_of, run, site, solution
from tidegate.events import Event
from tidegate.flow.lag import Load
from tidegate.outcome import Dead, Done, Outcome, Outgoing, Reason
from tidegate.records import job_headers
from tidegate.topics import HELD, Topic
from tidegate_fetcher.events import FetchDone
from tidegate_fetcher.handler import Fetcher

PAGE = b"<!doctype html><title>Page</title><p>" + b"content " * 200
CHALLENGE = (
    '<form action="/verify" method="post"><div class="g-recaptcha" data-sitekey="6Lc-1"></div>'
    '<input type="hidden" name="g-recaptcha-response"></form>'
)


async def guarded(request: web.Request) -> web.StreamResponse:
    """Ask for a token; a POST gives the page, and so does /free."""
    if request.method == "POST" or request.path == "/free":
        return web.Response(body=PAGE, headers={"Content-Type": "text/html"})
    return web.Response(text=CHALLENGE, status=403, headers={"Content-Type": "text/html"})


def lag(service: Fetcher, requests: int) -> None:
    """Say how many captcha requests wait, until the next reading."""
    watch = service.valve._watches[Topic.CAPTCHA_REQUESTS]
    watch.read = Load(records=requests)
    service.valve._observe(Topic.CAPTCHA_REQUESTS, watch.load)


def put_aside(outcome: Outcome) -> Outgoing:
    """Return the record of a job that was put aside."""
    assert isinstance(outcome, Done)
    (record,) = outcome.outgoing
    assert record.topic in HELD.values(), record.topic
    return record


async def test_a_job_of_a_held_site_is_put_aside_whole_and_goes_on_from_there() -> None:
    """Onto its own lane's held topic, at no attempt; what comes from there is fetched, whatever the gate."""
    told: list[Event] = []
    async with site(guarded) as base, fetcher(solve_hosts=("*",), gate_read_s=30, events=told) as service:
        request_of(await run(service, job(f"{base}/page", id="first")))
        value = job(f"{base}/page", id="j", priority="low", headers={"User-Agent": "Another/1"})
        lag(service, 1000)
        work = service.decode(inbound(value, topic=Topic.URLS_LOW))
        record = put_aside(await service.handle(work))
        assert (record.topic, record.value) == (Topic.HELD_LOW, value)
        assert record.headers == job_headers(work.job.state)
        assert isinstance(told[-1], FetchDone)
        assert (told[-1].outcome, told[-1].id) == ("held", "j")
        assert record.value is not None
        outcome = await run(service, record.value, topic=record.topic, headers=dict(record.headers))
        request = request_of(outcome)
        assert (request.state.id, request.original) == ("j", value)


async def test_a_clean_site_goes_on_while_prone_ones_are_held() -> None:
    """Nobody has seen a challenge of it."""
    async with (
        site(guarded) as prone,
        site(guarded) as clean,
        fetcher(solve_hosts=("*",), gate_read_s=30) as service,
    ):
        request_of(await run(service, job(f"{prone}/page")))
        lag(service, 1000)
        assert page_of(await run(service, job(f"{clean}/free"))).body == PAGE
        put_aside(await run(service, job(f"{prone}/free")))


async def test_a_retry_of_a_held_site_is_put_aside_too() -> None:
    """Intake is scaled with its retries."""
    async with site(guarded) as base, fetcher(solve_hosts=("*",), gate_read_s=30) as service:
        request = request_of(await run(service, job(f"{base}/page", id="j")))
        lag(service, 1000)
        retried = await run(
            service, request.original, topic=Topic.RETRY_2S, headers=dict(job_headers(request.state))
        )
        assert put_aside(retried).topic == Topic.HELD


async def test_a_solution_is_never_held() -> None:
    """With the gate shut for everything its job is resumed (C3)."""
    async with site(guarded) as base, fetcher(solve_hosts=("*",), gate_read_s=30) as service:
        request = request_of(await run(service, job(f"{base}/page", id="j")))
        lag(service, 1_000_000)
        outcome = await run(service, solution(request), topic=Topic.CAPTCHA_SOLUTIONS)
        assert page_of(outcome).body == PAGE


async def test_what_meets_a_challenge_is_shed_by_priority() -> None:
    """Low above the first mark, normal above the second, high never; a page is never shed."""
    async with site(guarded) as base, fetcher(solve_hosts=("*",), gate_read_s=30) as service:
        page_of(await run(service, job(f"{base}/free")))
        ended = []
        for requests in (2001, 5001):
            lag(service, requests)
            for lane, topic in HELD.items():
                visitor = {"User-Agent": f"{lane}/{requests}"}  # of one visitor's jobs a single one buys
                outcome = await run(service, job(f"{base}/page", priority=lane, headers=visitor), topic=topic)
                ended.append(outcome.reason if isinstance(outcome, Dead) else request_of(outcome) and None)
        assert ended == [None, None, Reason.SHED, None, Reason.SHED, Reason.SHED]
        outcome = await run(service, job(f"{base}/free"), topic=Topic.HELD_LOW)
        assert page_of(outcome).body == PAGE
