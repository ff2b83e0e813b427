"""Drives the vendors' public client libraries against the simulated service; runs in their own environment.

The libraries are used as they are. What is redirected is where their requests go: each keeps its vendor's
host name in the Host header, by which the simulated service knows whom it plays. What is hurried is their
waiting: a pause of theirs takes a hundredth of a second. One JSON line is written for each scenario.
"""

import asyncio
import json
import logging
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests.adapters
from anticaptchaofficial.hcaptchaproxyless import hCaptchaProxyless
from anticaptchaofficial.recaptchav2proxyless import recaptchaV2Proxyless
from anticaptchaofficial.recaptchav3proxyless import recaptchaV3Proxyless
from anticaptchaofficial.turnstileproxyless import turnstileProxyless
from capmonstercloudclient import CapMonsterClient, ClientOptions
from capmonstercloudclient.requests import (
    HcaptchaRequest,
    RecaptchaV2Request,
    RecaptchaV3ProxylessRequest,
    TurnstileRequest,
)
from captchaai import CaptchaAI
from python3_capsolver.cloudflare import Cloudflare
from python3_capsolver.control import Control
from python3_capsolver.core.enum import CaptchaTypeEnm
from python3_capsolver.recaptcha import ReCaptcha
from twocaptcha import TwoCaptcha

KEY = "0123456789abcdef0123456789abcdef"
URL, SITEKEY = "https://site.test/login", "0x4AAAAAAADnPIDROrmt1Wwj"
PAUSE_S = 0.01

Scenario = tuple[str, str, dict[str, Any], Callable[[str], Any]]


def redirect(base: str) -> None:
    """Send every request to the simulated service, with the vendor's name in its Host header."""
    target = urlsplit(base)
    original_send = requests.adapters.HTTPAdapter.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        parts = urlsplit(request.url)
        if parts.netloc != target.netloc:
            request.headers["Host"] = parts.netloc
            request.url = parts._replace(scheme=target.scheme, netloc=target.netloc).geturl()
        return original_send(self, request, **options)

    original_request = aiohttp.ClientSession._request

    async def request(self: Any, method: str, url: Any, **options: Any) -> Any:
        parts = urlsplit(str(url))
        headers = {**(options.pop("headers", None) or {}), "Host": parts.netloc}
        there = parts._replace(scheme=target.scheme, netloc=target.netloc).geturl()
        return await original_request(self, method, there, headers=headers, **options)

    original_handle = httpx.HTTPTransport.handle_request

    def handle_request(self: Any, asked: Any) -> Any:
        asked.url = asked.url.copy_with(scheme=target.scheme, host=target.hostname, port=target.port)
        return original_handle(self, asked)

    for owner, name, ours in (
        (requests.adapters.HTTPAdapter, "send", send),
        (aiohttp.ClientSession, "_request", request),
        (httpx.HTTPTransport, "handle_request", handle_request),
    ):
        setattr(owner, name, ours)


def hurry() -> None:
    """Let every pause of the libraries take a hundredth of a second."""
    slept, slept_async = time.sleep, asyncio.sleep  # noqa: TID251 -- the libraries' own, to be replaced
    setattr(time, "sleep", lambda _seconds: slept(PAUSE_S))  # noqa: B010 -- as below

    async def sleep(_seconds: float, result: Any = None) -> Any:
        return await slept_async(PAUSE_S, result)

    setattr(asyncio, "sleep", sleep)  # noqa: B010 -- a function, for the type checker


def behave(base: str, behaviour: dict[str, Any]) -> None:
    """Say how every vendor behaves from now on."""
    body = json.dumps({"vendor": "*", **behaviour}).encode()
    with urllib.request.urlopen(f"{base}/control/behaviour", body, timeout=10):
        pass


def _with_key(solver: Any, key: str) -> Any:
    solver.set_key(key)
    return solver


def anticaptcha(solver: Any, key: str) -> Any:
    """Solve by Anti-Captcha's library, which answers 0 and keeps the code where it failed."""
    _with_key(solver, key)
    solver.set_website_url(URL)
    solver.set_website_key(SITEKEY)
    found = solver.solve_and_return_solution()
    return found if found != 0 else f"failed: {solver.error_code}"


def capmonster(request: Any, key: str) -> Any:
    """Solve by CapMonster's library."""
    return asyncio.run(CapMonsterClient(ClientOptions(api_key=key)).solve_captcha(request))


def capsolver(kind: Any, key: str, **task: Any) -> Any:
    """Solve by a library of CapSolver's, which answers with the whole reply."""
    maker = Cloudflare if "Turnstile" in kind.value else ReCaptcha
    task = {"websiteURL": URL, "websiteKey": SITEKEY, **task}
    return maker(api_key=key, captcha_type=kind).captcha_handler(task_payload=task)


def captchaai(call: Callable[[CaptchaAI], Any], key: str) -> Any:
    """Solve by CaptchaAI's library; the first thing that it does is to look at the account."""
    return str(call(CaptchaAI(api_key=key, max_retries=0)))


def two(call: Callable[[TwoCaptcha], Any], key: str) -> Any:
    """Solve by 2Captcha's library, polling as soon as it may."""
    return call(TwoCaptcha(key, defaultTimeout=30, recaptchaTimeout=30, pollingInterval=1))


