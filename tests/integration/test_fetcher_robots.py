"""robots.txt at work: fetched once, for all who wait; obeyed; not known is not allowed."""

import asyncio
from pathlib import Path

from aiohttp import web
from support.fetcher import fetcher, job, page_of, run, site
from tidegate.outcome import Dead, Defer, ErrorClass, Reason, Retry


class Server:
    """A site with a robots.txt, and what it was asked for."""

    def __init__(self, text: str = "", status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.text, self.status, self.headers = text, status, headers
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve; ``/to`` redirects to where its query says."""
        self.asked.append(request.path)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.02)  # noqa: TID251 -- so that requests meet
        self.at_once -= 1
        if request.path == "/robots.txt":
            return web.Response(text=self.text, status=self.status, headers=self.headers)
        if request.path == "/to":
            return web.Response(status=302, headers={"Location": request.query["u"]})
        return web.Response(text="page")


async def test_it_is_fetched_once_for_all_who_wait_and_in_a_turn() -> None:
    """With a concurrency of one, never beside a page."""
    server = Server("User-agent: *\nDisallow: /private")
    async with site(server.answer) as base, fetcher(robots="obey", site_concurrency=1) as service:
        outcomes = await asyncio.gather(*(run(service, job(f"{base}/{number}")) for number in range(4)))
        forbidden = await run(service, job(f"{base}/private/x"))
    assert [page_of(outcome).body for outcome in outcomes] == [b"page"] * 4
    assert server.asked.count("/robots.txt") == 1
    assert server.most_at_once == 1
    assert isinstance(forbidden, Dead)
    assert forbidden.reason is Reason.ROBOTS
    assert "/private/x" not in server.asked


async def test_a_redirect_is_judged_too() -> None:
    """Where it leads, by the rules of that site."""
    strict, open_ = Server("User-agent: *\nDisallow: /"), Server()
    async with site(strict.answer) as there, site(open_.answer) as here, fetcher(robots="obey") as service:
        outcome = await run(service, job(f"{here}/to?u={there}/x"))
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.ROBOTS
    assert strict.asked == ["/robots.txt"]


async def test_a_site_without_rules_is_open_and_one_that_fails_is_not() -> None:
    """404 is none; 503 and 429 are not known: the job is tried again after a while, and is not dead."""
    async with site(Server(status=404).answer) as base, fetcher(robots="obey") as service:
        assert page_of(await run(service, job(f"{base}/x"))).body == b"page"
    for status, error_class in ((503, ErrorClass.SERVER_ERROR), (429, ErrorClass.RATE_LIMITED)):
        server = Server(status=status)
        async with (
            site(server.answer) as base,
            fetcher(robots="obey", site_slowdown=False) as service,
        ):
            for _ in range(3):
                outcome = await run(service, job(f"{base}/x"))
                assert isinstance(outcome, Retry)
                assert (outcome.error_class, outcome.last_status) == (error_class, status)
                assert outcome.after_s is not None
                assert 20 < outcome.after_s <= 30
        assert server.asked == ["/robots.txt"]


async def test_a_site_that_asks_for_patience_at_its_robots_txt_is_held() -> None:
    """Its Retry-After is for all of its jobs, as if a page had been answered so."""
    server = Server(status=429, headers={"Retry-After": "60"})
    async with site(server.answer) as base, fetcher(robots="obey") as service:
        first = await run(service, job(f"{base}/1"))
        second = await run(service, job(f"{base}/2"))
    assert isinstance(first, Retry)
    assert first.error_class is ErrorClass.RATE_LIMITED
    assert isinstance(second, Defer)
    assert second.delay_s > 50
    assert server.asked == ["/robots.txt"]


async def test_a_delay_is_kept() -> None:
    """The site's next turn is so far away; the job comes back at it."""
    server = Server("User-agent: *\nCrawl-delay: 30")
    async with site(server.answer) as base, fetcher(robots="obey") as service:
        assert page_of(await run(service, job(f"{base}/1"))).body == b"page"
        outcomes = [await run(service, job(f"{base}/{number}")) for number in (2, 3)]
    waits = [outcome.delay_s for outcome in outcomes if isinstance(outcome, Defer)]
    assert waits
    assert max(waits) > 20


async def test_the_operator_may_ignore_it(tmp_path: Path) -> None:
    """For all sites, or for one."""
    server = Server("User-agent: *\nDisallow: /")
    path = tmp_path / "policy.toml"
    path.write_text('[[host]]\nmatch = ["127.0.0.1"]\nrobots = false')
    async with site(server.answer) as base:
        async with fetcher(robots="ignore") as service:
            assert page_of(await run(service, job(f"{base}/x"))).body == b"page"
        async with fetcher(robots="obey", policy_file=path) as service:
            assert page_of(await run(service, job(f"{base}/x"))).body == b"page"
    assert server.asked == ["/x", "/x"]
