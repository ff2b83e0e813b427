"""Which addresses may be connected to. Pure.

Judged is the final address of every connect, so names, redirects, IP literals in any notation and
rebinding all end here. Refused is whatever is not a public unicast address, and every form that
smuggles an IPv4 address inside an IPv6 one.
"""

import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

_ENDS_OF_NUMBERS = frozenset("0123456789abcdefxABCDEFX")
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# Never, whatever is configured: nobody serves pages there, and 169.254/16 is where clouds keep credentials.
_NEVER: tuple[tuple[str, tuple[Network, ...]], ...] = (
    ("link-local, where cloud metadata lives", _networks("169.254.0.0/16", "fe80::/10", "fec0::/10")),
    # AWS's metadata and resolver addresses in the unique-local range, which allow_private would admit.
    # Azure's 168.63.129.16 is a public address, behind which its virtual machines find their host.
    (
        "a cloud's metadata address",
        _networks("fd00:ec2::/32", "100.100.100.200/32", "fd20:ce::254/128", "168.63.129.16/32"),
    ),
    ("multicast or broadcast", _networks("224.0.0.0/4", "ff00::/8", "255.255.255.255/32")),
    ("reserved", _networks("0.0.0.0/8", "240.0.0.0/4", "192.0.0.0/24", "::/128")),
    (
        "an IPv4 address inside an IPv6 one",
        _networks("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    ),
)
# What allow_private admits.
_PRIVATE: tuple[tuple[str, tuple[Network, ...]], ...] = (
    ("loopback", _networks("127.0.0.0/8", "::1/128")),
    (
        "private",
        _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    ),
    ("kept for tests and documents", _networks("198.18.0.0/15", "3fff::/20")),
)
_PUBLIC_IPV6 = _networks("2000::/3")  # the only part of the space that is given out as unicast


class AddressRules:
    """Judges addresses. ``denied`` are networks that this installation never connects to."""

    def __init__(self, *, allow_private: bool = False, denied: Iterable[str] = ()) -> None:
        self._allow_private = allow_private
        self._denied = tuple(ip_network(text) for text in denied)
        # A crawl connects to few addresses many times; a kept verdict costs a dictionary look-up.
        self.refusal = lru_cache(maxsize=4096)(self._judge)
        self.refusal_of_host = lru_cache(maxsize=4096)(self._judge_host)

    def _judge(self, text: str) -> str | None:
        """Return why the address ``text`` is refused, in words that end a sentence; None admits it."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return "not an IP address"
        if _within(address, self._denied):
            return "in a network that this installation denies"
        for what, networks in _NEVER:
            if _within(address, networks):
                return what
        for what, networks in _PRIVATE:
            if _within(address, networks):
                return None if self._allow_private else what
        public = address.is_global and (address.version == 4 or _within(address, _PUBLIC_IPV6))
        return None if public else "not a public address"

    def _judge_host(self, host: str) -> str | None:
        """Judge a host before it is resolved: addresses and names of this machine; None admits it.

        What other names resolve to is judged at the connect, or by the proxy that resolves them.
        """
        if self._allow_private and host.rstrip(".").lower() == "localhost":
            return None
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return "loopback"
        address = literal(name)
        return None if address is None else self.refusal(str(address))


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def canonical(url: URL) -> URL:
    """Return the URL with its IPv4 address written out, as browsers do: ``http://127.1`` is 127.0.0.1."""
    host = url.raw_host or ""
    if host[-1:] not in _ENDS_OF_NUMBERS or (host.replace(".", "").isdigit() and host.count(".") == 3):
        return url
    address = literal(host)
    return url if address is None or address.version == 6 else url.with_host(str(address))


def literal(host: str) -> Address | None:
    """Return the address that a host spells out, None for a name.

    Understands what resolvers do: ``127.1``, ``0x7f000001``, ``017700000001``, ``2130706433``.
    """
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    if host[-1:].lower() not in _ENDS_OF_NUMBERS:
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError, UnicodeError):
        return None
