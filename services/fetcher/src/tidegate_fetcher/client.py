"""The HTTP client: one request with its redirects, every hop judged, every byte counted.

aiohttp's own redirects, cookies and decompression are off: the rules for them are ours (``policy``,
``cookies``, ``bodies``), and so are the sentences in which a failure is told, which name no URL, no
query and no credential.
"""

import asyncio
import ssl
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp.http import HttpProcessingError
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from multidict import CIMultiDict
from tidegate.clock import BrokerClock, Clock
from tidegate.errors import forget_frames
from tidegate.outcome import Reason
from tidegate.shared_deadline import SharedDeadline
from tidegate.tracing import answered, child
from yarl import URL

from tidegate_fetcher import cookies, urls
from tidegate_fetcher.addresses import AddressRules, canonical
from tidegate_fetcher.bodies import ACCEPT_ENCODING, BodyBrokenError, BodyTooLargeError, decoded
from tidegate_fetcher.connections import AddressRefusedError, Connections, Route
from tidegate_fetcher.exchange import (
    ExchangeError,
    Headers,
    NetworkFailedError,
    RefusedError,
    Request,
    Response,
    readable,
)
from tidegate_fetcher.policy import Policy
from tidegate_fetcher.robots import Robots
from tidegate_fetcher.wire import Answer, Wire

_LARGE = 1 << 20
_DRAINED = 1 << 16
_ASCII = bytes(range(128))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODY_HEADERS = ("Content-Type", "Content-Encoding", "Content-Language", "Content-Location")
_SOCKS_ERRORS = (ProxyConnectionError, ProxyError, ProxyTimeoutError)


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One hop's answer. ``target`` is where it redirects; its body was not kept then."""

    status: int
    headers: Headers
    target: URL | None
    body: bytes
    wire_bytes: int
    elapsed_ms: int


