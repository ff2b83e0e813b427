"""A site that asks for patience, on loopback: its other jobs wait with the one that it told."""

from aiohttp import web
from support.fetcher import fetcher, job, page_of, request_of, run, site, solution
from tidegate.events import Event
from tidegate.outcome import Defer, Done, Retry
from tidegate.topics import Topic
from tidegate_fetcher.events import SitePaceChanged


async def test_a_retry_after_holds_the_whole_site_and_costs_the_others_no_attempt() -> None:
    """The second job is deferred beyond it without a request (T3); another site is asked."""
    asked: list[str] = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=429, headers={"Retry-After": "120"})

    async def fine(_request: web.Request) -> web.Response:
        return web.Response(text="<p>fine</p>", content_type="text/html")

    events: list[Event] = []
    async with site(busy) as base, site(fine) as other, fetcher(events=events) as service:
        first = await run(service, job(f"{base}/1"))
        second = await run(service, job(f"{base}/2"))
        elsewhere = await run(service, job(f"{other}/3"))
    assert isinstance(first, Retry)
    assert isinstance(second, Defer)
    assert second.delay_s > 115
    assert isinstance(elsewhere, Done)
    assert asked == ["/1"]
    [told] = [event for event in events if isinstance(event, SitePaceChanged)]
    assert (told.why, told.hold_s) == ("429", 120.0)


async def test_a_solution_is_handed_in_while_its_site_is_held_and_a_challenge_holds_nothing() -> None:
    """C3: the token would die. The challenge's own 429 is no word about how often the site may be asked."""

    async def gate(request: web.Request) -> web.Response:
        hold = {"Retry-After": "120"}
        if request.path == "/busy":
            return web.Response(status=503, headers=hold)
        if request.method == "POST":
            return web.Response(text="<p>in</p>", content_type="text/html")
        form = '<form method=post action=/v><div class="g-recaptcha" data-sitekey="6Lc-1"></div></form>'
        return web.Response(status=429, text=form, content_type="text/html", headers=hold)

    events: list[Event] = []
    async with site(gate) as base, fetcher(events=events, solve_hosts=("*",)) as service:
        request = request_of(await run(service, job(f"{base}/page", id="a")))
        assert not [event for event in events if isinstance(event, SitePaceChanged)]
        assert isinstance(await run(service, job(f"{base}/busy", id="b")), Retry)
        page = page_of(await run(service, solution(request), topic=Topic.CAPTCHA_SOLUTIONS))
    assert page.body == b"<p>in</p>"
    assert len([event for event in events if isinstance(event, SitePaceChanged)]) == 1
