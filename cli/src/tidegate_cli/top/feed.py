"""Asks the monitor over HTTP, as its page does: the state once, or as server-sent events."""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import aiohttp
import msgspec
from tidegate.clock import Clock
from tidegate.errors import ConfigurationError, RemoteError

# The page has at most some thousand rows; whatever else answers here is not read to its end.
_LARGEST = 8 << 20
# The monitor says something every two seconds.
_SILENT_S = 10.0
_CONNECT_S = 5.0
_AGAIN_S = 2.0
_DATA = b"data: "
_REFUSALS = {
    401: "asks for its token, or another one: give it in TIDEGATE_MONITOR__TOKEN_FILE",
    421: "does not go by this name: ask for localhost, or name it in its TIDEGATE_MONITOR__HOSTS",
    503: "has too many who look at it already",
}


class Feed:
    """One monitor; ``url`` is the page's address and ends in a slash."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        """Take what ``session()`` made."""
        self.url = url
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def once(self) -> bytes:
        """Return the state as JSON. Raises RemoteError; ConfigurationError where the token is wrong."""
        async with aclosing(self._said("state")) as said:
            async for body in said:
                return body
        raise self._error("has nothing to say")

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the state every two seconds until the monitor is gone; as ``once`` raises."""
        async for line in self._said("stream"):
            if line.startswith(_DATA):
                yield line.removeprefix(_DATA)
        raise self._error("has ended the connection")

    async def _said(self, path: str) -> AsyncGenerator[bytes, None]:
        try:
            # A redirect would carry the token to somebody else.
            async with self._session.get(
                self.url + path, headers=self._headers, allow_redirects=False
            ) as answer:
                if answer.status == 401:
                    raise ConfigurationError(f"The monitor at {self.url} {_REFUSALS[401]}")
                if answer.status != 200:
                    raise self._error(_REFUSALS.get(answer.status, f"answers with status {answer.status}"))
                async for line in answer.content:
                    yield line.rstrip(b"\n")
        except TimeoutError as error:
            raise self._error("does not answer") from error
        except aiohttp.ClientConnectorError as error:
            errno = error.os_error.errno or 0
            why = os.strerror(errno) if errno > 0 else error.os_error.strerror
            advice = "`tidegate up` starts one; --url says where another one is."
            raise RemoteError(f"No monitor answers at {self.url}: {why}. {advice}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._error(f"cannot be asked ({error or type(error).__name__})") from error

    def _error(self, what: str) -> RemoteError:
        return RemoteError(f"The monitor at {self.url} {what}")


def session() -> aiohttp.ClientSession:
    """Return the connections of a feed."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
    return aiohttp.ClientSession(timeout=timeout, read_bufsize=_LARGEST)


class Lost(msgspec.Struct, frozen=True):
    """Nothing is heard of the monitor for now; it is asked again."""

    why: str


async def follow_again(feed: Feed, clock: Clock) -> AsyncGenerator[bytes | Lost, None]:
    """Yield the state for ever; a monitor that was there once may go and come back.

    Raises RemoteError where it was not there at first, ConfigurationError where the token is wrong.
    """
    heard = False
    while True:
        try:
            async for body in feed.follow():
                heard = True
                yield body
        except RemoteError as error:
            if not heard:
                raise
            yield Lost(str(error))
        await clock.sleep(_AGAIN_S)