class HttpClient:
    """Sends requests.

    ``max_body_bytes`` bounds a body on the wire and decoded; ``large_bodies`` is how many bodies above
    1 MiB are in hand at once; ``total_s`` is seconds for a request with its redirects and body.
    """

    def __init__(
        self,
        connections: Connections,
        policy: Policy,
        addresses: AddressRules,
        *,
        clock: Clock,
        broker_clock: BrokerClock,
        max_body_bytes: int,
        max_redirects: int,
        total_s: float,
        large_bodies: int,
        robots: Robots | None = None,
    ) -> None:
        self._robots = robots
        self._connections = connections
        self._policy = policy
        self._addresses = addresses
        self._clock = clock
        self._broker_clock = broker_clock
        self._max_body_bytes = max_body_bytes
        self._max_redirects = max_redirects
        self._deadline = SharedDeadline(total_s)
        self._large = asyncio.Semaphore(large_bodies)
        self._wire = Wire()

    async def send(self, request: Request) -> Response:
        """Return the final answer. Raises NetworkFailedError and RefusedError, nothing else foreseen."""
        route = await self._connections.take(request.proxy)
        failed = True
        task = asyncio.current_task()
        assert task is not None
        late = False
        self._deadline.begin(task)
        try:
            try:
                response = await self._follow(request, route)
            finally:
                late = self._deadline.end(task)
            failed = False
        except asyncio.CancelledError as error:
            if not late:
                raise
            sentence = f"The site took longer than {self._deadline.seconds:g} s."
            raise NetworkFailedError(sentence, url=request.url) from error
        except RefusedError:
            failed = False  # the way out did its part
            raise
        finally:
            await self._connections.give_back(request.proxy, failed=failed)
        return response

    async def _follow(self, request: Request, route: Route) -> Response:
        """Send, and follow redirects as browsers do: the method, the body and the secrets that go along."""
        url, method, body, jar = request.url, request.method.upper(), request.body, request.jar
        headers = CIMultiDict(request.headers)
        headers["Accept-Encoding"] = ACCEPT_ENCODING
        origin = canonical(url).origin()
        most = min(self._max_body_bytes, request.most_bytes or self._max_body_bytes)
        for hop in range(self._max_redirects + 1):
            url = canonical(url)
            self._judge(url, hop)
            if self._robots is not None and request.robots:
                await self._robots.judge(url, request)
            sent = headers
            now_ms = self._broker_clock.now_ms()
            cookie = cookies.header_for(jar, url, now_ms)
            if cookie is not None or request.private:
                sent = headers.copy()
                if url.origin() == origin:
                    sent.update(request.private)
                if cookie is not None:
                    sent["Cookie"] = cookie
            answer = await self._ask(route, method, url, sent, body, most=most)
            jar = cookies.stored(jar, url, answer.headers.getall("Set-Cookie", []), now_ms)
            if answer.target is None:
                return Response(
                    url=url,
                    status=answer.status,
                    headers=answer.headers,
                    body=answer.body,
                    jar=jar,
                    redirects=hop,
                    elapsed_ms=answer.elapsed_ms,
                    wire_bytes=answer.wire_bytes,
                    proxy_id=request.proxy_id,
                )
            if (answer.status == 303 and method != "HEAD") or (
                answer.status in (301, 302) and method == "POST"
            ):
                method, body = "GET", None
                for name in _BODY_HEADERS:
                    headers.popall(name, None)
            url = answer.target
        raise RefusedError(
            Reason.TOO_MANY_REDIRECTS,
            f"The site redirected more than {self._max_redirects} times.",
            status=answer.status,
            url=url,
        )

    async def _ask(
        self, route: Route, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None, *, most: int
    ) -> "_Answer":
        """Send one request and read its answer, under a span that names the host and nothing of the path."""
        with child(method) as span:
            if span is not None:
                span.set_attributes(
                    {
                        "http.request.method": method,
                        "server.address": url.raw_host or "",
                        "server.port": url.port or 0,
                        "url.scheme": url.scheme,
                    }
                )
            answer = await self._exchange(route, method, url, headers, body, most=most)
            answered(span, answer.status)
        return answer

    async def _exchange(
        self, route: Route, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None, *, most: int
    ) -> "_Answer":
        """Send one request and read its answer. Foreign errors end here."""
        started = self._clock.monotonic()
        try:
            async with await self._wire.ask(route, method, url, headers, body) as answer:
                target = _target(url, answer)
                decoded_body, wire_bytes = b"", 0
                if target is None:
                    decoded_body, wire_bytes = await self._read(answer, method, url, most)
                else:
                    await _drain(answer)
                return _Answer(
                    status=answer.status,
                    headers=readable(answer.headers),
                    target=target,
                    body=decoded_body,
                    wire_bytes=wire_bytes,
                    elapsed_ms=round((self._clock.monotonic() - started) * 1000),
                )
        except (aiohttp.ClientError, HttpProcessingError, OSError, UnicodeError, *_SOCKS_ERRORS) as error:
            # The reader of a body keeps the error that ends it, whose frames know what there is of the body.
            forget_frames(error)
            raise _failure(error, url, proxied=route.http_proxy is not None) from error

    def _judge(self, url: URL, hop: int) -> None:
        """Refuse a target by what its host spells out, by its scheme and by its port.

        The address of a name is judged when it is connected to; behind a proxy only the proxy could.
        """
        where = "A redirect was refused: " if hop else ""
        what = self._addresses.refusal_of_host(url.raw_host or "")
        if what is not None:
            sentence = f"{where}The address of {url.raw_host} is {what}, which is not connected to."
            raise RefusedError(Reason.ADDRESS_REFUSED, sentence, url=url)
        refusal = self._policy.refusal(url)
        if refusal is not None:
            raise RefusedError(refusal.reason, where + refusal.message, url=url)

    async def _read(self, answer: Answer, method: str, url: URL, most: int) -> tuple[bytes, int]:
        """Return the decoded body and its size on the wire, either at most ``most`` bytes."""
        length = answer.content_length
        if method == "HEAD" or answer.status in (204, 304):
            return b"", 0
        if length is not None and length > most:
            raise _too_large(f"The body has {length} bytes; at most {most} are fetched.", answer, url)
        chunks: list[bytes] = []
        size = 0
        large = False
        try:
            while chunk := await answer.content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > most:
                    raise _too_large(f"The body has more than {most} bytes.", answer, url)
                if size > _LARGE and not large:
                    await self._large.acquire()
                    large = True
            wire = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            coding = answer.headers.get("Content-Encoding")
            return (wire if coding is None else decoded(wire, coding, most)), size
        except BodyTooLargeError as error:
            raise _too_large(str(error), answer, url) from error
        except BodyBrokenError as error:
            raise NetworkFailedError(str(error), status=answer.status, url=url) from error
        finally:
            if large:
                self._large.release()


