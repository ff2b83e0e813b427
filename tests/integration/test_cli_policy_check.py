"""``tidegate policy check``, and the policy file at work in the fetcher."""

from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from support.fetcher import fetcher, job, page_of, request_of, run, site, solution
from tidegate.errors import ConfigurationError
from tidegate.outcome import Dead, Done, Reason
from tidegate.topics import Topic
from tidegate_cli.commands._policy import check_main

WIDGET = """<html><body><form action="/in" method="post">
<div class="g-recaptcha" data-sitekey="6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"></div>
<input type="submit"></form><script src="https://www.google.com/recaptcha/api.js"></script>
<p>Please verify you are a human</p></body></html>"""


def written(tmp_path: Path, text: str) -> Path:
    """Write a policy file."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


async def test_the_command_explains_what_holds_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which entry, whether and how often it is fetched, and which line would allow solving."""
    path = written(
        tmp_path,
        '[[host]]\nmatch = ["*.shop.example"]\nrate = 0.5\nsolve = true\nmax_cost = 0.004\n'
        'submit = {url = "/v", fields = {a = "{token}"}}\nimage = {selector = "img", field = "code"}',
    )
    assert await check_main("https://ann:s3cret@www.shop.example/x", path, as_json=False) == 0
    text = capsys.readouterr().out
    for words in (
        "host entry 1 (*.shop.example) of",
        "0.5 requests a second",
        "solving     allowed",
        "0.004 US dollars",
        "POST /v: a",
        "img into code",
    ):
        assert words in text
    assert "s3cret" not in text
    monkeypatch.setenv("TIDEGATE_FETCHER__POLICY_FILE", str(path))
    assert await check_main("http://169.254.169.254:81/", None, as_json=True) == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["because"] == "the settings"
    assert "link-local" in told["refused"]
    assert "SOLVE_HOSTS=169.254.169.254:81" in told["solve_refused"]


async def test_the_command_refuses_what_the_service_would(tmp_path: Path) -> None:
    """With the place in the file; and what is no URL."""
    with pytest.raises(ConfigurationError, match=r"host entry 1, itself: .*`ratez`"):
        await check_main(
            "https://a.example/", written(tmp_path, '[[host]]\nmatch=["a"]\nratez=1'), as_json=False
        )
    with pytest.raises(ConfigurationError, match="scheme"):
        await check_main("ftp://a.example/", None, as_json=False)


async def test_the_file_says_who_asks_what_is_solved_and_how_it_is_handed_in(tmp_path: Path) -> None:
    """The recipe goes before the page's form, and the page is asked for again after it."""
    asked: list[tuple[str, str, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        body = (await request.post()).get("answer", "")
        asked.append((request.method, request.path, request.headers["User-Agent"], str(body)))
        if request.path == "/verify":
            return web.Response(text="ok", headers={"Set-Cookie": "in=1; Path=/"})
        if request.cookies.get("in") == "1":
            return web.Response(text="the page", content_type="text/html")
        return web.Response(text=WIDGET, content_type="text/html")

    path = written(
        tmp_path,
        '[[host]]\nmatch = ["127.0.0.1"]\nsolve = true\nmax_cost = 0.003\nuser_agent = "Honest/1"\n'
        'submit = {url = "/verify", fields = {answer = "<{token}>"}}\n[[host]]\nmatch = ["localhost"]\n'
        "solve = false",
    )
    async with site(answer) as base, fetcher(policy_file=path, solve_hosts=("*",)) as service:
        request = request_of(await run(service, job(f"{base}/x", max_solve_cost=0.01)))
        assert request.max_cost == 0.003
        outcome = await run(service, solution(request), topic=Topic.CAPTCHA_SOLUTIONS)
        assert isinstance(outcome, Done)
        pages = tuple(record for record in outcome.outgoing if record.topic == Topic.PAGES)
        assert page_of(Done(pages)).body == b"the page"
        refused = await run(service, job(base.replace("127.0.0.1", "localhost") + "/x"))
    assert isinstance(refused, Dead)
    assert refused.reason is Reason.SOLVE_NOT_ALLOWED
    assert "host entry 2 (localhost) says false" in refused.message
    assert asked[:3] == [
        ("GET", "/x", "Honest/1", ""),
        ("POST", "/verify", "Honest/1", "<good>"),
        ("GET", "/x", "Honest/1", ""),
    ]
