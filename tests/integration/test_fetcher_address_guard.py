"""Addresses that must never be connected to, in every spelling and by every way there: more than 200 cases.

What is watched is the connect itself: resolver and connect are replaced, so that each address a socket is
opened for is seen, and a public one leads to a little server that redirects.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from aiohttp import web
from support.fetcher import fetcher, job, run, site
from tidegate.outcome import Dead, Outcome, Reason, Retry

PUBLIC = "93.184.216.34"
V4 = (
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "100.100.100.200",
)
MORE_V4 = ("198.18.0.1", "192.0.2.1", "203.0.113.7", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.8")
V6 = (
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "100::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
)


def spellings(text: str) -> Iterator[str]:
    """Yield the ways in which resolvers and browsers let an IPv4 address be written."""
    address = int(IPv4Address(text))
    a, b, c, d = address.to_bytes(4)
    yield text
    yield f"{text}."
    yield str(address)
    yield hex(address)
    yield f"0X{address:08X}"
    yield f"0{address:o}"
    yield f"{a}.{address & 0xFFFFFF}"
    yield f"{a}.{b}.{address & 0xFFFF}"
    yield f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:#x}.{b}.0{c:o}.{d}"


def disguises(text: str) -> Iterator[str]:
    """Yield the IPv6 addresses that carry an IPv4 one."""
    address = int(IPv4Address(text))
    a, b = address >> 16, address & 0xFFFF
    yield f"::ffff:{text}"
    yield f"::ffff:{a:x}:{b:x}"
    yield f"0:0:0:0:0:ffff:{a:x}:{b:x}"
    yield f"64:ff9b::{text}"
    yield f"64:ff9b:1::{a:x}:{b:x}"
    yield f"2002:{a:x}:{b:x}::1"
    yield f"2001:0:{a:x}:{b:x}::1"
    yield f"::{a:x}:{b:x}"


SPELT = [spelling for text in V4 for spelling in spellings(text)]
BRACKETED = [f"[{text}]" for address in V4 for text in disguises(address)] + [f"[{text}]" for text in V6]
LITERALS = [*SPELT, *MORE_V4, *BRACKETED]
RESOLVED = [*V4, *MORE_V4, *(text.partition("%")[0] for text in V6), *disguises("127.0.0.1")]
NAMES = ["localhost", "LOCALHOST", "localhost.", "a.localhost", "x.y.localhost."]
REDIRECTED = [
    *list(spellings("169.254.169.254")),
    *BRACKETED[:8],
    "localhost",
    *(f"[{text}]" for text in V6[:3]),
]


class Net:
    """A resolver whose answers are given, and every connect that was tried."""

    def __init__(self, server: str) -> None:
        self._server = int(server.rpartition(":")[2])
        self.names: dict[str, list[list[str]]] = {}
        self.connects: list[str] = []

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        """Answer with the name's next addresses; the last ones stay."""
        try:
            found = [str(ip_address(host.partition("%")[0]))]
        except ValueError:
            answers = self.names.get(host.rstrip("."))
            if not answers:
                raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in text else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                _place(text, port),
            )
            for text in found
        ]

    async def sock_connect(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Connect to the little server where the address is the public one."""
        self.connects.append(str(address[0]))
        if address[0] != PUBLIC:
            raise ConnectionRefusedError
        loop = asyncio.get_running_loop()
        await type(loop).sock_connect(loop, sock, ("127.0.0.1", self._server))


def _place(text: str, port: int) -> tuple[Any, ...]:
    return (text, port, 0, 0) if ":" in text else (text, port)


@contextmanager
def net(server: str, patch: pytest.MonkeyPatch) -> Iterator[Net]:
    """Replace what the running loop resolves and connects by."""
    faked, loop = Net(server), asyncio.get_running_loop()
    with patch.context() as patched:
        patched.setattr(loop, "getaddrinfo", faked.getaddrinfo, raising=False)
        patched.setattr(loop, "sock_connect", faked.sock_connect, raising=False)
        yield faked


async def redirect(request: web.Request) -> web.Response:
    """Redirect to the host that the query names."""
    to = request.query.get("to")
    headers = {"Location": f"http://{to}/", "Connection": "close"}
    return web.Response(status=302, headers=headers) if to else web.Response(text="in")


def is_refused(outcome: Outcome) -> bool:
    """Say whether a job ended because of where it leads, and not by a failed connect."""
    return isinstance(outcome, Dead) and outcome.reason in (Reason.ADDRESS_REFUSED, Reason.NOT_A_URL)


def test_there_are_two_hundred_cases() -> None:
    """Counted, so that none gets lost."""
    assert len(set(LITERALS)) + len(RESOLVED) + len(NAMES) + len(REDIRECTED) >= 200


async def test_no_address_that_is_spelt_out_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """IP literals in every notation, mapped, translated and tunnelled ones, and this machine's names."""
    async with site(redirect) as server, fetcher(allow_private=False) as service:
        with net(server, monkeypatch) as faked:
            for host in (*LITERALS, *NAMES):
                try:
                    outcome = await run(service, job(f"http://{host}/"))
                except Exception as error:  # noqa: BLE001 -- a record that is no URL is refused at decoding
                    assert type(error).__name__ == "RecordError", host  # noqa: PT017 -- not the point here
                    continue
                assert is_refused(outcome), (host, outcome)
    assert faked.connects == []


async def test_no_name_leads_to_an_address_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it resolves to, alone or behind a public address that does not answer."""
    async with site(redirect) as server, fetcher(allow_private=False) as service:
        with net(server, monkeypatch) as faked:
            for number, address in enumerate(RESOLVED):
                name = f"n{number}.example"
                faked.names[name] = [[address]]
                outcome = await run(service, job(f"http://{name}/"))
                assert is_refused(outcome), (address, outcome)
                faked.names[f"two-{name}"] = [["8.8.8.8", address]]
                outcome = await run(service, job(f"http://two-{name}/"))
                assert is_refused(outcome) or isinstance(outcome, Retry), (address, outcome)
    assert set(faked.connects) == {"8.8.8.8"}


async def test_no_redirect_leads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a public site, by a literal or a name."""
    async with site(redirect) as server, fetcher(allow_private=False) as service:
        with net(server, monkeypatch) as faked:
            faked.names["moves.example"] = [[PUBLIC]]
            faked.names["inside.example"] = [["10.0.0.1"]]
            for host in (*REDIRECTED, "inside.example"):
                outcome = await run(service, job(f"http://moves.example/?to={host}"))
                assert is_refused(outcome), (host, outcome)
    assert set(faked.connects) == {PUBLIC}


async def test_a_name_that_is_bound_anew_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public at the first look-up, private at the next: the connect is judged, not the look-up."""
    async with site(redirect) as server, fetcher(allow_private=False) as service:
        route = await service._looker.client._connections.take(None)
        monkeypatch.setattr(route.session.connector, "_use_dns_cache", False)
        with net(server, monkeypatch) as faked:
            for number, address in enumerate((*V4, "::1", "fd00::1", "::ffff:10.0.0.1")):
                name = f"r{number}.example"
                faked.names[name] = [[PUBLIC], [address]]
                outcome = await run(service, job(f"http://{name}/?to={name}"))
                assert is_refused(outcome), (address, outcome)
    assert set(faked.connects) == {PUBLIC}