def _failure(error: Exception, url: URL, *, proxied: bool) -> ExchangeError:
    """Map a foreign error, once, to a sentence without secrets.

    ``proxied``: by an HTTP proxy, so that the only name we resolve is the proxy's.
    """
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        whose = "the job's proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else url.raw_host
        sentence = f"The address of {whose} is {cause.what}, which is not connected to."
        return RefusedError(Reason.ADDRESS_REFUSED, sentence, url=url)
    # A label that is empty or too long for a name ends in the resolver's own encoding.
    if isinstance(error, (aiohttp.InvalidURL, UnicodeError)):
        return RefusedError(Reason.NOT_A_URL, "This URL cannot be requested: its host is none.", url=url)
    status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    of_proxy = (
        isinstance(error, (aiohttp.ClientProxyConnectionError, ProxyConnectionError))
        or status == 407
        or (proxied and isinstance(error, aiohttp.ClientConnectorDNSError))
    )
    return NetworkFailedError(_told(error), status=status, url=url, of_proxy=of_proxy)


def _target(url: URL, answer: Answer) -> URL | None:
    """Return where a redirect leads, None where the answer is final.

    User and password of a Location are dropped: a site does not get to choose what we identify as.
    """
    if answer.status not in _REDIRECTS:
        return None
    location = answer.headers.get("Location") or answer.headers.get("URI")
    if not location:
        return None
    try:
        raw = location.encode(errors="surrogateescape")
    except UnicodeError:
        return None
    # Bytes that are not ASCII are escaped as they came, as browsers do, whatever they are in.
    target = urls.parsed(quote(raw, safe=_ASCII), url)
    if target is None:
        return None
    target = target.with_fragment(None)
    return target.with_user(None) if target.raw_user is not None else target


async def _drain(answer: Answer) -> None:
    """Read a redirect's little body, so that the connection may be used again; close it on a long one."""
    size = 0
    while chunk := await answer.content.readany():
        size += len(chunk)
        if size > _DRAINED:
            answer.close()
            return


def _too_large(sentence: str, answer: Answer, url: URL) -> RefusedError:
    answer.close()
    return RefusedError(Reason.BODY_TOO_LARGE, sentence, status=answer.status, url=url)


# The first class that fits decides. Messages of foreign errors are not used: they name URLs and hosts.
_SENTENCES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (aiohttp.ClientHttpProxyError, "The proxy refused the connection."),
    (aiohttp.ClientProxyConnectionError, "The proxy cannot be reached."),
    (_SOCKS_ERRORS, "The proxy failed or refused the connection."),
    (aiohttp.ClientConnectorDNSError, "The site's name cannot be resolved."),
    (aiohttp.ClientConnectorCertificateError, "The site's certificate is not valid."),
    ((aiohttp.ClientSSLError, ssl.SSLError), "TLS with the site failed."),
    (aiohttp.ConnectionTimeoutError, "Connecting to the site took too long."),
    ((aiohttp.ServerTimeoutError, TimeoutError), "The site fell silent."),
    (aiohttp.ClientConnectorError, "The site cannot be connected to."),
    (aiohttp.ServerDisconnectedError, "The site closed the connection without an answer."),
    (aiohttp.ClientPayloadError, "The body broke off."),
    ((HttpProcessingError, aiohttp.ClientResponseError), "The site's answer is not HTTP."),
    (OSError, "The connection was reset."),
)


def _told(error: BaseException) -> str:
    for kinds, sentence in _SENTENCES:
        if isinstance(error, kinds):
            return sentence
    return f"The request failed ({type(error).__name__})."
