"""Plain image captchas, which only the host's policy tells from any other picture. Pure."""

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64

import msgspec
from tidegate.captcha_records import Challenge
from yarl import URL

from tidegate_fetcher import urls
from tidegate_fetcher.markup import Document, Element
from tidegate_fetcher.selectors import Selector

# A picture of text has a few kilobytes; solving services refuse those above 600 kB or so.
MAX_IMAGE_BYTES = 600_000
_DATA = re.compile(r"data:image/[\w.+-]{1,40}(?:;[\w=-]{1,40}){0,2};base64,([A-Za-z0-9+/=\s%]{8,900000})")


class ImageRule(msgspec.Struct, frozen=True, kw_only=True):
    """Where a host shows its picture, and the name of the field that takes what it says.

    Without a field, it is the only one that a person would fill in.
    """

    selector: str
    field: str | None = None


def picture(document: Document, rule: ImageRule) -> Element | None:
    """Return the picture on a page, None where there is none that a person sees."""
    return next((node for node in Selector(rule.selector).among(document) if not node.hidden), None)


def params(node: Element, page: URL) -> dict[str, str]:
    """Return the picture itself where the page holds it, otherwise where it is; empty where it is nowhere."""
    source = (node.get("src") or node.get("data-src")).strip()
    match = _DATA.fullmatch(source)
    if match is not None:
        try:
            return {"image": b64encode(a2b_base64(match[1].replace("%2B", "+"))).decode()}
        except Base64Error:
            return {}
    address = urls.parsed(source, page) if source else None
    return {} if address is None or not urls.is_web(address) else {"image_url": str(address)}


def with_picture(challenge: Challenge, body: bytes) -> Challenge | None:
    """Return a challenge with the picture that was fetched; None where it is none, or too large."""
    if not 8 <= len(body) <= MAX_IMAGE_BYTES or body.lstrip()[:1] == b"<":
        return None
    return msgspec.structs.replace(challenge, params={**challenge.params, "image": b64encode(body).decode()})
