"""Secrets that are planted, each where one may be, and a search for them in what came out."""

from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from tidegate.proxies import parse
from tidegate_cli.stack.ports import HOST

RUN = "planted"
USER = "ann"
# Words without meaning, so that nothing but a leak can hold them, and no encoding of URLs changes them.
_PLACES = (
    *("cookie", "authorization", "api_key_header", "query", "userinfo", "body", "job_proxy"),
    *("listed_proxy", "refused_proxy", "dead_proxy", "provider_key", "failing_key", "refused_key"),
    *("kafka_password", "clickhouse_password", "monitor_token", "webhook"),
)
PLANTED = {place: f"zq{number:02d}xj7wv{place.replace('_', '')}" for number, place in enumerate(_PLACES)}
_SET_BY_PROXY = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})
_LEAST = 16


def found(needles: Mapping[str, str], text: bytes) -> set[str]:
    """Return which of these are in a text, as they are or as Basic credentials of our user."""
    return {
        place for place, secret in needles.items() if secret.encode() in text or _basic(secret)[:-4] in text
    }


def _basic(secret: str) -> bytes:
    return b64encode(f"{USER}:{secret}".encode())


def jobs(site: str, paths: Iterable[str], proxy: str) -> list[bytes]:
    """Return pages to be had, and jobs that fail in every way in which a message could quote them."""
    secret = PLANTED
    own = {
        "Cookie": f"sid={secret['cookie']}",
        "Authorization": f"Bearer {secret['authorization']}",
        "X-Api-Key": secret["api_key_header"],
    }
    query = f"?token={secret['query']}"
    gone = f"http://{USER}:{secret['userinfo']}@{HOST}:1/gone{query}"
    given = f"{USER}:{secret['job_proxy']}"
    pins = [each.id for each in parse(proxy_list(proxy).encode()).proxies]
    page = f"{site}/extra/missing.html{query}"
    told: list[dict[str, Any]] = [
        *(
            {"url": site + path, "headers": headers, "proxy": pins[0]}
            for path in paths
            for headers in (own, {})
        ),
        *({"url": page, "headers": own, "proxy": pin} for pin in pins),
        {"url": gone, "headers": own},
        {"url": f"{page}&n=1", "headers": own, "method": "POST", "body": f"password={secret['body']}"},
        {"url": f"http://169.254.169.254/{query}", "headers": own, "body": secret["body"], "method": "POST"},
        {"url": page, "headers": own, "proxy": f"http://{given}@{HOST}:1"},
        {"url": page, "headers": own, "proxy": f"http://{given}@{proxy}"},
        {"url": page, "headers": own, "proxy": f"socks5://{given}@{proxy}"},
        {"url": page, "headers": own, "proxy": f"ftp://{given}@{proxy}"},
        {"url": page, "headers": {"Authorization": f"Bearer\r\n{secret['authorization']}"}},
        {"url": page, "headers": {"Cookie": [secret["cookie"]]}},
        {"url": page, "headers": own, "password": secret["body"]},
        {"url": f"http://{USER}:{secret['userinfo']}@[::1/{query}", "headers": own},
    ]
    numbered = [
        msgspec.json.encode({"id": f"{number:02d}", "run": RUN, "max_retries": 0, **job})
        for number, job in enumerate(told)
    ]
    return [*numbered, numbered[0][:-1], gone.replace("http:", "gopher:").encode()]


def won(values: Iterable[bytes]) -> dict[str, str]:
    """Return the cookies and tokens in records of `sessions` and `captcha-solutions`, as needles."""
    needles: dict[str, str] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            cookies = value.get("cookies") or ()
            texts = [
                value.get("token"),
                *(cookies.values() if isinstance(cookies, dict) else (each["value"] for each in cookies)),
            ]
            for text in texts:
                if isinstance(text, str) and len(text) >= _LEAST:
                    needles[f"won {len(needles)}"] = text
            for inner in value.values():
                look(inner)

    for value in values:
        look(msgspec.json.decode(value))
    return needles


class Gateway:
    """A forward proxy that lets one password in, and tells everybody else which one they came with."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.through = 0
        self.refused = 0

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward, or refuse."""
        given = request.headers.get("Proxy-Authorization", "")
        if given != f"Basic {_basic(PLANTED['listed_proxy']).decode()}":
            self.refused += 1
            return web.Response(status=407, reason=f"no {given}", text=f"{given} {request.url}")
        self.through += 1
        headers = CIMultiDict(request.headers)
        headers.popall("Proxy-Authorization")
        body = await request.read()
        try:
            async with self._session.request(
                request.method, request.url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                kept = CIMultiDict(
                    pair for pair in answer.headers.items() if pair[0].lower() not in _SET_BY_PROXY
                )
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
        except aiohttp.ClientError:
            return web.Response(status=502, text=str(request.url))


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    """Serve it; yields it and its ``host:port``."""
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=jar) as session:
        serving = Gateway(session)
        runner = web.ServerRunner(web.Server(serving.serve, access_log=None), shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            yield serving, f"{HOST}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def proxy_list(good: str) -> str:
    """Return a list: one that is good, one that refuses us and says why at length, one that is not there."""
    secret = PLANTED
    return (
        f"{good}:{USER}:{secret['listed_proxy']}\n"
        f"http://{USER}:{secret['refused_proxy']}@{good}\n"
        f"socks5://{USER}:{secret['dead_proxy']}@{HOST}:1\n"
        f"this is no proxy {secret['dead_proxy']}\n"
    )
