"""A proxy, its id, and the list that an operator writes. Pure.

The id names a proxy wherever one is named: in logs, records, page rows and alerts. It is ``host:port`` and 32
bits of a hash over scheme, user and password, which tell the users of one gateway apart and lead back to no
password. The URL is for the client alone: it is never printed, not even by ``repr``.

A list has one proxy a line: a URL, ``host:port``, or ``host:port:user:password`` as sellers hand them out;
what follows a ``#`` that begins a line or stands behind a blank is a remark.
"""

import hashlib
import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import quote, urlsplit

import msgspec

from tidegate.errors import ConfigurationError

SCHEMES = ("http", "https", "socks5", "socks5h")
_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
MAX_LIST_BYTES = 4 << 20
MAX_PROXIES = 20_000
_MAX_LINE = 2_000
# An empty label, or one of more than 63 characters, no resolver takes.
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
# Not in a user or a password of a URL as the HTTP client reads it; the last two are full-width percent signs.
_NOT_IN_AN_ACCOUNT = re.compile(r"[\\\[\]\ufe6a\uff05]")
_REMARK = re.compile(r"(?:^|\s)#.*")
_SELLERS = re.compile(r"([^\s:/@]+):(\d{1,5}):([^\s:]+):(\S+)")
_ID = re.compile(r"[^\s/@]{1,255}:\d{1,5}-[0-9a-f]{8}")


class Proxy(msgspec.Struct, frozen=True):
    """One proxy. ``url`` may hold a password: it is for the client, and for nothing that anybody reads."""

    id: str
    url: str
    host: str

    def __repr__(self) -> str:
        return f"Proxy({self.id})"


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no proxy: its number, from 1, and what is wrong; never the line itself."""

    number: int
    problem: str


class ProxyList(msgspec.Struct, frozen=True):
    """What a list holds. Of proxies that stand in it twice, the first counts."""

    proxies: tuple[Proxy, ...]
    bad: tuple[BadLine, ...] = ()


def is_id(text: str) -> bool:
    """Say whether a text has the form of a proxy's id."""
    return _ID.fullmatch(text) is not None


def proxy_of(text: str) -> Proxy:
    """Return the proxy that a URL or one of the short forms names.

    Raises ValueError with a sentence that says what is wrong and quotes nothing of it.
    """
    url = _as_url(text)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it is no URL, or its port is no number up to 65535") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"its scheme is none of {', '.join(SCHEMES)}")
    host = _host(parts.hostname or "")
    if port is None and "://" in text:
        port = _DEFAULT_PORTS[parts.scheme]
    if not port:
        raise ValueError("it names no port")
    encode = "percent-encode special characters of the user and the password"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"something follows its port; {encode}")
    if _NOT_IN_AN_ACCOUNT.search(parts.netloc.rpartition("@")[0]):
        raise ValueError(f"its user or password has a character that no URL has; {encode}")
    user, password = parts.username or "", parts.password or ""
    secret = f"{parts.scheme}\n{user}\n{password}".encode()
    mark = hashlib.blake2b(secret, digest_size=4).hexdigest()
    account = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return Proxy(id=f"{host}:{port}-{mark}", url=f"{parts.scheme}://{account}{host}:{port}", host=host)


def parse(data: bytes) -> ProxyList:
    """Read a list. Raises ConfigurationError where it is too long, no text, or has no proxy in it."""
    if len(data) > MAX_LIST_BYTES:
        raise ConfigurationError(f"the list of proxies is longer than {MAX_LIST_BYTES >> 20} MiB")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError("the list of proxies is not UTF-8 text") from None
    found: dict[str, Proxy] = {}
    bad: list[BadLine] = []
    for number, line in enumerate(lines, 1):
        text = _REMARK.sub("", line).strip()
        if not text:
            continue
        try:
            proxy = proxy_of(text)
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
            continue
        found.setdefault(proxy.id, proxy)
        if len(found) > MAX_PROXIES:
            raise ConfigurationError(f"the list names more than {MAX_PROXIES} proxies")
    if not found:
        raise ConfigurationError(f"the list names no proxy{_first(bad)}")
    return ProxyList(tuple(found.values()), tuple(bad))


def _first(bad: list[BadLine]) -> str:
    return f" (line {bad[0].number}: {bad[0].problem})" if bad else ""


def _as_url(text: str) -> str:
    if len(text) > _MAX_LINE or not text.isprintable() or " " in text:
        raise ValueError("it is too long, or has blanks or control characters in it")
    if "://" in text:
        return text
    sold = _SELLERS.fullmatch(text)
    if sold is None:
        return f"http://{text}"
    host, port, user, password = sold.groups()
    return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"


def _host(name: str) -> str:
    """Return a host as a URL writes it. Raises ValueError."""
    try:
        address = ip_address(name)
    except ValueError:
        if not _HOST.fullmatch(name):
            raise ValueError("it names no host") from None
        return name.lower()
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)
