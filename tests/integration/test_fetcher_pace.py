"""A site that asks for patience, on loopback: its other jobs wait with the one that it told."""

from aiohttp import web
from support.fetcher import fetcher, job, run, site
from tidegate.events import Event
from tidegate.outcome import Defer, Done, Retry
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
