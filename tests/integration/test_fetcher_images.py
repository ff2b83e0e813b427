"""A picture of text that a page links to: fetched as who asked for the page, and put into the challenge."""

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.fetcher import fetcher, job, page_of, request_of, run, site, solution
from tidegate.outcome import ErrorClass, Retry
from tidegate.topics import Topic
from tidegate_fetcher.handler import Fetcher

HTML = {"Content-Type": "text/html; charset=utf-8"}
PNG = b"\x89PNG\r\n\x1a\n" + b"tidegate-text:K7PX2"
POLICY = """
[[host]]
match = ["*"]
solve = true
image = {selector = "img#captcha", field = "code"}
"""


class Pictured:
    """A site that shows a picture to the session that saw the page, and wants what it says."""

    def __init__(self, picture: bytes = PNG, status: int = 200, src: str = "/captcha.png?n=1") -> None:
        self.picture, self.status, self.src = picture, status, src
        self.seen: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.seen.append(request)
        if request.path == "/captcha.png":
            assert request.cookies["sid"] == "s1"
            shown = web.Response(status=self.status, body=self.picture, content_type="image/png")
            shown.set_cookie("shown", "1", path="/")
            return shown
        known = (request.cookies.get("sid"), request.cookies.get("shown")) == ("s1", "1")
        if request.method == "POST" and known and (await request.post()).get("code") == "K7PX2":
            return web.Response(text="<title>in</title>" + "content " * 200, headers=HTML)
        page = web.Response(headers=HTML)
        page.text = (
            f'<form action="/page" method="post"><img id="captcha" src="{self.src}">'
            '<input name="code"><button>Go</button></form>'
        )
        page.set_cookie("sid", "s1", path="/")
        return page


@asynccontextmanager
async def pictured(where: Pictured, folder: Path, **settings: Any) -> AsyncIterator[tuple[Fetcher, str]]:
    """Serve it and yield a fetcher that may solve there, and the page's URL."""
    policy = folder / "policy.toml"
    policy.write_text(settings.pop("policy", POLICY))
    async with site(where.handle) as base, fetcher(policy_file=policy, **settings) as service:
        yield service, f"{base}/page"


async def test_the_picture_is_fetched_as_the_session_and_its_text_opens_the_page(tmp_path: Path) -> None:
    """Cookies of the page go along, those of the picture come back with the answer."""
    where = Pictured()
    async with pictured(where, tmp_path, user_agent="Tide/1") as (service, url):
        request = request_of(await run(service, url))
        assert b64decode(request.challenge.params["image"]) == PNG
        page = page_of(await run(service, solution(request, "K7PX2"), topic=Topic.CAPTCHA_SOLUTIONS))
    assert page.body.startswith(b"<title>in")
    shown = where.seen[1]
    assert (shown.method, shown.path_qs, shown.headers["User-Agent"]) == ("GET", "/captcha.png?n=1", "Tide/1")
    assert shown.headers["Referer"] == url


@pytest.mark.parametrize(
    ("picture", "status"), [(b"<html>no", 200), (PNG, 404), (b"\x89PNG" * 200_000, 200), (b"", 200)]
)
async def test_what_is_no_picture_is_not_bought(tmp_path: Path, picture: bytes, status: int) -> None:
    """A page in its place, an error, more than a solving service takes: blocked, and nothing is spent."""
    async with pictured(Pictured(picture, status), tmp_path) as (service, url):
        outcome = await run(service, url)
    assert isinstance(outcome, Retry)
    assert outcome.error_class is ErrorClass.BLOCKED
    assert "lacks its image" in outcome.message


async def test_a_picture_may_not_lead_inside(tmp_path: Path) -> None:
    """Its address is judged like any other; what is not fetched is not bought."""
    where = Pictured(src="http://169.254.169.254/captcha.png")
    async with pictured(where, tmp_path) as (service, url):
        outcome = await run(service, url)
    assert isinstance(outcome, Retry)
    assert "lacks its image" in outcome.message
    assert len(where.seen) == 1


async def test_another_origin_sees_neither_credentials_nor_the_page(tmp_path: Path) -> None:
    """A job's Authorization and the page's URL are for the page's origin."""
    asked: list[web.Request] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(body=PNG, content_type="image/png")

    async with site(elsewhere) as other:
        where = Pictured(src=f"{other}/captcha.png")
        async with pictured(where, tmp_path) as (service, url):
            request_of(await run(service, job(url, headers={"Authorization": "Bearer s3cret"})))
    assert where.seen[0].headers["Authorization"] == "Bearer s3cret"
    assert not {"Authorization", "Referer"} & set(asked[0].headers)


async def test_no_picture_is_fetched_where_nothing_may_be_solved(tmp_path: Path) -> None:
    """A host that nobody named costs no request more."""
    where = Pictured()
    async with pictured(where, tmp_path, policy=POLICY.replace("solve = true", "")) as (service, url):
        await run(service, url)
    assert len(where.seen) == 1
