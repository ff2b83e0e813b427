"""A job's own proxy: HTTP and SOCKS, its credentials never printed, its address judged."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

from aiohttp import web
from support.fetcher import fetcher, job, page_of, routed, run, site
from tidegate.events import Event
from tidegate.outcome import Dead, ErrorClass, Reason, Retry

PAGE = web.Response(text="here")


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until they end."""
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


class Socks:
    """A SOCKS5 proxy that wants a user and a password; ``asked`` is where it was asked to connect to."""

    def __init__(self, target: str) -> None:
        self._target = target.removeprefix("http://")
        self.asked: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; every name leads to the target."""
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x02")
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        if (user, password) != (b"ann", b"s3cret"):
            writer.write(b"\x01\x01")
            writer.close()
            return
        writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 1:
            name = str(IPv4Address(await reader.readexactly(4)))
        else:
            name = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{name}:{port}")
        host, _, target_port = self._target.partition(":")
        onward, back = await asyncio.open_connection(host, int(target_port))
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, back))
            group.create_task(pump(onward, writer))


@asynccontextmanager
async def socks(target: str) -> AsyncIterator[tuple[Socks, int]]:
    """Serve a SOCKS proxy."""
    proxy = Socks(target)
    server = await asyncio.start_server(proxy.talk, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]


async def test_a_job_goes_through_its_http_proxy() -> None:
    """The proxy is asked for the whole URL, with its credentials; the site never sees those."""
    seen: list[tuple[str, str | None]] = []

    async def proxy(request: web.Request) -> web.Response:
        seen.append((str(request.url), request.headers.get("Proxy-Authorization")))
        return web.Response(text="through")

    events: list[Event] = []
    async with site(proxy) as base, fetcher(events=events) as service:
        value = job("http://pages.example/x?a=1", proxy=base.replace("//", "//ann:s3cret@"))
        page = page_of(await run(service, value))
    assert page.body == b"through"
    assert seen == [("http://pages.example/x?a=1", "Basic " + b64encode(b"ann:s3cret").decode())]
    assert "s3cret" not in str(events) + str(page.meta)


async def test_a_job_goes_through_its_socks_proxy() -> None:
    """Names are resolved by the proxy; the connections of a proxy are kept and used again."""
    async with site(routed({"/x": PAGE})) as base, socks(base) as (proxy, port), fetcher() as service:
        address = f"socks5://ann:s3cret@127.0.0.1:{port}"
        for _ in range(3):
            page = page_of(await run(service, job("http://pages.example/x", proxy=address)))
            assert page.body == b"here"
    assert proxy.asked == ["pages.example:80"]


async def test_a_proxy_that_fails_is_a_network_failure_without_its_credentials() -> None:
    """Wrong passwords, dead proxies and 407 are retried; no sentence names the proxy."""
    async with site(routed({})) as base, socks(base) as (_, port), fetcher() as service:

        async def denied(_request: web.Request) -> web.Response:
            return web.Response(status=407)

        async with site(denied) as strict:
            for proxy in (
                f"socks5://ann:wrong@127.0.0.1:{port}",
                "socks5://ann:s3cret@127.0.0.1:1",
                "http://ann:s3cret@127.0.0.1:1",
                "http://ann:s3cret@no-such-proxy.invalid:3128",
                "socks5://ann:s3cret@no-such-proxy.invalid:1080",
                strict,
            ):
                outcome = await run(service, job("http://pages.example/", proxy=proxy))
                assert isinstance(outcome, Retry), proxy
                assert outcome.error_class is ErrorClass.NETWORK
                assert "s3cret" not in str(outcome)
                assert "127.0.0.1" not in outcome.message


async def test_a_tunnel_that_is_refused_is_a_network_failure() -> None:
    """CONNECT answered with 407."""

    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(deny, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, fetcher() as service:
        outcome = await run(service, job("https://pages.example/", proxy=f"http://127.0.0.1:{port}"))
    assert isinstance(outcome, Retry)
    assert (outcome.error_class, outcome.last_status) == (ErrorClass.NETWORK, 407)


async def test_a_proxy_at_a_private_address_is_refused() -> None:
    """A job cannot name a proxy to reach where we are not let in."""
    async with fetcher(allow_private=False) as service:
        for proxy in (
            "http://127.0.0.1:3128",
            "http://169.254.169.254:80",
            "socks5://10.0.0.1:1080",
            "socks5://localhost:1080",
            "https://[::1]:443",
        ):
            outcome = await run(service, job("http://93.184.216.34/", proxy=proxy))
            assert isinstance(outcome, Dead), proxy
            assert outcome.reason is Reason.ADDRESS_REFUSED
            assert "proxy" in outcome.message


async def test_a_proxy_is_not_asked_for_private_addresses() -> None:
    """What a URL's host spells out is judged although the proxy would connect to it."""
    asked: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        if request.host == "moves.example":
            return web.Response(status=302, headers={"Location": "http://0xa9fea9fe/latest"})
        return web.Response(text="inside")

    async with site(proxy) as base, fetcher() as service:
        for url in ("http://169.254.169.254/latest", "http://moves.example/"):
            outcome = await run(service, job(url, proxy=base))
            assert isinstance(outcome, Dead)
            assert outcome.reason is Reason.ADDRESS_REFUSED
    assert asked == ["http://moves.example/"]


async def test_few_socks_proxies_are_kept() -> None:
    """Connections of proxies are bounded: the least used go first."""
    async with (
        site(routed({"/": PAGE})) as base,
        socks(base) as (_, port),
        fetcher(proxies_kept=2) as service,
    ):
        for number in range(6):
            proxy = f"socks5://ann:s3cret@127.0.0.{number + 1}:{port}"
            outcome = await run(service, job("http://pages.example/", proxy=proxy))
            assert not isinstance(outcome, Dead)
        assert len(service._looker.client._connections._socks) <= 2
