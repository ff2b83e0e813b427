"""One HTTP/1.1 request and the head of its answer, on a connection of aiohttp's pool.

Connecting, TLS, proxies, keeping connections and reading answers are aiohttp's. What its session does around
them is left out, because nothing of it is used here: redirects, cookies, authentication, tracing, sending a
body in pieces. That was two thirds of what a request costs (ADR 0018).
"""

import asyncio
from functools import lru_cache
from typing import Self

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL

from tidegate_fetcher.connections import Route
from tidegate_fetcher.exchange import Headers

_REMEMBERED = 4096  # origins; what names one is dearer than a look-up
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
# Content-Security-Policy and Set-Cookie often outgrow the default of 8 KiB.
_MAX_LINE, _MAX_FIELD = 16_384, 32_768
# Kept connections in a row on which something came that nobody had asked for.
_MOST_SPOILT = 4


class Answer:
    """The head of an answer; the body is still to be read from ``content``. Release it, however it ends."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(self, connection: Connection, message: RawResponseMessage, content: StreamReader) -> None:
        self._connection = connection
        self.content = content
        self.status = message.code
        self.headers: Headers = message.headers

    @property
    def content_length(self) -> int | None:
        """The body's bytes on the wire, as the server says; None where it does not."""
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    def close(self) -> None:
        """Close the connection: what is left of the body is not wanted."""
        self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Kept for the next request only where the body was read to its end.
        protocol = self._connection.protocol
        if protocol is not None and not protocol.should_close:
            # What comes while nobody has asked is no answer. Unread it is bounded, and spoils the connection.
            protocol._parser = None  # noqa: SLF001 -- aiohttp has no other way to stop it from being parsed
        self._connection.release()


class Wire:
    """Sends requests, one after the other or at once, by the connectors of any routes."""

    def __init__(self) -> None:
        self._direct = lru_cache(maxsize=_REMEMBERED)(_whom)

    async def ask(
        self, route: Route, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> Answer:
        """Send a request and return the head of its answer. Raises what aiohttp's connector and parser do.

        ``headers`` has all but Host and Content-Length. A kept connection may be closed by the server just
        as a request goes out on it, so one that may be sent twice is.
        """
        try:
            return await self._exchange(route, method, url, headers, body)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if method not in _IDEMPOTENT:
                raise
        return await self._exchange(route, method, url, headers, body)

    async def _exchange(
        self, route: Route, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> Answer:
        connection = await self._connected(route, url)
        timeout = route.session.timeout
        try:
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=timeout.sock_read,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_FIELD,
            )
            writer = StreamWriter(protocol, asyncio.get_running_loop())
            # It refuses a header that would break out of its line.
            await writer.write_headers(*_head(route, method, url, headers, body))
            await writer.write_eof(body or b"")
            protocol.start_timeout()
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
        except BaseException:
            connection.close()
            raise
        return Answer(connection, message, content)

    async def _connected(self, route: Route, url: URL) -> Connection:
        """Return a connection on which nothing came yet: what did would be taken for the next answer."""
        connector = route.session.connector
        assert connector is not None
        for _ in range(_MOST_SPOILT):
            # The connector writes into what names a proxy, so that one is never kept.
            whom = self._direct(url.origin()) if route.http_proxy is None else _whom(url, route)
            try:
                connection = await connector.connect(whom, [], route.session.timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError from error
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ServerDisconnectedError


def _head(
    route: Route, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
) -> tuple[str, CIMultiDict[str]]:
    """Return the request's first line and its headers."""
    target = url.raw_path_qs
    sent = CIMultiDict({"Host": url.host_port_subcomponent or ""})
    sent.extend(headers)
    if route.http_proxy is not None and url.scheme == "http":
        target = str(url.with_fragment(None))
        if route.credentials is not None:
            sent["Proxy-Authorization"] = route.credentials
    if body is not None or method not in _WITHOUT_BODY:
        sent["Content-Length"] = str(len(body or b""))
    return f"{method} {target} HTTP/1.1", sent


def _whom(url: URL, route: Route | None = None) -> ClientRequest:
    """Return what names a connection to the connector: whose, and by which proxy."""
    if route is None:
        return ClientRequest("GET", url)
    headers = None
    if route.credentials is not None:
        # With http they are the request's own, too; here they keep two accounts of a gateway apart.
        headers = {"Proxy-Authorization": route.credentials}
    return ClientRequest("GET", url, proxy=route.http_proxy, proxy_headers=headers)
