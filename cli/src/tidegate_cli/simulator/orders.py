"""Read an order out of a client's fields, whichever wire format they came by."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tidegate_cli.simulator.kinds import KINDS
from tidegate_cli.simulator.tasks import Order
from tidegate_cli.simulator.vendors import Fault, Vendor

_MOST_CHARACTERS = 8_192

# The vendors' spellings of the optional fields, in the order in which they are looked up.
_ACTION = ("action", "pageAction")
_CDATA = ("cData", "cdata", "data", "turnstileCData")


def host_of(url: str) -> str:
    """Return the host of a URL, or of a bare ``host:port``; empty where there is none."""
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def _text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value[:_MOST_CHARACTERS]
    return ""


def read_order(
    vendor: Vendor,
    type_name: Any,
    fields: Mapping[str, Any],
    *,
    url_name: str,
    sitekey_names: tuple[str, ...],
) -> Order | Fault:
    """Return the order, or what is wrong with it. ``fields`` may hold a nested ``metadata`` (CapSolver)."""
    if not isinstance(type_name, str) or not type_name:
        return Fault.TASK_ABSENT
    kind = vendor.types.get(type_name)
    if kind is None:
        return Fault.NOT_SUPPORTED
    url = _text(fields, (url_name,))
    host = host_of(url) if url.startswith(("http://", "https://")) else ""
    if not host:
        return Fault.BAD_URL
    sitekey = _text(fields, sitekey_names)
    if not sitekey:
        return Fault.BAD_SITEKEY
    metadata = fields.get("metadata")
    optional = metadata if isinstance(metadata, dict) else fields
    return Order(
        kind=KINDS[kind],
        sitekey=sitekey,
        url=url,
        host=host,
        action=_text(optional, _ACTION),
        cdata=_text(optional, _CDATA),
    )
