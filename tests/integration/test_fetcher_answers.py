"""Answers that are no single token, and pages that no answer opens."""

from typing import Any

import pytest
from aiohttp import web
from support.fetcher import fetcher, fixtures, job, page_of, request_of, run, site, solution
from tidegate.outcome import Dead, ErrorClass, Reason, Retry
from tidegate.records import ChallengeKind

PAGE = b"<!doctype html><title>Page</title><p>" + b"content " * 200


class Cleared:
    """A site that lets in whoever has its clearance, with the agent that was cleared."""

    def __init__(self, family: str, cookie: str, agent: str) -> None:
        self.row = fixtures(family, "challenge")[0]
        self.cookie = cookie
        self.agent = agent
        self.seen: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.seen.append(request.method)
        cleared = request.cookies.get(self.cookie) == "cleared" and "sid" in request.cookies
        if cleared and request.headers["User-Agent"] == self.agent:
            return web.Response(body=PAGE, content_type="text/html")
        headers = {**self.row.get("headers", {}), "Set-Cookie": f"{self.cookie}=stale; Path=/"}
        headers.pop("Server", None)
        response = web.Response(status=self.row["status"], text=self.row["html"], headers=headers)
        response.content_type = "text/html"
        response.set_cookie("sid", "1")
        return response


@pytest.mark.parametrize(
    ("family", "cookie"),
    [("cloudflare_challenge", "cf_clearance"), ("aws_waf", "aws-waf-token"), ("datadome", "datadome")],
)
async def test_a_clearance_opens_the_page_as_cookies(family: str, cookie: str) -> None:
    """The job's own request goes out again with the clearance in place of the stale cookie."""
    guarded = Cleared(family, cookie, "Solver/1.0")
    async with site(guarded.handle) as base, fetcher(solve_hosts=("127.0.0.1",)) as service:
        request = request_of(await run(service, job(f"{base}/page")))
        assert request.challenge.kind is ChallengeKind(family)
        assert request.challenge.form is None
        assert 0 < request.lifetime_s <= 300
        answer = solution(request, None, cookies={cookie: "cleared"}, user_agent="Solver/1.0")
        page = page_of(await run(service, answer, topic="captcha-solutions"))
        assert page.body == PAGE
        refused = await run(
            service, solution(request, None, cookies={cookie: "forged"}), topic="captcha-solutions"
        )
        assert isinstance(refused, Retry)
        assert refused.error_class is ErrorClass.SOLVE_FAILED
    assert set(guarded.seen) == {"GET"}


FORM = (
    '<html><form method="post" action="//xn--.other.example/">'
    '<div class="h-captcha" data-sitekey="10000000-ffff-ffff-ffff-000000000001"></div></form></html>'
)


async def test_a_form_that_leads_to_a_host_of_no_name_is_judged_as_any_other() -> None:
    """That xn-- stands for no international name is the page's fault, not one of ours."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text=FORM, content_type="text/html")

    async with site(handle) as base, fetcher(solve_hosts=("127.0.0.1",)) as service:
        outcome = await run(service, f"{base}/page")
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.SOLVE_NOT_ALLOWED
    assert "xn--.other.example" in outcome.message


GEETEST = """<html><body><form action="/check" method="post"><div id="c"></div>
<input type="hidden" name="geetest_challenge"><input type="hidden" name="r" value="1"></form><script>
initGeetest({gt: "f1ab2cdefa3456789012345b6c78d90e", challenge: "12345678abc90123d45678ef90123a45"}, cb)
</script></body></html>"""


async def test_an_answer_of_several_parts_fills_several_fields() -> None:
    """Each part goes into its own field, hidden fields come along; a part that lacks is no answer."""
    forms: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        if request.method == "POST":
            forms.append({name: str(value) for name, value in (await request.post()).items()})
            return web.Response(body=PAGE, content_type="text/html")
        return web.Response(status=403, text=GEETEST, content_type="text/html")

    parts = {"geetest_challenge": "c", "geetest_validate": "v", "geetest_seccode": "v|jordan"}
    async with site(handle) as base, fetcher(solve_hosts=("127.0.0.1",)) as service:
        request = request_of(await run(service, job(f"{base}/page")))
        assert request.challenge.kind is ChallengeKind.GEETEST_V3
        assert request.lifetime_s <= 120
        assert (
            page_of(await run(service, solution(request, None, values=parts), topic="captcha-solutions")).body
            == PAGE
        )
        parts.pop("geetest_seccode")
        refused = await run(service, solution(request, None, values=parts), topic="captcha-solutions")
        assert isinstance(refused, Retry)
    assert forms == [{**parts, "geetest_seccode": "v|jordan", "r": "1"}]


@pytest.mark.parametrize(
    ("family", "group", "index", "names"),
    [
        ("imperva", "blocked", 0, "Imperva"),
        ("akamai", "blocked", 2, "Akamai"),
        ("geetest_v3", "challenge", 2, "lacks its challenge"),
        ("geetest_v4", "challenge", 4, "no form"),
    ],
)
async def test_what_no_answer_opens_is_never_paid_for(
    family: str, group: str, index: int, names: str
) -> None:
    """A block, also at status 200, and a challenge that cannot be answered: another way out, no money."""
    row = fixtures(family, group)[index]

    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=row.get("status", 200), text=row["html"], content_type="text/html")

    async with site(handle) as base, fetcher(solve_hosts=("*",)) as service:
        outcome = await run(service, job(f"{base}/page"))
    assert isinstance(outcome, Retry)
    assert outcome.error_class is ErrorClass.BLOCKED
    assert names in outcome.message
