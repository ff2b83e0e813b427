"""Tells a challenge from a page that merely carries a widget. Pure.

First the bytes are screened with plain ``in`` tests: about 20 us each for a page of 29 KB, where a
case-insensitive regular expression takes 2 ms. Only a page that hits is parsed. Then each widget that a
person would see is judged: a form that asks for more than the widget is a login or contact form, and a
page that shows its content is no gate.
"""

import re
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode
from tidegate.captcha_records import Challenge
from yarl import URL

from tidegate_fetcher import forms
from tidegate_fetcher.signatures import Gate, Table
from tidegate_fetcher.widgets import Found, widgets

MAX_SCREENED_BYTES = 1 << 20
# Parsing costs the square of the nesting: 20,000 open elements take a second, 100,000 a minute in which
# nothing else runs. A page of so many elements shows more than a gate does.
_MAX_TAGS = 20_000
# Widgets judged on a page, and forms and password fields looked at for one: enough for any honest page.
_MAX_WIDGETS = 8
_MAX_FORMS = 16
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_PLAIN = (b"<!doctype html", b"<html", b"<head", b"<body")
# Left out of what a page has to show: its code, and the frame that every page of a site has.
_NO_CONTENT = "script, style, noscript, template, svg, iframe, nav, header, footer, aside, option, textarea"
_SPACE = re.compile(r"\s+")


class Detector:
    """Finds the challenge on a page, by the table it was given."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._screens = table.screens()

    def detect(self, body: bytes, *, status: int, content_type: str, url: URL) -> Challenge | None:
        """Return the challenge that stands in the way of a page, None for a page. Never raises."""
        if len(body) > MAX_SCREENED_BYTES:
            body = body[:MAX_SCREENED_BYTES]
        for needle in self._screens:
            if needle in body:
                break
        else:
            return None
        if not _is_html(body, content_type) or body.count(b"<") > _MAX_TAGS:
            return None
        tree = LexborHTMLParser(body.replace(b"\0", b""))
        shown: str | None = None
        for found in islice(widgets(tree, self._table.signature), _MAX_WIDGETS):
            form = _form_of(tree, found)
            tokens = frozenset(found.token_fields)
            if form is not None and any(forms.fillable(c, tokens) for c in forms.controls(tree, form)):
                continue
            if form is None and any(not forms.hidden(n) for n in _password_fields(tree)):
                continue
            if shown is None:
                shown = _shown(tree)
            boxes = form is not None and forms.has_boxes(tree, form)
            if not _stands_in_the_way(self._table.gate, shown, status, quiet=found.quiet, boxes=boxes):
                continue
            return Challenge(
                kind=found.row.kind,
                page_url=str(url),
                params=found.params,
                form=None if form is None else forms.read(tree, form, url, found.token_fields),
                signatures=(found.signature,),
            )
        return None


def _password_fields(tree: LexborHTMLParser) -> list[LexborNode]:
    return tree.css("input[type=password]")[:_MAX_FORMS]


def _form_of(tree: LexborHTMLParser, found: Found) -> LexborNode | None:
    """Return the form that takes the token: around the widget, with the token's field, or the only one."""
    if found.node is not None:
        around = forms.enclosing(found.node)
        if around is not None:
            return around
    candidates = [form for form in tree.css("form")[:_MAX_FORMS] if not forms.hidden(form)]
    tokens = frozenset(found.token_fields)
    for form in candidates:
        if any((c.attributes.get("name") or "") in tokens for c in forms.controls(tree, form)):
            return form
    posting = [form for form in candidates if (form.attributes.get("method") or "").lower() == "post"]
    return posting[0] if len(posting) == 1 else None


def _stands_in_the_way(gate: Gate, shown: str, status: int, *, quiet: bool, boxes: bool) -> bool:
    """Judge a page by its status and by what it shows beside the widget.

    An invisible widget shows nothing of itself, and many sites put one on every page: there the page must
    say that it wants something. So must one with boxes to tick, which may be a poll, unless it is blocked.
    """
    blocked = status in gate.block_statuses
    said = len(shown) <= gate.small and any(word in shown for word in gate.wording)
    if quiet:
        return said
    return blocked or said or (not boxes and len(shown) <= gate.near_empty)


def _shown(tree: LexborHTMLParser) -> str:
    """Return the title and the visible text, in lower case with single spaces. Takes the tree apart."""
    title = tree.css_first("title")
    said = "" if title is None else title.text(deep=True)
    copy = LexborHTMLParser(tree.html or "")
    for node in copy.css(_NO_CONTENT):
        node.decompose()
    body = copy.body
    text = "" if body is None else body.text(deep=True, separator=" ")
    return _SPACE.sub(" ", f"{said} {text}").strip().lower()


def _is_html(body: bytes, content_type: str) -> bool:
    """JSON and XML carry sitekeys too; only HTML carries widgets. Without a type, the start tells."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind:
        return kind in _HTML_TYPES
    start = body[:1024].lower()
    return any(mark in start for mark in _PLAIN)
