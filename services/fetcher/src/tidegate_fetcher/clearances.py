"""The parameters of DataDome's challenge, which no pattern reads: an address made of several parts. Pure."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from tidegate_fetcher.evidence import Exchange, Sight, windows

_OBJECT = re.compile(r"\s{0,4}=\s{0,4}\{([^}]{1,4000})\}")
_PAIR = re.compile(r"""["']?(\w{1,20})["']?\s{0,4}:\s{0,4}(?:"([^"]{0,1000})"|'([^']{0,1000})'|(\d{1,20}))""")
_IN_JSON = re.compile(r'"(https:(?:\\?/){2}[\w.-]{1,100}\.captcha-delivery\.com\\?/[^"]{1,3000})"')
_HOST = re.compile(r"[\w-]{1,40}\.captcha-delivery\.com")
_INTERSTITIAL = "i"


def datadome(exchange: Exchange, sight: Sight | None) -> dict[str, str]:
    """Return the address of the frame as ``captcha_url``; empty where the page has not all of it.

    It stands in the body of a JSON answer and in an iframe; otherwise it is put together, as the vendor's
    script does, from the inline object ``dd`` and the cookie ``datadome``.
    """
    if sight is None:
        match = _IN_JSON.search(exchange.json)
        return {} if match is None else _url(match[1].replace("\\/", "/").replace("\\u0026", "&"))
    for source, _ in sight.frames:
        if "captcha-delivery.com/" in source:
            return _url(f"https:{source}" if source.startswith("//") else source)
    for window in (window for text in sight.scripts for window in windows(text, "dd")):
        found = _OBJECT.match(window)
        if found is not None:
            pairs = {m[1]: m[2] or m[3] or m[4] or "" for m in _PAIR.finditer(found[1])}
            return _url(_put_together(pairs, exchange))
    return {}


def _put_together(dd: Mapping[str, str], exchange: Exchange) -> str:
    cookie = dd.get("cookie") or exchange.cookies.get("datadome", "")
    needed = (dd.get("cid"), dd.get("hsh"), dd.get("s"), cookie)
    if not all(needed):
        return ""
    given = dd.get("host", "")
    host = given if _HOST.fullmatch(given) else "geo.captcha-delivery.com"
    quiet = dd.get("rt") == _INTERSTITIAL
    query = {"initialCid": dd["cid"], "hash": dd["hsh"], "cid": cookie}
    if not quiet:
        query["t"] = dd.get("t") or "fe"
    query |= {"referer": str(exchange.url), "s": dd["s"]}
    query |= {name: dd[name] for name in ("b", "e") if dd.get(name)}
    path = "interstitial" if quiet else "captcha"
    return f"https://{host}/{path}/?{urlencode(query, quote_via=quote, safe='')}&dm=cd"


def _url(text: str) -> dict[str, str]:
    """Return an address as a parameter, if it is the vendor's."""
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return {}
    return {"captcha_url": text} if _HOST.fullmatch(host) else {}
