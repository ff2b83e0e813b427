"""The work of ``tidegate detect``, with everything heavy imported."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from multidict import CIMultiDict
from tidegate.captcha_records import Challenge
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.clock import BrokerClock, SystemClock
from tidegate.errors import ConfigurationError
from tidegate.records import UrlJob
from tidegate.settings import load
from tidegate_fetcher import requests, signatures
from tidegate_fetcher.addresses import AddressRules
from tidegate_fetcher.client import HttpClient
from tidegate_fetcher.connections import Connections
from tidegate_fetcher.detection import Block, Detector, Finding, answerable, lacking
from tidegate_fetcher.exchange import ExchangeError, Response
from tidegate_fetcher.images import ImageRule
from tidegate_fetcher.policy import Policy
from tidegate_fetcher.selectors import Selector
from tidegate_fetcher.settings import FetcherSettings, Settings
from yarl import URL

from tidegate_cli.exits import Exit
from tidegate_cli.terminal import printable

_MAX_BYTES = 16 << 20
_SHOWN = 100
_NOWHERE = "https://unknown.invalid/"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    source: str
    status: int | None = None
    headers: tuple[str, ...] = ()
    url: str | None = None
    selector: str | None = None
    field: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to look at."""

    body: bytes
    url: URL
    status: int
    headers: Mapping[str, str]
    cookies: Mapping[str, str] = {}


async def detect_main(asked: Asked, *, as_json: bool) -> int:
    """Look at the page and print what was found."""
    image = _image(asked)
    try:
        page = await _page(asked)
    except ExchangeError as error:
        # As with a file that cannot be read: what was named is not to be had.
        raise ConfigurationError(error.message) from error
    found = Detector(signatures.load()).find(
        page.body, status=page.status, headers=page.headers, url=page.url, cookies=page.cookies, image=image
    )
    told = describe(found, page)
    print(msgspec.json.encode(told).decode() if as_json else text_of(told))  # noqa: T201 -- the answer
    return Exit.OK


def describe(found: Finding | None, page: Page) -> dict[str, Any]:
    """Return what was found as JSON-ready values; ``kind`` is None where nothing was. Pure."""
    told: dict[str, Any] = {
        "url": None if str(page.url) == _NOWHERE else str(page.url),
        "status": page.status,
        "bytes": len(page.body),
        "class": "page",
        "kind": None,
        "signatures": [],
    }
    match found:
        case None:
            return told
        case Block():
            return told | {
                "class": "blocked",
                "kind": found.name,
                "signatures": list(found.signatures),
                "message": found.message,
            }
        case Challenge():
            facts = FACTS[found.kind]
            into = found.form.token_fields if found.form is not None else facts.fields
            return told | {
                "class": "challenge",
                "kind": found.kind.value,
                "signatures": list(found.signatures),
                "params": found.params,
                "lacking": list(lacking(found)),
                "lifetime_s": found.lifetime_s,
                "answer": {
                    "is": facts.answer.value,
                    "into": list(facts.cookies if facts.answer is AnswerKind.COOKIES else into),
                    "life_s": facts.answer_life_s,
                    "bound": facts.bound,
                    "possible": answerable(found),
                },
                "form": None if found.form is None else msgspec.to_builtins(found.form),
            }


def text_of(told: Mapping[str, Any]) -> str:
    """Return the same for a person, long values cut. Pure."""
    if told["class"] == "page":
        return f"page: nothing stands in the way ({told['bytes']} bytes, status {told['status']})"
    lines = [f"{told['class']}: {told['kind']}", f"  because of  {', '.join(told['signatures'])}"]
    if told["class"] == "blocked":
        return "\n".join([*lines, f"  {told['message']} It is not solved, and nothing is paid for it."])
    lines += [f"  {name:<11} {_cut(value)}" for name, value in told["params"].items()]
    if told["lacking"]:
        lines.append(f"  lacks       {', '.join(told['lacking'])}: it cannot be bought as it is")
    life = told["lifetime_s"]
    lines.append("  waits       for ever" if life is None else f"  waits       {life:g} s")
    answer = told["answer"]
    into = ", ".join(answer["into"]) or "the form"
    lines.append(f"  answer      {answer['is']} into {into}, good for {answer['life_s']:g} s")
    if answer["bound"]:
        lines.append("  bound       to the address and the user agent that met it")
    form = told["form"]
    if form is not None:
        lines.append(f"  form        {form['method']} {printable(form['action'])}")
        lines += [f"    {_cut(name)} = {_cut(value)}" for name, value in form.get("fields", ())]
    elif not answer["possible"]:
        lines.append("  form        none: an answer could not be handed in")
    return "\n".join(lines)


def _cut(value: str) -> str:
    line = " ".join(value.split())
    shown = printable(line, _SHOWN)
    return shown if len(line) <= _SHOWN else f"{shown} ({len(value)} characters)"


def _image(asked: Asked) -> ImageRule | None:
    if asked.selector is None:
        return None
    try:
        Selector(asked.selector)
    except ValueError as error:
        raise ConfigurationError(f"--image-selector: {error}.") from error
    return ImageRule(selector=asked.selector, field=asked.field)


async def _page(asked: Asked) -> Page:
    """Return the page; what the command line says of the answer wins over what it says of itself."""
    given = CIMultiDict(_header(line) for line in asked.headers)
    if asked.source.startswith(("http://", "https://")):
        response = await _asked_for(asked.source)
        return Page(
            body=response.body,
            url=response.url,
            status=asked.status or response.status,
            headers=CIMultiDict({**response.headers, **given}),
            cookies={cookie.name: cookie.value for cookie in response.jar},
        )
    body = await asyncio.to_thread(_read, asked.source)
    start = body.lstrip()[:5]
    if "Content-Type" not in given and start[:1] == b"<" and start != b"<?xml":
        given["Content-Type"] = "text/html"
    status = 200 if asked.status is None else asked.status
    return Page(body=body, url=_url(asked.url or _NOWHERE), status=status, headers=given)


def _read(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(_MAX_BYTES)
        with Path(source).open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}.") from error


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise ConfigurationError(f"--header {line!r} is not of the form 'Name: value'.")
    return name.strip(), value.strip()


def _url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is not a URL.") from error
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise ConfigurationError(f"{text!r} is not a URL of http or https.")
    return url


async def _asked_for(text: str) -> Response:
    """Ask for a URL as the fetcher would, by its settings."""
    url = _url(text)
    settings: FetcherSettings = load(Settings).fetcher
    addresses = AddressRules(allow_private=settings.allow_private, denied=settings.denied_networks)
    connections = Connections(
        addresses,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        proxies_kept=1,
    )
    clock = SystemClock()
    async with connections:
        client = HttpClient(
            connections,
            Policy(allowed_ports=frozenset(settings.allowed_ports), allow_private=settings.allow_private),
            addresses,
            clock=clock,
            broker_clock=BrokerClock(clock),
            max_body_bytes=settings.max_body_bytes,
            max_redirects=settings.max_redirects,
            total_s=settings.total_timeout_s,
            large_bodies=1,
        )
        return await client.send(requests.of_job(UrlJob(url=text), url, settings.user_agent))
