"""The demo site's further kinds, met by a visitor that shares no code with Tidegate's fetcher."""

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from support.demo_processes import get_json, post_json, process
from support.demo_visitor import Reply, Visitor

# A proxy that goes out by the address that we come from, and one that does not.
_PROXY = {"proxyType": "http", "proxyAddress": "127.0.0.1", "proxyPort": 3128}
_ELSEWHERE = {**_PROXY, "proxyAddress": "8.8.8.8"}
_FIELD = re.compile(r'<input type="hidden" name="([^"]+)"(?: id="\w+")?(?: value="([^"]*)")?>')
# By kind: the task, where in it the key goes, the key on the page, and the field of the answer.
_TOKENS = {
    "recaptcha_v2_enterprise": (
        "RecaptchaV2EnterpriseTask",
        "websiteKey",
        r'data-sitekey="([^"]+)"',
        "g-recaptcha-response",
    ),
    "recaptcha_v3": ("RecaptchaV3TaskProxyless", "websiteKey", r"render=([\w-]+)", "recaptcha_token"),
    "recaptcha_v3_enterprise": (
        "RecaptchaV3EnterpriseTask",
        "websiteKey",
        r"render=([\w-]+)",
        "g-recaptcha-response",
    ),
    "funcaptcha": ("FunCaptchaTask", "websitePublicKey", r"/v2/([\w-]+)/api\.js", "fc-token"),
}
_CLEARANCES = {
    "aws_waf": "aws-waf-token",
    "cloudflare_challenge": "cf_clearance",
    "datadome": "datadome",
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """A running simulator's URL."""
    with process("tidegate_cli.simulator", "--latency-ms", "10") as url:
        yield url


@pytest.fixture(scope="module")
def site(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running demo site's URL; a clearance there lasts for five seconds."""
    options = ("--guarded", "3", "--pages", "30", "--clearance-s", "5")
    cache = tmp_path_factory.mktemp("pages")
    arguments = ("--simulator", simulator, "--cache", str(cache), *options)
    with process("tidegate_cli.demo_site", *arguments) as url:
        yield url


@pytest.fixture
def visitor(site: str, simulator: str) -> Visitor:
    """A visitor without cookies."""
    return Visitor(site, simulator)


def _buy(visitor: Visitor, path: str, **task: Any) -> dict[str, Any]:
    """Buy a solution at a vendor that sells every kind."""
    asked = {"websiteURL": f"{visitor.base}{path}", **task}
    created = post_json(f"{visitor.simulator}/capmonster/createTask", {"clientKey": "visitor", "task": asked})
    assert created.get("taskId"), created
    for _ in range(100):
        query = {"clientKey": "visitor", "taskId": created["taskId"]}
        result = post_json(f"{visitor.simulator}/capmonster/getTaskResult", query)
        if result.get("status") == "ready":
            return dict(result["solution"])
    raise AssertionError("never solved")


def _form(reply: Reply) -> tuple[str, dict[str, str]]:
    """Return where the page's form goes, and its hidden fields."""
    text = reply.body.decode()
    action = re.search(r'<form[^>]*action="([^"]*)"', text)
    fields = {
        name: (value or "").replace("&quot;", '"').replace("&lt;", "<")
        for name, value in _FIELD.findall(text)
    }
    fields = {name: value.replace("&gt;", ">").replace("&amp;", "&") for name, value in fields.items()}
    return (action[1] if action else ""), fields


def _key(reply: Reply, pattern: str) -> str:
    found = re.search(pattern, reply.body.decode())
    assert found is not None
    return found[1]


def _cookie(bought: dict[str, Any], name: str) -> str:
    return str(bought["cookies"][name] if "cookies" in bought else bought[name])


def _is_page(site: str, path: str, reply: Reply) -> bool:
    (row,) = (row for row in get_json(f"{site}/manifest.json")["pages"] if row["path"] == path)
    return reply.status == 200 and row["sha256"] == hashlib.sha256(reply.body).hexdigest()


@pytest.mark.parametrize("kind", list(_TOKENS))
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_token_opens_a_guarded_page_once(visitor: Visitor, kind: str, number: int) -> None:
    """A good token, once; a made-up one, a used one and none are refused."""
    task, where, pattern, field = _TOKENS[kind]
    path = f"/guarded/{kind}/{number}.html"
    challenge = visitor.get(path)
    assert challenge.status == (200 if number == 2 else 403)
    action, fields = _form(challenge)
    for wrong in ("", "made-up"):
        assert not _is_page(visitor.base, path, visitor.request("POST", action, {**fields, field: wrong}))
        challenge = visitor.get(path)
        action, fields = _form(challenge)
    solution = _buy(visitor, path, type=task, **{where: _key(challenge, pattern)}, pageAction="view-page")
    token = solution.get("token") or solution["gRecaptchaResponse"]
    opened = visitor.request("POST", action, {**fields, field: token})
    if number == 3:
        assert (opened.status, opened.headers["Location"]) == (303, path)
        opened = visitor.get(path)
    assert _is_page(visitor.base, path, opened)
    _, fields = _form(visitor.get(path))
    assert not _is_page(visitor.base, path, visitor.request("POST", action, {**fields, field: token}))


def test_an_invisible_widget_takes_no_token_for_a_visible_one_and_the_other_way_round(
    visitor: Visitor,
) -> None:
    """Who buys it as what it is not gets a token that the site refuses, though the key is right."""
    rows = get_json(f"{visitor.base}/manifest.json")["pages"]
    at_once = [row for row in rows if row["protected"] == "recaptcha_v2" and not row["redirects"]]
    one_of_each = {row["invisible"]: row["path"] for row in at_once}
    assert len(one_of_each) == 2
    for is_invisible, path in one_of_each.items():
        challenge = visitor.get(path)
        assert (b'data-size="invisible"' in challenge.body) is is_invisible
        task = {"type": "RecaptchaV2Task", "websiteKey": _key(challenge, r'data-sitekey="([^"]+)"')}
        for says, opens in ((not is_invisible, False), (is_invisible, True)):
            token = _buy(visitor, path, **task, **({"isInvisible": True} if says else {}))
            action, fields = _form(visitor.get(path))
            answer = {**fields, "g-recaptcha-response": token["gRecaptchaResponse"]}
            assert _is_page(visitor.base, path, visitor.request("POST", action, answer)) is opens


@pytest.mark.parametrize("version", [3, 4])
def test_the_parts_of_a_geetest_answer_open_a_page_together(visitor: Visitor, version: int) -> None:
    """All of them, for the challenge on this page; a part of another answer is none."""
    path = f"/guarded/geetest_v{version}/1.html"
    challenge = visitor.get(path)
    action, fields = _form(challenge)
    action = action or path
    if version == 3:
        task = {"gt": _key(challenge, r'gt: "(\w+)"'), "challenge": _key(challenge, r'challenge: "(\w+)"')}
        bought = _buy(visitor, path, type="GeeTestTask", version=3, **task)
        answer = {f"geetest_{name}": str(bought[name]) for name in ("challenge", "validate", "seccode")}
    else:
        identity = _key(challenge, r'captchaId: "(\w+)"')
        init = {"captcha_id": identity}
        bought = _buy(visitor, path, type="GeeTestTask", gt=identity, version=4, initParameters=init)
        names = ("captcha_id", "lot_number", "pass_token", "gen_time", "captcha_output")
        answer = {name: str(bought[name]) for name in names}
    for name in answer:
        broken = {**answer, name: ""}
        refused = visitor.request("POST", action, {**fields, **broken})
        assert not _is_page(visitor.base, path, refused)
        challenge = visitor.get(path)
        _, fields = _form(challenge)
        if version == 3:
            answer["geetest_challenge"] = _key(challenge, r'challenge: "(\w+)"')
    assert _is_page(visitor.base, path, visitor.request("POST", action, {**fields, **answer}))


def test_the_text_of_a_picture_opens_a_page_once(visitor: Visitor, site: str, simulator: str) -> None:
    """The picture is for who saw the page; a wrong text, and a text that was used, are refused."""
    path = "/guarded/image/1.html"
    challenge = visitor.get(path)
    action, fields = _form(challenge)
    assert not _is_page(site, path, visitor.request("POST", action, {**fields, "code": "WRONG1"}))
    challenge = visitor.get(path)
    _, fields = _form(challenge)
    source = _key(challenge, r'<img id="captcha" src="([^"]+)"')
    assert Visitor(site, simulator).get(source).status == 404
    picture = b64encode(visitor.get(source).body).decode()
    text = str(_buy(visitor, path, type="ImageToTextTask", body=picture)["text"])
    assert _is_page(site, path, visitor.request("POST", action, {**fields, "code": text}))
    assert not _is_page(site, path, visitor.request("POST", action, {**fields, "code": text}))


@pytest.mark.parametrize("kind", list(_CLEARANCES))
def test_a_clearance_holds_for_one_agent_and_a_while(visitor: Visitor, kind: str) -> None:
    """Made up or bought for another, a cookie opens nothing; a good one all pages, until it is over."""
    first, second = (f"/guarded/{kind}/{number}.html" for number in (1, 2))
    cookie = _CLEARANCES[kind]
    challenge = visitor.get(first)
    assert challenge.status in (202, 403, 405)
    visitor.cookies[cookie] = "made-up"
    assert visitor.get(first).status == challenge.status
    tasks: dict[str, dict[str, Any]] = {
        "aws_waf": {"type": "AmazonTask", "websiteKey": "k", "cookieSolution": True},
        "cloudflare_challenge": {
            "type": "TurnstileTask",
            "websiteKey": "k",
            "cloudflareTaskType": "cf_clearance",
            "htmlPageBase64": "PGh0bWw+",
        },
        "datadome": {
            "type": "CustomTask",
            "class": "DataDome",
            "metadata": {
                "captchaUrl": "https://geo.captcha-delivery.com/captcha/?a=b",
                "datadomeCookie": "x",
            },
        },
    }
    task = tasks[kind]
    ours = {"userAgent": "visitor/1", **_PROXY}
    if kind == "aws_waf":
        task["websiteKey"] = _key(challenge, r'"key":"([^"]+)"')
    if kind != "aws_waf":
        for wrong in (_ELSEWHERE, {"userAgent": "another/1"}):
            visitor.cookies[cookie] = _cookie(_buy(visitor, first, **{**task, **ours, **wrong}), cookie)
            assert visitor.get(first).status == challenge.status
    visitor.cookies[cookie] = _cookie(_buy(visitor, first, **task, **ours), cookie)
    assert _is_page(visitor.base, first, visitor.get(first))
    assert _is_page(visitor.base, second, visitor.get(second))
    other = Visitor(visitor.base, visitor.simulator, "another/1")
    other.cookies = dict(visitor.cookies)
    assert other.get(first).status == challenge.status
    if kind != "aws_waf":  # one wait is enough
        return
    for _ in range(300):
        if visitor.get(first).status == challenge.status:
            return
        time.sleep(0.1)
    raise AssertionError("the clearance never ended")


def test_what_needs_a_proxy_is_there_and_not_listed(site: str, visitor: Visitor) -> None:
    """A crawl of the list can open every page of it."""
    rows = get_json(f"{site}/manifest.json")["pages"]
    unlisted = {row["protected"] for row in rows if row["protected"] and not row["listed"]}
    assert unlisted == {"cloudflare_challenge", "datadome", "image"}
    assert visitor.get("/guarded/datadome/1.html").headers["x-datadome"] == "protected"
