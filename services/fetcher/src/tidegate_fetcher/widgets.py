"""Finds the widgets on a parsed page, by the signature table. Pure.

A widget is an element of the vendor's class with a sitekey, the vendor's iframe, or an inline script that
renders one. A sitekey alone, in a configuration or a comment, is none.
"""

import re
from collections.abc import Iterator

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode
from tidegate.records import ChallengeKind

from tidegate_fetcher import forms
from tidegate_fetcher.signatures import Signature, Widget

_SITEKEY = re.compile(r"""sitekey['"]?\s*:\s*['"]([\w.\-]{4,200})['"]""")
_CONTAINER = re.compile(r"""\(\s*['"]#?([\w\-]{1,100})['"]""")
_OPTION = re.compile(r"""['"]?(action|cData|size)['"]?\s*:\s*['"]([^'"]{1,256})['"]""")
_KEY = re.compile(r"[\w.\-]{4,200}")
_CALL_CHARACTERS = 1000
# Elements of a selector and calls that are looked at. Honest pages have a few; a hostile one has thousands.
_MAX_CANDIDATES = 32
_QUIET = ("invisible", "interaction-only", "execute")


class Found(msgspec.Struct, kw_only=True):
    """A widget on a page. ``node`` is None where a script renders it in a place that is not there yet."""

    row: Signature
    node: LexborNode | None
    params: dict[str, str]
    token_fields: tuple[str, ...]
    quiet: bool
    signature: str


def widgets(tree: LexborHTMLParser, rows: tuple[Signature, ...]) -> Iterator[Found]:
    """Yield every widget that a person would see; the first row that claims an element has it."""
    scripts = tuple(node.attributes.get("src") or "" for node in tree.css("script[src]"))
    claimed: set[int] = set()
    for row in rows:
        for widget in row.widgets:
            if _applies(widget, scripts):
                yield from _elements(tree, row, widget, claimed)
        for frame in row.frames:
            for node in tree.css(frame.css)[:_MAX_CANDIDATES]:
                key = _query(node.attributes.get("src") or "", frame.key)
                if key and not forms.hidden(node):
                    yield _found(row, node, {"sitekey": key}, f"{row.kind}:frame")
        if row.render is not None:
            yield from _rendered(tree, row, row.render)


def _applies(widget: Widget, scripts: tuple[str, ...]) -> bool:
    if widget.with_script and not _any_in(widget.with_script, scripts):
        return False
    return not _any_in(widget.without_script, scripts)


def _elements(tree: LexborHTMLParser, row: Signature, widget: Widget, claimed: set[int]) -> Iterator[Found]:
    for node in tree.css(widget.css)[:_MAX_CANDIDATES]:
        if node.mem_id in claimed or forms.hidden(node):
            continue
        claimed.add(node.mem_id)
        found = _from_element(row, node, widget.token_fields or row.token_fields)
        if found is not None:
            yield found


def _from_element(row: Signature, node: LexborNode, token_fields: tuple[str, ...]) -> Found | None:
    attributes = node.attributes
    sitekey = (attributes.get("data-sitekey") or "").strip()
    if not _KEY.fullmatch(sitekey):
        return None
    params = {"sitekey": sitekey}
    for attribute, parameter in row.params.items():
        value = attributes.get(attribute)
        if value:
            params[parameter] = value
    quiet = (
        attributes.get("data-size") or attributes.get("data-appearance")
    ) in _QUIET or node.tag == "button"
    if quiet and row.kind is not ChallengeKind.TURNSTILE:
        params["invisible"] = "true"
    named = attributes.get(row.field_name) if row.field_name else None
    return Found(
        row=row,
        node=node,
        params=params,
        token_fields=(named,) if named else token_fields,
        quiet=quiet,
        signature=f"{row.kind}:widget",
    )


def _found(row: Signature, node: LexborNode | None, params: dict[str, str], signature: str) -> Found:
    return Found(
        row=row,
        node=node,
        params=params,
        token_fields=row.token_fields,
        quiet=params.get("invisible") == "true",
        signature=signature,
    )


def _rendered(tree: LexborHTMLParser, row: Signature, call: str) -> Iterator[Found]:
    """Yield the widgets that inline scripts render with a sitekey of their own."""
    calls = 0
    for script in tree.css("script:not([src])"):
        text = script.text(deep=True)
        start = text.find(f"{call}(")
        while start >= 0 and calls < _MAX_CANDIDATES:
            calls += 1
            arguments = text[start + len(call) : start + len(call) + _CALL_CHARACTERS]
            start = text.find(f"{call}(", start + 1)
            key = _SITEKEY.search(arguments)
            if key is None:
                continue
            params = {"sitekey": key[1]}
            for name, value in _OPTION.findall(arguments):
                if name != "size":
                    params[name.lower()] = value
                elif value == "invisible":
                    params["invisible"] = "true"
            place = _CONTAINER.match(arguments)
            node = None if place is None else tree.css_first(f'[id="{place[1]}"]')
            if node is None or not forms.hidden(node):
                yield _found(row, node, params, f"{row.kind}:render")


def _any_in(parts: tuple[str, ...], scripts: tuple[str, ...]) -> bool:
    return any(part in script for part in parts for script in scripts)


def _query(address: str, name: str) -> str | None:
    match = re.search(rf"[?&#]{re.escape(name)}=([\w.\-]{{4,200}})", address)
    return None if match is None else match[1]
