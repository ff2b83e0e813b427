"""Connections whose address was judged: the connector, and one more per SOCKS proxy.

The socket factory sees the final address of every connect, redirects and IP literals included, after the
name was resolved: there is no window in which a name could be bound to another address.
"""

import asyncio
import errno
import socket
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from aiohttp.abc import AbstractCookieJar
from aiohttp_socks import ProxyConnector, ProxyType
from tidegate.outcome import Reason
from yarl import URL

from tidegate_fetcher.addresses import AddressRules
from tidegate_fetcher.exchange import NetworkFailedError, RefusedError

_REFUSED = "address refused"
_SOCKS_PORT = 1080
AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class AddressRefusedError(OSError):
    """A connect to an address that the rules refuse. All of them read alike.

    That is on purpose: where every address of a name is refused, the happy-eyeballs code hands out the
    first of several equal errors, and this class survives; where only some are, the others are tried.
    """

    def __init__(self, what: str) -> None:
        super().__init__(errno.EACCES, _REFUSED)
        self.what = what


class Route(msgspec.Struct, frozen=True):
    """How a request goes out. ``credentials`` is the value of Proxy-Authorization: never printed."""

    session: aiohttp.ClientSession
    http_proxy: URL | None = None
    credentials: str | None = None


class _Socks(msgspec.Struct):
    session: aiohttp.ClientSession
    users: int = 0


class Connections:
    """HTTP sessions: one for direct and HTTP-proxied requests, one for each SOCKS proxy, few kept.

    Enter it inside a running loop. ``limit`` is connections at once over all sites; 0 means no bound but
    the window's. Timeouts in seconds. ``trusted`` says whether a proxy is the operator's own, which may be at
    any address; a job's is judged like a page's.
    """

    def __init__(
        self,
        rules: AddressRules,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        proxies_kept: int,
        limit: int = 0,
        trusted: Callable[[str], bool] = lambda _proxy: False,
    ) -> None:
        self._rules = rules
        self._trusted = trusted
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=connect_timeout_s,
            connect=connect_timeout_s * 2,
            sock_read=read_timeout_s,
        )
        self._connect_timeout_s = connect_timeout_s
        self._proxies_kept = proxies_kept
        self._limit = limit
        self._direct: Route | None = None
        self._operators: aiohttp.ClientSession | None = None
        self._socks: OrderedDict[str, _Socks] = OrderedDict()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._limit, ttl_dns_cache=30, socket_factory=self._open)
        self._direct = Route(self._session(connector))
        # Nothing goes out through this one but by an HTTP proxy that the operator listed.
        self._operators = self._session(aiohttp.TCPConnector(limit=self._limit, ttl_dns_cache=30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sessions = [kept.session for kept in self._socks.values()]
        self._socks.clear()
        if self._direct is not None:
            sessions.append(self._direct.session)
        if self._operators is not None:
            sessions.append(self._operators)
        for session in sessions:
            await session.close()

    async def take(self, proxy: str | None) -> Route:
        """Return the way out for a proxy, None for none; give it back with ``give_back``.

        Raises RefusedError where the proxy's address is refused, NetworkFailedError where it has none.
        """
        assert self._direct is not None, "Connections were not entered"
        if proxy is None:
            return self._direct
        assert self._operators is not None
        url = URL(proxy)
        trusted = self._trusted(proxy)
        if url.scheme in ("http", "https"):
            # A job's own: its connect goes through our socket factory like any other.
            session = self._operators if trusted else self._direct.session
            credentials = (
                None if url.user is None else aiohttp.encode_basic_auth(url.user, url.password or "")
            )
            return Route(session, url.with_user(None), credentials)
        kept = self._socks.get(proxy)
        if kept is None:
            address = await self._socks_address(url, trusted=trusted)
            # Another request may have opened it meanwhile; a second session would never be closed.
            kept = self._socks.get(proxy)
            if kept is None:
                kept = self._socks[proxy] = _Socks(self._session(self._socks_connector(url, address)))
        self._socks.move_to_end(proxy)
        kept.users += 1
        return Route(kept.session)

    async def give_back(self, proxy: str | None, *, failed: bool) -> None:
        """End the use of a way out. One that failed is resolved anew when nobody uses it any more."""
        kept = self._socks.get(proxy) if proxy is not None else None
        if proxy is None or kept is None:
            return
        kept.users -= 1
        if failed and not kept.users:
            del self._socks[proxy]
            await kept.session.close()
        surplus = len(self._socks) - self._proxies_kept
        idle = [name for name, other in self._socks.items() if not other.users][: max(0, surplus)]
        for name in idle:
            await self._socks.pop(name).session.close()

    def _open(self, info: AddrInfo) -> socket.socket:
        """Open the socket for a connect, or refuse the address."""
        what = self._rules.refusal(str(info[4][0]))
        if what is not None:
            raise AddressRefusedError(what)
        return socket.socket(info[0], info[1], info[2])

    def _session(self, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
        jar: AbstractCookieJar = aiohttp.DummyCookieJar()  # cookies are the identity's
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=jar,
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,
            # Content-Security-Policy and Set-Cookie often outgrow the default of 8 KiB.
            max_line_size=16_384,
            max_field_size=32_768,
        )

    async def _socks_address(self, url: URL, *, trusted: bool) -> str:
        """Return an address of the proxy that the rules admit; any of a trusted one."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                found = await loop.getaddrinfo(url.host, url.port or _SOCKS_PORT, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise NetworkFailedError("The name of the proxy cannot be resolved.", of_proxy=True) from error
        if trusted:
            return str(found[0][4][0])
        refusals = [self._rules.refusal(str(info[4][0])) for info in found]
        usable = [str(info[4][0]) for info, refusal in zip(found, refusals, strict=True) if refusal is None]
        if not usable:
            sentence = f"The job's proxy is refused: its address is {refusals[0]}."
            raise RefusedError(Reason.ADDRESS_REFUSED, sentence)
        return usable[0]

    def _socks_connector(self, url: URL, address: str) -> ProxyConnector:
        """Return a connector bound to the judged address of the proxy, so that its name cannot move.

        Names of pages are resolved by the proxy.
        """
        return ProxyConnector(
            host=address,
            port=url.port or _SOCKS_PORT,
            proxy_type=ProxyType.SOCKS5,
            username=url.user,
            password=url.password,
            rdns=True,
            limit=self._limit,
        )
