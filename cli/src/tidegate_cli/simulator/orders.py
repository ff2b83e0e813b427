"""Read an order out of a client's fields, whichever wire format they came by."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tidegate.records import ChallengeKind

from tidegate_cli.simulator.codes import Fault
from tidegate_cli.simulator.kinds import KINDS, Kind
from tidegate_cli.simulator.solutions import USER_AGENT
from tidegate_cli.simulator.tasks import Order
from tidegate_cli.simulator.vendors import Family, Vendor

_MOST_CHARACTERS = 8_192
_MOST_IMAGE_BYTES = 500_000

# The vendors' spellings of the optional fields, in the order in which they are looked up.
_ACTION = ("action", "pageAction", "metadata.action")
_CDATA = ("cData", "cdata", "data", "turnstileCData", "metadata.cdata")
_PROXY = ("proxyAddress", "proxy")
_AGENT = ("userAgent", "metadata.userAgent")
# An image that says in a comment what it shows is read; for others a text is made up.
_SHOWN = re.compile(rb"tidegate-text:([A-Za-z0-9 ]{1,64})")


def host_of(url: str) -> str:
    """Return the host of a URL, or of a bare ``host:port``; empty where there is none."""
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def at(fields: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a dotted path, None where nothing does."""
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = at(fields, name)
        if isinstance(value, str) and value:
            return value[:_MOST_CHARACTERS]
    return ""


def kind_of(vendor: Vendor, type_name: str, fields: Mapping[str, Any]) -> ChallengeKind | None:
    """Return the kind that a type means, by the other fields where it serves several."""
    kinds = vendor.types.get(type_name, ())
    if len(kinds) < 2:
        return kinds[0] if kinds else None
    chosen = kinds[0]
    if ChallengeKind.GEETEST_V4 in kinds:
        is_new = str(fields.get("version")) == "4" or _text(
            fields, ("captchaId", "initParameters.captcha_id")
        )
        chosen = ChallengeKind.GEETEST_V4 if is_new else ChallengeKind.GEETEST_V3
    elif ChallengeKind.CLOUDFLARE_CHALLENGE in kinds:
        clears = fields.get("cloudflareTaskType") == "cf_clearance"
        chosen = ChallengeKind.CLOUDFLARE_CHALLENGE if clears else ChallengeKind.TURNSTILE
    else:
        is_v3 = fields.get("version") == "v3" or ChallengeKind.RECAPTCHA_V2 not in kinds
        is_enterprise = fields.get("isEnterprise") is True or str(fields.get("enterprise")) == "1"
        name = f"recaptcha_v{3 if is_v3 else 2}{'_enterprise' if is_enterprise else ''}"
        chosen = ChallengeKind(name)
    return chosen if chosen in kinds else None


def read_order(vendor: Vendor, type_name: Any, fields: Mapping[str, Any], *, url_name: str) -> Order | Fault:
    """Return the order, or what is wrong with it."""
    if not isinstance(type_name, str) or not type_name:
        return Fault.TASK_ABSENT
    name = kind_of(vendor, type_name, fields)
    if name is None:
        return Fault.NOT_SUPPORTED
    kind = KINDS[name]
    url = _text(fields, (url_name,))
    host = host_of(url) if url.startswith(("http://", "https://")) else ""
    if not host and kind.url_needed:
        return Fault.BAD_URL
    sitekey = _text(fields, kind.keys)
    if not sitekey and kind.key_needed:
        return Fault.BAD_SITEKEY
    missing = _missing(kind, fields)
    if missing is not None:
        return missing
    return Order(
        kind=kind,
        sitekey=sitekey,
        url=url,
        host=host,
        action=_text(fields, _ACTION),
        cdata=_text(fields, _CDATA),
        invisible=_is_invisible(vendor, fields),
        challenge=_text(fields, ("challenge",)),
        shown=_shown(fields.get("body")) if kind.name is ChallengeKind.IMAGE else "",
        # A proxy here goes out by the address that it listens on.
        address=host_of(_text(fields, _PROXY)) if kind.needs_proxy else "",
        agent=(_text(fields, _AGENT) or USER_AGENT) if kind.needs_proxy else "",
    )


def _is_invisible(vendor: Vendor, fields: Mapping[str, Any]) -> bool:
    """Whether the widget is said to be invisible, in the spelling of the vendor's family."""
    if vendor.family is Family.CREATE_TASK:
        return fields.get("isInvisible") in (True, 1)  # some clients send the number
    return fields.get("invisible") == "1"


def _missing(kind: Kind, fields: Mapping[str, Any]) -> Fault | None:
    if not all(_text(fields, tuple(names.split("|"))) for names in kind.needs):
        return Fault.BAD_REQUEST
    if kind.needs_proxy and not _text(fields, _PROXY):
        return Fault.BAD_PROXY
    if "body" in kind.needs and _image(fields.get("body")) is None:
        return Fault.BAD_REQUEST
    return None


def _image(body: Any) -> bytes | None:
    try:
        image = base64.b64decode(str(body).rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return image if 0 < len(image) <= _MOST_IMAGE_BYTES else None


def _shown(body: Any) -> str:
    found = _SHOWN.search(_image(body) or b"")
    return found[1].decode() if found else ""
