"""Tells a challenge, and a block, from a page that merely carries a widget. Pure.

First the bytes are screened, then headers; only a page that hits is read. Page rows come first: such a page
is a challenge or a block as a whole. Then each widget that a person would see is judged: a form that asks for
more than the widget is a login or contact form, and a page that shows its content is no gate.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TypeAlias

import msgspec
from tidegate.captcha_records import Challenge, ChallengeForm
from tidegate.challenge_kinds import FACTS, AnswerKind, life_s
from tidegate.records import ChallengeKind
from yarl import URL

from tidegate_fetcher import images
from tidegate_fetcher.clearances import datadome
from tidegate_fetcher.evidence import Exchange, Row, Sight
from tidegate_fetcher.forms import Forms
from tidegate_fetcher.images import ImageRule
from tidegate_fetcher.markup import Document, Element
from tidegate_fetcher.screen import Screen
from tidegate_fetcher.signatures import Gate, Mark, Table
from tidegate_fetcher.widgets import Found, Widgets

MAX_SCREENED_BYTES = 1 << 20
# The page itself, where it is a parameter: challenge pages have a few dozen kilobytes.
_MAX_HTML = 256 << 10
_MAX_WIDGETS = 8
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_PLAIN = (b"<!doctype html", b"<html", b"<head", b"<body")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
# What pages are written in beside UTF-8. Python knows codecs that are none of a page's business.
_CHARSETS = re.compile(
    r"(?:windows|cp|iso|latin|koi8|shift|sjis|euc|gb|big5|us-ascii|x-sjis|tis)[\w.:-]*", re.IGNORECASE
)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A page that no solver opens: nothing is paid for it. ``message`` is a sentence."""

    name: str
    message: str
    signatures: tuple[str, ...]


Finding: TypeAlias = Challenge | Block


class Detector:
    """Finds what stands in the way of a page, by the table it was given."""

    def __init__(self, table: Table) -> None:
        self._gate = table.gate
        self._pages = tuple(Row(row) for row in table.page)
        self._widgets = tuple(Widgets(row) for row in table.widget)
        self._screen = Screen(table.screens())
        self._headers = {name: number for number, row in enumerate(table.page) for name in row.headers}

    def find(
        self,
        body: bytes,
        *,
        status: int,
        headers: Mapping[str, str],
        url: URL,
        cookies: Mapping[str, str] | None = None,
        image: ImageRule | None = None,
    ) -> Finding | None:
        """Return the challenge or the block that stands in the way of a page, None for a page. Never raises.

        ``headers`` are found in any case. ``image`` is the host's rule for a plain image captcha.
        """
        if len(body) > MAX_SCREENED_BYTES:
            body = body[:MAX_SCREENED_BYTES]
        rows = self._screen.rows(body)
        for name, number in self._headers.items():
            if name in headers:
                rows.add(number)
        if not rows and image is None:
            return None
        content_type = headers.get("Content-Type", "")
        sight, json = _read(body, content_type)
        exchange = Exchange(url=url, status=status, headers=headers, cookies=cookies or {}, json=json)
        for number, row in enumerate(self._pages):
            if number in rows:
                mark = row.proven(exchange, sight)
                if mark is not None:
                    return _whole(row, mark, exchange, sight)
        if sight is None:
            return None
        wanted = tuple(row for n, row in enumerate(self._widgets, len(self._pages)) if n in rows)
        return _Judge(self._gate, exchange, sight).widget(wanted, image)


def _whole(row: Row, mark: Mark, exchange: Exchange, sight: Sight | None) -> Finding:
    """Return what a page is that is it as a whole."""
    signatures = (f"{row.name}:{mark.name}",)
    kind = row.row.kind
    if kind is None:
        return Block(name=row.name, message=row.row.message, signatures=signatures)
    params = row.params(mark, exchange, sight)
    if row.row.build == "datadome":
        params |= datadome(exchange, sight)
    if row.row.html and sight is not None:
        params["html"] = sight.document.source[:_MAX_HTML]
    return _challenge(kind, exchange, params, None, signatures)


def _challenge(
    kind: ChallengeKind,
    exchange: Exchange,
    params: dict[str, str],
    form: ChallengeForm | None,
    signatures: tuple[str, ...],
) -> Challenge:
    return Challenge(
        kind=kind,
        page_url=str(exchange.url),
        params=params,
        form=form,
        signatures=signatures,
        lifetime_s=life_s(kind, params),
    )


