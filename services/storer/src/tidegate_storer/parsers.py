"""The default parser, and where parsers are found. Pure but for the look-up of installed ones.

A parser is a function in the entry point group ``tidegate.parsers``: it takes the body and what is known
of the page, and returns fields that JSON can hold. It runs in a worker process with limits
(``parser_worker``), so it may be slow, wrong or dead without harm to anything but its own page. Fields
named ``title``, ``text_length``, ``link_count``, ``links``, ``canonical`` and ``language`` get columns.
"""

import codecs
import re
from contextlib import suppress
from importlib.metadata import entry_points
from urllib.parse import urljoin, urlsplit

import msgspec
from selectolax.lexbor import LexborHTMLParser

from tidegate_storer.nesting import flattened
from tidegate_storer.parsed import MAX_LINKS

GROUP = "tidegate.parsers"
DEFAULT = "default"

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_META_CHARSET = re.compile(rb"<meta[^>]{0,256}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_INVISIBLE = "script, style, noscript, template"
_NO_LINK = ("javascript:", "mailto:", "tel:", "data:")
_SNIFFED_BYTES = 1024
_MAX_TITLE_CHARACTERS = 4_096
_MAX_URL_CHARACTERS = 8_192


class PageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a parser is told of a page. ``url`` is the one after redirects; ``content_type`` as served."""

    url: str
    status: int = 200
    content_type: str = ""
    charset: str | None = None
    headers: dict[str, str] = {}


def installed() -> dict[str, str]:
    """Return the installed parsers: name to ``module:function``, not yet imported."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def parse_html(body: bytes, page: PageInfo) -> dict[str, object]:
    """Return title, text length, links, canonical URL and language of an HTML page; {} of anything else."""
    media_type = page.content_type.partition(";")[0].strip().lower()
    if media_type not in _HTML and not (not media_type and body.lstrip()[:1] == b"<"):
        return {}
    tree = LexborHTMLParser(flattened(_utf8(body, page.charset)))
    root = tree.root
    if root is None:
        return {}
    base = _base(tree, page.url)
    node = tree.css_first("title")
    title = "" if node is None else " ".join(node.text().split())[:_MAX_TITLE_CHARACTERS]
    canonical = _canonical(tree, base)
    language = root.attributes.get("lang") or root.attributes.get("xml:lang") or ""
    links, count = _links(tree, base)
    for invisible in tree.css(_INVISIBLE):
        invisible.decompose()
    text = "" if tree.body is None else tree.body.text(separator=" ", strip=True, skip_empty=True)
    return {
        "title": title,
        "text_length": len(text),
        "link_count": count,
        "links": links,
        "canonical": canonical,
        "language": language.strip()[:64],
    }


def _utf8(body: bytes, charset: str | None) -> bytes:
    """Return the body in UTF-8: by its byte order mark, else as served, else as its ``meta`` says."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :] if name == "utf-8" else body.decode(name, "replace").encode()
    if charset is None and (match := _META_CHARSET.search(body, 0, _SNIFFED_BYTES)):
        charset = match[1].decode()
    try:
        name = codecs.lookup(charset or "utf-8").name
        if name in {"utf-8", "ascii"}:
            return body
        # Browsers read these two as windows-1252; the byte-for-byte readings would lose quotes and dashes.
        return body.decode("cp1252" if name == "iso8859-1" else name, "replace").encode()
    except (LookupError, ValueError):
        return body


def _base(tree: LexborHTMLParser, url: str) -> "_Base":
    for node in tree.tags("base"):
        href = node.attributes.get("href")
        if href is not None:
            # An address that is no address, such as one that was cut at its greatest length, is none.
            with suppress(ValueError):
                return _Base(_join(url, href) or url)
            break
    return _Base(url)


def _canonical(tree: LexborHTMLParser, base: "_Base") -> str:
    node = tree.css_first('link[rel="canonical" i][href]')
    return "" if node is None else _join(base.url, node.attributes.get("href") or "")


def _links(tree: LexborHTMLParser, base: "_Base") -> tuple[list[str], int]:
    """Return the first links, absolute, without fragments and repetitions, and how many there are."""
    hrefs = [href for node in tree.css("a[href]") if (href := (node.attrs["href"] or "").strip())]
    # Those from the root are the commonest by far, and asking of all at once costs little more than of one.
    rooted = " ".join([href for href in hrefs if href[0] == "/"])
    all_plain = _is_plain(rooted) and "? " not in rooted and "?#" not in rooted
    seen: dict[str, None] = {}
    count = 0
    for href in hrefs:
        is_rooted = href[0] == "/"
        if not is_rooted and (href[0] == "#" or href.lower().startswith(_NO_LINK)):
            continue
        count += 1
        if len(seen) >= MAX_LINKS:
            continue
        target = href.partition("#")[0]
        link = base.origin + target if is_rooted and all_plain else base.join(target)
        if link and len(link) <= _MAX_URL_CHARACTERS:
            seen[link] = None
    return list(seen), count


class _Base:
    """What a page's links are relative to. Raises ValueError for what is no address."""

    __slots__ = ("_folder", "origin", "url")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._folder = self.origin + parts.path.rpartition("/")[0] + "/"

    def join(self, href: str) -> str:
        """Return a link, which has no fragment, made absolute; "" where it cannot be joined."""
        if href.startswith("/"):
            if _is_plain(href):
                return self.origin + href
        elif href.startswith(("http://", "https://")):
            return href
        elif href and ":" not in href and href[0] not in ".?" and _is_plain(href):
            return self._folder + href
        return _join(self.url, href)


def _is_plain(href: str) -> bool:
    """Say whether a link is joined by putting the page's origin, or its folder, before it.

    The general algorithm says the same of it, for ten times the time.
    """
    return (
        "//" not in href
        and "/." not in href
        and ";" not in href
        and not href.endswith("?")
        and href.isascii()
        and href.isprintable()
    )


def _join(base: str, href: str) -> str:
    try:
        return urljoin(base, href.strip())[:_MAX_URL_CHARACTERS]
    except ValueError:
        return ""
