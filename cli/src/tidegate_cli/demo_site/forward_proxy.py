"""A forward proxy of the demo's own: clearances that hold for one address only are bought through it.

It listens on a loopback address that is not the site's visitors' own, and goes out by that address, so that
the site tells who came through it from who came directly. Plain HTTP to loopback addresses, nothing else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

# Between two connections, not between who asks and who answers (RFC 9110, 7.6.1).
_HOP = ("Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Transfer-Encoding")
_SET_BY_US = ("Content-Length", "Date", "Server")
_TIMEOUT = aiohttp.ClientTimeout(total=60.0)


class ForwardProxy:
    """Passes requests on."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request as the site that it is for answers it."""
        if not request.raw_path.startswith("http://") or not _is_loopback(request.url.host or ""):
            return web.Response(status=403, text="This proxy leads to sites on this machine only.")
        headers = CIMultiDict(request.headers)
        for name in _HOP:
            headers.popall(name, None)
        body = await request.read() if request.body_exists else None
        try:
            async with self._session.request(
                request.method, request.url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                told = CIMultiDict(answer.headers)
                for name in (*_HOP, *_SET_BY_US):
                    told.popall(name, None)
                return web.Response(status=answer.status, headers=told, body=await answer.read())
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=502, text="The site does not answer.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@asynccontextmanager
async def forward_proxy(host: str, port: int) -> AsyncIterator[int]:
    """Serve it; yields its port. Raises OSError where the address cannot be had."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(local_addr=(host, 0), limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=_TIMEOUT,
    ) as session:
        serving = ForwardProxy(session)
        runner = web.ServerRunner(web.Server(serving.serve, access_log=None), shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()