class _Judge:
    """Judges the widgets of one page."""

    def __init__(self, gate: Gate, exchange: Exchange, sight: Sight) -> None:
        self._gate = gate
        self._exchange = exchange
        self._sight = sight
        self._forms = Forms(sight.document)
        self._shown: str | None = None

    def widget(self, rows: tuple[Widgets, ...], image: ImageRule | None) -> Challenge | None:
        """Return the first widget that stands in the way."""
        claimed: set[int] = set()
        found: Iterator[Found] = (one for row in rows for one in row.on(self._sight, claimed))
        for one in islice(found, _MAX_WIDGETS):
            challenge = self._judged(one)
            if challenge is not None:
                return challenge
        return None if image is None else self._image(image)

    def _judged(self, found: Found) -> Challenge | None:
        form, fields = self._form_of(found)
        if form is not None and self._forms.asks(form, frozenset(fields)):
            return None
        if form is None and self._asks_a_password():
            return None
        # Boxes may be a poll's; what stands in no place and no form may be for a button somewhere.
        doubtful = found.node is None if form is None else self._forms.has_boxes(form)
        if not self._stands_in_the_way(quiet=found.quiet, doubtful=doubtful):
            return None
        read = None if form is None else self._forms.read(form, self._exchange.url, fields)
        return _challenge(found.kind, self._exchange, found.params, read, (found.signature,))

    def _image(self, rule: ImageRule) -> Challenge | None:
        """Return the image captcha of a host whose rule finds it."""
        node = images.picture(self._sight.document, rule)
        params = {} if node is None else images.params(node, self._exchange.url)
        if node is None or not params:
            return None
        form = node.form or self._posting()
        if form is None:
            return None
        open_fields = [
            control.get("name") for control in self._forms.controls(form) if self._takes_text(control)
        ]
        field = rule.field or (open_fields[0] if len(open_fields) == 1 else None)
        if field is None or any(name != field for name in open_fields):
            return None
        read = self._forms.read(form, self._exchange.url, (field,))
        return _challenge(ChallengeKind.IMAGE, self._exchange, params, read, ("image:selector",))

    @staticmethod
    def _takes_text(control: Element) -> bool:
        kind = (control.get("type") or "text").lower()
        if control.tag == "textarea" or (control.tag == "input" and kind in ("password", "email", "tel")):
            return not control.hidden
        return control.tag == "input" and kind in ("text", "number", "search") and not control.hidden

    def _form_of(self, found: Found) -> tuple[Element | None, tuple[str, ...]]:
        """Return the form that takes the token, and the fields in it that do.

        It is the one around the widget, the one with the token's field, or the only one that posts.
        """
        form = None if found.node is None else found.node.form
        names = {*found.fields, *found.inputs}
        if form is None:
            visible = self._forms.visible()
            form = next((one for one in visible if not names.isdisjoint(self._forms.names(one))), None)
        if form is None:
            form = self._posting()
        if form is None:
            return None, found.fields
        inputs = tuple(name for name in found.inputs if name in self._forms.names(form))
        return form, inputs or found.fields

    def _posting(self) -> Element | None:
        posting = [form for form in self._forms.visible() if form.get("method").lower() == "post"]
        return posting[0] if len(posting) == 1 else None

    def _asks_a_password(self) -> bool:
        inputs = self._sight.document.tagged("input")
        return any(node.get("type").lower() == "password" and not node.hidden for node in inputs)

    def _stands_in_the_way(self, *, quiet: bool, doubtful: bool) -> bool:
        """Judge a page by its status and by what it shows beside the widget.

        An invisible widget shows nothing of itself, and many sites put one on every page: there the page
        must say that it wants something. So must one of which it is doubtful what the widget is for, unless
        it is blocked.
        """
        gate = self._gate
        if self._shown is None:
            self._shown = self._sight.document.shown(gate.small)
        shown = self._shown
        blocked = self._exchange.status in gate.block_statuses
        said = len(shown) <= gate.small and any(word in shown for word in gate.wording)
        if quiet:
            return said
        return blocked or said or (not doubtful and len(shown) <= gate.near_empty)


def lacking(challenge: Challenge) -> tuple[str, ...]:
    """Return the parameters without which the challenge cannot be bought; empty where it can."""
    return tuple(name for name in FACTS[challenge.kind].required if not challenge.params.get(name))


def answerable(challenge: Challenge) -> bool:
    """Say whether an answer could go back: through a form, or as cookies."""
    return challenge.form is not None or FACTS[challenge.kind].answer is AnswerKind.COOKIES


def _read(body: bytes, content_type: str) -> tuple[Sight | None, str]:
    """Return what there is to see on a page of HTML, and the text of one of JSON.

    JSON and XML carry keys too, but only HTML carries widgets. Without a type, the start of the body tells.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind.endswith(("/json", "+json")) or (not kind and body.lstrip()[:1] == b"{"):
        return None, body.decode(errors="replace")
    if kind not in _HTML_TYPES and (kind or not any(mark in body[:1024].lower() for mark in _PLAIN)):
        return None, ""
    try:
        return Sight(Document(_decoded(body, parameters))), ""
    except ValueError:  # more tags than any gate has
        return None, ""


def _decoded(body: bytes, parameters: str) -> str:
    """Return the text of a page, by the character set that it names. Never raises."""
    named = _CHARSET.search(parameters)
    label = named[1] if named is not None else None
    if label is None:
        meta = _META_CHARSET.search(body[:1024])
        label = None if meta is None else meta[1].decode("ascii", "replace")
    if label is not None and _CHARSETS.fullmatch(label):
        try:
            return codecs.decode(body, label, "replace").replace("\0", "")
        except (LookupError, ValueError):
            pass
    return body.decode(errors="replace").replace("\0", "")