def told(solver: TwoCaptcha, *, good: bool) -> Any:
    """Solve, then give a word on the token."""
    solved = solver.turnstile(sitekey=SITEKEY, url=URL)
    return {"report": solver.report(solved["captchaId"], good), **solved}


def reported(solver: Any, key: str) -> Any:
    """Solve, then complain of the token."""
    anticaptcha(solver, key)
    return solver.report_incorrect_recaptcha()


SOLVES: dict[str, dict[str, Callable[[str], Any]]] = {
    "2captcha-python": {
        "recaptcha_v2": lambda key: two(lambda c: c.recaptcha(sitekey=SITEKEY, url=URL), key),
        "recaptcha_v2_enterprise": lambda key: two(
            lambda c: c.recaptcha(sitekey=SITEKEY, url=URL, enterprise=1), key
        ),
        "recaptcha_v3": lambda key: two(
            lambda c: c.recaptcha(sitekey=SITEKEY, url=URL, version="v3", action="login", score=0.3), key
        ),
        "hcaptcha": lambda key: two(lambda c: c.hcaptcha(sitekey=SITEKEY, url=URL), key),
        "turnstile": lambda key: two(lambda c: c.turnstile(sitekey=SITEKEY, url=URL), key),
        "geetest_v3": lambda key: two(lambda c: c.geetest(gt="g" * 32, challenge="c" * 32, url=URL), key),
        "balance": lambda key: two(lambda c: c.balance(), key),
        "good": lambda key: two(lambda c: told(c, good=True), key),
        "bad": lambda key: two(lambda c: told(c, good=False), key),
    },
    "anticaptchaofficial": {
        "recaptcha_v2": lambda key: anticaptcha(recaptchaV2Proxyless(), key),
        "recaptcha_v3": lambda key: anticaptcha(recaptchaV3Proxyless(), key),
        "hcaptcha": lambda key: anticaptcha(hCaptchaProxyless(), key),
        "turnstile": lambda key: anticaptcha(turnstileProxyless(), key),
        "balance": lambda key: _with_key(recaptchaV2Proxyless(), key).get_balance(),
        "bad": lambda key: reported(recaptchaV2Proxyless(), key),
    },
    "capmonstercloudclient": {
        "recaptcha_v2": lambda key: capmonster(RecaptchaV2Request(websiteUrl=URL, websiteKey=SITEKEY), key),
        "recaptcha_v3": lambda key: capmonster(
            RecaptchaV3ProxylessRequest(websiteUrl=URL, websiteKey=SITEKEY, minScore=0.3), key
        ),
        "hcaptcha": lambda key: capmonster(HcaptchaRequest(websiteUrl=URL, websiteKey=SITEKEY), key),
        "turnstile": lambda key: capmonster(TurnstileRequest(websiteURL=URL, websiteKey=SITEKEY), key),
        "balance": lambda key: asyncio.run(CapMonsterClient(ClientOptions(api_key=key)).get_balance()),
    },
    "python3-capsolver": {
        "recaptcha_v2": lambda key: capsolver(CaptchaTypeEnm.ReCaptchaV2TaskProxyLess, key),
        "recaptcha_v3": lambda key: capsolver(CaptchaTypeEnm.ReCaptchaV3TaskProxyLess, key, pageAction="a"),
        "turnstile": lambda key: capsolver(CaptchaTypeEnm.AntiTurnstileTaskProxyLess, key),
        "balance": lambda key: Control(api_key=key).get_balance(),
    },
    "captchaai": {
        "recaptcha_v2": lambda key: captchaai(lambda c: c.recaptcha_v2(SITEKEY, URL), key),
        "recaptcha_v2_enterprise": lambda key: captchaai(
            lambda c: c.recaptcha_v2(SITEKEY, URL, enterprise=True), key
        ),
        "recaptcha_v3": lambda key: captchaai(lambda c: c.recaptcha_v3(SITEKEY, URL, action="login"), key),
        "turnstile": lambda key: captchaai(lambda c: c.turnstile(SITEKEY, URL), key),
        "balance": lambda key: captchaai(lambda c: c.threads_info(), key),
    },
}

# What goes wrong, and how the vendors are told to do it; the key decides the first.
ERRORS: dict[str, dict[str, Any]] = {
    "wrong_key": {},
    "zero_balance": {"zero_balance": True},
    "no_kind": {"unsupported": ["recaptcha_v2"]},
    "unsolvable": {"errors": [{"code": "ERROR_CAPTCHA_UNSOLVABLE", "on": "result"}]},
}


def scenarios() -> Iterator[Scenario]:
    """Yield library, name, the vendors' behaviour and the call."""
    for library, calls in SOLVES.items():
        for name, call in calls.items():
            yield library, name, {}, call
        for name, behaviour in ERRORS.items():
            yield library, name, behaviour, calls["recaptcha_v2"]


def main() -> None:
    """Play every scenario and write what each library said."""
    logging.disable()
    base = sys.argv[1]
    redirect(base)
    hurry()
    for library, name, behaviour, call in scenarios():
        behave(base, behaviour)
        try:
            said, failed = call("not-a-key-of-anybody-at-all-00000" if name == "wrong_key" else KEY), False
        except Exception as error:  # noqa: BLE001 -- whatever a library raises is what it says
            said, failed = f"{type(error).__name__}: {error}", True
        line = {"library": library, "scenario": name, "raised": failed, "said": said}
        sys.stdout.write(json.dumps(line, default=str) + "\n")


if __name__ == "__main__":
    main()
