"""How a request reaches a solving service: the port, and its adapter on aiohttp.

The port tells apart what money needs told apart (M3): a request that was certainly never sent, and one that
may have been. Nothing is ever sent a second time by itself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue
from tidegate.errors import SolverError
from tidegate.tracing import answered, child

from tidegate_solver.wire import Call

_LONGEST_REPLY = 1 << 20

NOT_SENT = "not_sent"


class NotSentError(SolverError):
    """The request never left this process: nothing can have been spent."""


class NoAnswerError(SolverError):
    """The request may have been received, and no whole answer came."""


class Transport(Protocol):
    """Sends calls to a solving service."""

    async def send(self, call: Call) -> tuple[int, bytes]:
        """Return the HTTP status and the body. Raises NotSentError or NoAnswerError, nothing else."""
        ...


class HttpTransport:
    """The port on an aiohttp session."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)

    async def send(self, call: Call) -> tuple[int, bytes]:
        """Send once. Redirects are not followed: the key in the call is for this address only."""
        method = "GET" if call.query is not None else "POST"
        try:
            with child(f"{method} {call.path}", self._attributes(method, call.path)) as span:
                return await self._send(method, call, span)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise NotSentError(NOT_SENT, f"no connection: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswerError("no_answer", f"no whole answer: {type(error).__name__}") from error

    async def _send(self, method: str, call: Call, span: Span | None) -> tuple[int, bytes]:
        async with self._session.request(
            method,
            self._base_url + call.path,
            json=call.json,
            data=call.form,
            params=call.query,
            allow_redirects=False,
        ) as response:
            answered(span, response.status)
            return response.status, await _read(response)

    def _attributes(self, method: str, path: str) -> dict[str, AttributeValue]:
        return {
            "http.request.method": method,
            "url.template": path,
            "server.address": self._host,
            "server.port": self._port,
        }


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read at most a megabyte; a longer body is nothing a solving service says."""
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LONGEST_REPLY:
            response.close()
            break
    return b"".join(chunks)


@asynccontextmanager
async def http_transport(
    base_url: str, *, connections: int, connect_timeout_s: float, read_timeout_s: float
) -> AsyncIterator[HttpTransport]:
    """Open one session for the process and close it at the end.

    Idle connections are kept for 3 s only: a service that closes one just as createTask goes out leaves
    that task in doubt, and the common idle limits of servers begin at 5 s.
    """
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=3.0)
    timeout = aiohttp.ClientTimeout(
        total=connect_timeout_s + 2 * read_timeout_s, connect=connect_timeout_s, sock_read=read_timeout_s
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={"User-Agent": "tidegate-solver", "Accept": "application/json"},
    ) as session:
        yield HttpTransport(session, base_url)
