"""A request, its answer, and how it can fail: the vocabulary between logic and the HTTP client."""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from tidegate.outcome import Reason
from yarl import URL

from tidegate_fetcher.cookies import Jar
from tidegate_fetcher.detection import Finding

Headers: TypeAlias = CIMultiDict[str] | CIMultiDictProxy[str]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. ``headers`` has neither cookies nor credentials.

    ``private`` are headers that only the first URL's origin may see (Authorization and the like).
    ``proxy`` is a URL that may hold a password: never printed; ``proxy_id`` is its name, if it is listed.
    ``robots``: the site's robots.txt is heeded, where its policy says so. ``most_bytes`` bounds the body
    further than all bodies are.
    """

    url: URL
    method: str = "GET"
    headers: Mapping[str, str] = {}
    private: Mapping[str, str] = {}
    body: bytes | None = None
    jar: Jar = ()
    proxy: str | None = None
    proxy_id: str | None = None
    robots: bool = False
    most_bytes: int | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The final answer, its body decoded. ``jar`` holds the request's cookies and those set on the way.

    ``elapsed_ms`` is the last request's, ``wire_bytes`` its body before decoding. ``proxy_id`` names the
    operator's proxy that it came through. ``found`` is what stands in the page's place, once looked for.
    """

    url: URL
    status: int
    headers: Headers
    body: bytes
    jar: Jar
    redirects: int
    elapsed_ms: int
    wire_bytes: int
    proxy_id: str | None = None
    found: Finding | None = None

    @property
    def content_type(self) -> str:
        """The Content-Type as served; empty where there is none."""
        return self.headers.get("Content-Type", "")


def readable(headers: Headers) -> Headers:
    """Return headers whose values are text that can be written as UTF-8.

    aiohttp keeps bytes that are no UTF-8 as lone surrogates, which no record can hold. HTTP's own reading of
    them is Latin-1.
    """
    if all(map(str.isascii, headers.values())):
        return headers
    return CIMultiDict((name, _text(value)) for name, value in headers.items())


def _text(value: str) -> str:
    raw = value.encode(errors="surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class ExchangeError(Exception):
    """A request that brought no answer. The message is a sentence and holds no secret.

    ``of_proxy``: the proxy is certainly to blame; it cannot be reached, or turned us away.
    """

    of_proxy = False

    def __init__(self, message: str, *, status: int | None = None, url: URL | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.url = url


class NetworkFailedError(ExchangeError):
    """Connect, TLS, name, reset, time-out, broken body, proxy: another try may help."""

    def __init__(
        self, message: str, *, status: int | None = None, url: URL | None = None, of_proxy: bool = False
    ) -> None:
        super().__init__(message, status=status, url=url)
        self.of_proxy = of_proxy


class RulesUnknownError(ExchangeError):
    """robots.txt was answered with 5xx or 429: nothing of its site may be fetched for ``after_s`` seconds."""

    def __init__(self, message: str, *, status: int, after_s: float, url: URL | None = None) -> None:
        super().__init__(message, status=status, url=url)
        self.after_s = after_s


class RefusedError(ExchangeError):
    """What no further try helps: a refused address or target, a body too large, too many redirects."""

    def __init__(
        self, reason: Reason, message: str, *, status: int | None = None, url: URL | None = None
    ) -> None:
        super().__init__(message, status=status, url=url)
        self.reason = reason
