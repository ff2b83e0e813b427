"""Where other systems are, as settings say it: checked, and as their clients want it. Pure.

Why so: what a client cannot read ends in its own words, or it asks localhost in its place.
"""

import re
from typing import TypedDict
from urllib.parse import urlsplit

# A name, an IPv4 address, or an IPv6 address in brackets; without a port it is Kafka's own, 9092.
_BROKER = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65_535


class ClickHouseAddress(TypedDict):
    """Where the server is, as the client wants it."""

    interface: str
    host: str
    port: int


def clickhouse_address(url: str) -> ClickHouseAddress:
    """Return interface, host and port of a server's URL. Raises ValueError.

    The client is never given the URL: it takes no notice of the scheme and speaks TLS to the ports 443 and
    8443 only.
    """
    wrong = "must be http://host:port or https://host:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(wrong) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(wrong)
    default = 8443 if parts.scheme == "https" else 8123
    return ClickHouseAddress(interface=parts.scheme, host=parts.hostname, port=port or default)


def brokers(bootstrap: str) -> str:
    """Return a list of brokers without its empty places, which the client takes for localhost.

    Raises ValueError for what is no list of brokers.
    """
    listed = [broker.strip() for broker in bootstrap.split(",") if broker.strip()]
    if not listed or not all(map(_is_broker, listed)):
        raise ValueError("must be host:port, comma-separated, with an IPv6 address in brackets")
    return ",".join(listed)


def _is_broker(text: str) -> bool:
    found = _BROKER.fullmatch(text)
    return found is not None and 0 < int(found["port"] or 9092) <= _MAX_PORT
