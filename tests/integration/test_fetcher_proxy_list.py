"""A list of proxies at work: every request goes through one of them, and none of them is ever printed."""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from support.fetcher import decoded, fetcher, job, page_of, request_of, routed, run, site, solution
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, ErrorClass, Reason, Retry
from tidegate.records import HEADER_JOB, encode
from tidegate.topics import DELAYS, Topic
from tidegate_fetcher.proxy_settings import ProxySettings
from tidegate_fetcher.proxy_source import source_of

WIDGET = """<html><body><form action="/in" method="post">
<div class="g-recaptcha" data-sitekey="6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"></div>
<input type="submit"></form><script src="https://www.google.com/recaptcha/api.js"></script>
<p>Please verify you are a human</p></body></html>"""


@asynccontextmanager
async def gateway(status: int = 200, text: str = "through") -> AsyncIterator[tuple[str, list[str]]]:
    """Serve an HTTP proxy that answers everything itself; yield its address with user and password."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        return web.Response(status=status, text=text, content_type="text/html")

    async with site(answer) as base:
        yield base.replace("//", "//ann:s3cret@"), asked


def listed(tmp_path: Path, *lines: str) -> Path:
    """Write a list."""
    path = tmp_path / "proxies"
    path.write_text("\n".join(lines))
    return path


async def test_requests_take_turns_through_the_listed_proxies(tmp_path: Path) -> None:
    """Also at private addresses, which the operator's own proxies may have and pages may not."""
    events: list[Event] = []
    async with gateway() as (one, first), gateway() as (two, second):
        path = listed(tmp_path, one, two)
        async with fetcher(events=events, allow_private=False, proxies_file=path) as service:
            pages = [page_of(await run(service, job("http://pages.example/x"))) for _ in range(4)]
            refused = await run(service, job("http://127.0.0.1/x"))
            own = await run(service, job("http://pages.example/x", proxy="http://127.0.0.2:3128"))
    assert [len(first), len(second)] == [2, 2]
    ids = Counter(page.meta.proxy_id for page in pages)
    assert sorted(ids.values()) == [2, 2]
    assert None not in ids
    for outcome in (refused, own):
        assert isinstance(outcome, Dead)
        assert outcome.reason is Reason.ADDRESS_REFUSED
    assert "s3cret" not in str(events) + str(pages)


async def test_a_failed_try_is_repeated_through_another_proxy(tmp_path: Path) -> None:
    """A proxy that is away, or that the site blocks: the job remembers which it was."""
    async with gateway(403) as (blocked, _), gateway() as (good, asked):
        path = listed(tmp_path, blocked, "http://ann:s3cret@127.0.0.1:1", good)
        async with fetcher(proxies_file=path) as service:
            for _ in range(3):
                outcome = await run(service, job("http://pages.example/x"))
                if isinstance(outcome, Retry):
                    break
            assert isinstance(outcome, Retry)
            assert outcome.state is not None
            assert outcome.state.failed_proxy is not None
            for _ in range(4):  # the others come round; the one that failed does not
                again = await service.handle(
                    decoded(
                        service,
                        job("http://pages.example/x"),
                        topic=next(iter(DELAYS)),
                        headers={HEADER_JOB: encode(outcome.state)},
                    )
                )
                if isinstance(again, Retry):
                    assert again.state is not None
                    assert again.state.failed_proxy != outcome.state.failed_proxy
    assert asked


async def test_a_site_that_answers_407_takes_no_proxy_out(tmp_path: Path) -> None:
    """It may be the proxy's or the site's: it counts like a block."""
    async with gateway(407) as (way, asked):
        path = listed(tmp_path, *(way.replace("ann", f"ann{number}") for number in range(4)))
        async with fetcher(proxies_file=path) as service:
            for _ in range(40):
                assert isinstance(await run(service, job("http://pages.example/x")), Retry)
            assert service._proxies.pool.healthy == 4
    assert len(asked) == 40


async def test_without_a_healthy_proxy_jobs_wait_and_the_intake_is_held(tmp_path: Path) -> None:
    """At no attempt: a dead proxy costs its own jobs a try each, and then nobody's."""
    events: list[Event] = []
    path = listed(tmp_path, "http://ann:s3cret@127.0.0.1:1")
    async with fetcher(events=events, proxies_file=path) as service:
        assert service.valve.admits(held=False, in_hand=0, window=10)
        for _ in range(6):
            outcome = await run(service, job("http://pages.example/x"))
            assert isinstance(outcome, Retry)
            assert outcome.error_class is ErrorClass.NETWORK
        outcome = await run(service, job("http://pages.example/x"))
        assert isinstance(outcome, Defer)
        assert not service.valve.admits(held=False, in_hand=0, window=10)
    names = [type(event).__name__ for event in events]
    assert names.count("ProxyQuarantined") == names.count("NoHealthyProxy") == 1
    assert "s3cret" not in str(events)


async def test_a_solution_goes_back_through_the_proxy_that_met_the_challenge(tmp_path: Path) -> None:
    """Although another one is cooler."""
    async with gateway(text=WIDGET) as (one, first), gateway(text=WIDGET) as (two, second):
        path = listed(tmp_path, one, two)
        async with fetcher(proxies_file=path, solve_hosts=("*",)) as service:
            request = request_of(await run(service, job("http://pages.example/x")))
            assert request.identity.proxy_id is not None
            assert "s3cret" not in str(request)
            await run(service, solution(request), topic=Topic.CAPTCHA_SOLUTIONS)
    assert sorted((len(first) > 1, len(second) > 1)) == [False, True]
    assert not (first and second)


async def test_a_list_may_come_from_an_address(caplog: pytest.LogCaptureFixture) -> None:
    """A private one, with a token; what goes wrong there names neither."""
    caplog.set_level(logging.DEBUG)
    async with site(routed({"/t0ken": web.Response(text="one.example:1\n")})) as base:
        for url, problem in (
            (f"{base}/t0ken/x", "answered 404"),
            ("http://127.0.0.1:1/t0ken", "cannot be read"),
            ("http://ann:t0ken@ho st/", "cannot be read"),
        ):
            broken = source_of(ProxySettings.model_validate({"proxies_url": url}))
            assert broken is not None
            with pytest.raises(ConfigurationError, match=problem) as caught:
                await broken.read()
            assert "t0ken" not in str(caught.value)
        source = source_of(ProxySettings.model_validate({"proxies_url": f"{base}/t0ken"}))
        assert source is not None
        assert await source.read() == b"one.example:1\n"
        assert await source.read() is None
    ours = [entry.getMessage() for entry in caplog.records if entry.name != "aiohttp.access"]
    assert "t0ken" not in str(ours)
