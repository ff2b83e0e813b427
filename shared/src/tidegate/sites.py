"""Which site a URL belongs to, and which partition a site's records go to.

A site is the URL's host, with the port where it is not the scheme's default. Our own records go to the
explicit partition murmur2(site) mod n, so that one fetcher normally owns a site's lanes, sessions and
solutions (delivery.md S1); correctness never rests on that.
"""

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

from tidegate.errors import RecordError
from tidegate.outcome import Reason

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_URL_CHARACTERS = 8192
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f]")
# What most URLs look like: such a one need not be taken apart to know where its authority ends.
_PLAIN = re.compile(r"(https?)://([a-z0-9.-]+(?::[0-9]+)?)(?:[/?#][!-~]*)?")
# In the place of what is not told.
REMOVED = "[removed]"
_REMEMBERED = 8192  # sites that are met again and again: a look-up is cheaper than parsing or hashing


def parse_url(url: str) -> SplitResult:
    """Split a URL that may be fetched. Raises RecordError: not a URL, or not http(s)."""
    if len(url) > _MAX_URL_CHARACTERS:
        raise RecordError(
            Reason.NOT_A_URL, f"The URL has {len(url)} characters; at most {_MAX_URL_CHARACTERS}."
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        # Its text may quote user and password, which this sentence is stored without.
        raise RecordError(Reason.NOT_A_URL, "This is not a URL: its host cannot be read.") from error
    if not parts.scheme:
        raise RecordError(Reason.NOT_A_URL, "This is not a URL: it has no scheme such as https://.")
    if parts.scheme not in _DEFAULT_PORTS:
        raise RecordError(
            Reason.SCHEME_NOT_ALLOWED,
            f"URLs with the scheme {parts.scheme[:32]!r} are not fetched, only http and https.",
        )
    if _NOT_IN_A_URL.search(url):
        raise RecordError(Reason.NOT_A_URL, "This is not a URL: it names no host that could exist.")
    _site(parts.scheme, parts.netloc)
    return parts


def site_of(url: str) -> str:
    """Return the site of a URL. Raises RecordError where it is no URL that may be fetched."""
    site = plain_site_of(url)
    if site is not None:
        return site
    parts = parse_url(url)
    return _site(parts.scheme, parts.netloc)


def plain_site_of(url: str) -> str | None:
    """Return the site of a URL of the usual form, which every parser takes; None where it has another.

    Raises RecordError where it is no URL that may be fetched.
    """
    plain = _PLAIN.fullmatch(url) if len(url) <= _MAX_URL_CHARACTERS else None
    return None if plain is None else _site(plain[1], plain[2])


@lru_cache(maxsize=_REMEMBERED)
def _site(scheme: str, netloc: str) -> str:
    """Return the site of an authority. Remembered, because URLs come in thousands of one host."""
    parts = SplitResult(scheme, netloc, "", "", "")
    try:
        port = parts.port
    except ValueError as error:
        # A password with a slash in it reads like a port, so the port is not quoted.
        sentence = "This is not a URL: its port is no number between 1 and 65535."
        raise RecordError(Reason.NOT_A_URL, sentence) from error
    name = (parts.hostname or "").rstrip(".")
    if not name or port == 0:
        raise RecordError(Reason.NOT_A_URL, "This is not a URL: it names no host that could exist.")
    host = _host(name)
    return host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"


def _host(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return host.encode("idna").decode() if not host.isascii() else host
        except UnicodeError as error:
            raise RecordError(
                Reason.NOT_A_URL, "This is not a URL: its host name cannot be encoded."
            ) from error
    return f"[{address}]" if address.version == 6 else str(address)


def without_credentials(url: str) -> str:
    """Return the URL without user, password and fragment: the form that may be stored (O7)."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def without_values(url: str) -> str:
    """Return the URL with the names of its query's parameters and none of their values: no token is left.

    A parameter without a name is a value. What is no URL at all comes back empty.
    """
    try:
        parts = urlsplit(without_credentials(url))
    except ValueError:
        return ""
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    told = "&".join(f"{name}={REMOVED}" if equals else REMOVED for name, equals, _ in pairs)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, told, ""))


@lru_cache(maxsize=_REMEMBERED)
def partition_of(key: bytes, partitions: int) -> int:
    """Return Kafka's murmur2 partition of a key: what the Java client and aiokafka compute."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    length = len(data)
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & 0xFFFFFFFF
        k ^= k >> 24
        k = (k * m) & 0xFFFFFFFF
        h = ((h * m) & 0xFFFFFFFF) ^ k
    rest = data[whole:]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = (h * m) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * m) & 0xFFFFFFFF
    return h ^ (h >> 15)
