"""The signature table: what ``signatures.toml`` says, checked when it is loaded."""

import re
from importlib.resources import files
from typing import Literal

import msgspec
from tidegate.challenge_kinds import FACTS, AnswerKind
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind

from tidegate_fetcher.selectors import Selector


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a page that carries a widget is a challenge. ``near_empty`` and ``small`` in characters."""

    block_statuses: frozenset[int]
    near_empty: int
    small: int
    wording: tuple[str, ...]


class Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What proves a page row; its fields are told in ``signatures.toml``. What is empty asks for nothing."""

    name: str
    header: dict[str, str] = {}
    status: tuple[int, ...] = ()
    url: str = ""
    json: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    src: tuple[str, ...] = ()
    frame: tuple[str, ...] = ()
    element: tuple[str, ...] = ()
    title: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    most: int | None = None
    params: dict[str, str] = {}

    @property
    def on_markup(self) -> bool:
        """Whether the page has to be read for it."""
        asked = (self.script, self.src, self.frame, self.element, self.title, self.text, self.without)
        return any(asked) or self.most is not None


class Find(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter that a pattern reads: ``place`` is where, the pattern's first group is its value.

    In a script it is looked for ``after`` the first few places of a text, in a bounded window: a pattern that
    may begin anywhere in a long script could take the square of its length.
    """

    name: str
    place: Literal["script", "src"] = msgspec.field(name="in")
    pattern: str
    after: str = ""


class PageRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page that is a challenge or a block as a whole; a block where it has no kind.

    ``headers`` are names of which one lets a page pass the screen. ``build`` names the code that makes the
    parameters where patterns cannot; ``html`` makes the page itself one.
    """

    name: str = ""
    kind: ChallengeKind | None = None
    message: str = ""
    screen: tuple[str, ...]
    headers: tuple[str, ...] = ()
    mark: tuple[Mark, ...]
    find: tuple[Find, ...] = ()
    build: Literal["", "datadome"] = ""
    html: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An element that is a widget; ``key`` is the attribute with its key, ``fields`` replaces the kind's."""

    css: str
    key: str = "data-sitekey"
    exclude: tuple[str, ...] = msgspec.field(default=(), name="except")
    with_script: tuple[str, ...] = ()
    without_script: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


class Frame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An iframe that is a widget; ``key`` is the query parameter with its key."""

    css: str
    key: str


class WidgetRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A widget that a page may carry; its fields are told in ``signatures.toml``."""

    kind: ChallengeKind
    screen: tuple[str, ...]
    elements: tuple[Place, ...] = ()
    frames: tuple[Frame, ...] = ()
    scripts: tuple[str, ...] = ()
    render: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    key: str = "sitekey"
    keys: str = "sitekey"
    options: dict[str, str] = {}
    attributes: dict[str, str] = {}
    inputs: tuple[str, ...] = ()
    field_name: str | None = None
    surl: str = ""
    shows: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rows, and the gate that the widgets share."""

    gate: Gate
    page: tuple[PageRow, ...] = ()
    widget: tuple[WidgetRow, ...] = ()

    def screens(self) -> list[tuple[str, ...]]:
        """Return the screen of each row: of the pages, then of the widgets."""
        return [row.screen for row in self.page] + [row.screen for row in self.widget]


def load(text: str | bytes | None = None) -> Table:
    """Read a table, the package's own without ``text``. Raises ConfigurationError saying what is wrong."""
    if text is None:
        text = files("tidegate_fetcher").joinpath("signatures.toml").read_bytes()
    try:
        table = msgspec.toml.decode(text, type=Table)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"the signature table cannot be read: {error}"
        raise ConfigurationError(message) from error
    for row in table.page:
        _check_page(row)
    for widget in table.widget:
        _check_widget(widget)
    return table


def _check_page(row: PageRow) -> None:
    name = f"the page {row.name or row.kind}"
    _check_screen(name, row.screen)
    if row.kind is None and not (row.name and row.message):
        raise ConfigurationError(f"{name} is a block and needs a name and a message")
    for mark in row.mark:
        if not (mark.header or mark.url or mark.json or mark.on_markup):
            raise ConfigurationError(f"{name}: the mark {mark.name} asks for nothing")
        _check_patterns(name, (mark.url,))
        _check_selectors(name, (*mark.element, *mark.without))
        if any(text != text.lower() for text in (*mark.src, *mark.frame, *mark.title, *mark.text)):
            raise ConfigurationError(f"{name}: the mark {mark.name} compares in lower case")
    _check_patterns(name, tuple(find.pattern for find in row.find))
    if any(find.place == "script" and not find.after for find in row.find):
        raise ConfigurationError(f"{name} finds in scripts and does not say after what")
    if row.kind is not None:
        _check_params(name, row.kind, {find.name for find in row.find})


def _check_widget(row: WidgetRow) -> None:
    name = f"the widget {row.kind}"
    _check_screen(name, row.screen)
    if FACTS[row.kind].answer is AnswerKind.COOKIES:
        raise ConfigurationError(f"{name} is answered by cookies: it is a page")
    _check_patterns(name, (*row.scripts, row.surl))
    excluded = tuple(css for place in row.elements for css in place.exclude)
    places = (*(place.css for place in row.elements), *(frame.css for frame in row.frames))
    _check_selectors(name, (*places, *excluded, *row.shows))
    _check_params(name, row.kind, {row.keys, *row.options.values(), *row.attributes.values()})


def _check_screen(name: str, screen: tuple[str, ...]) -> None:
    """Refuse what could never match, or would match every page."""
    if not screen or not all(len(needle) >= 4 and needle.isascii() for needle in screen):
        raise ConfigurationError(f"{name} needs a screen of ASCII strings of 4 characters or more")


def _check_selectors(name: str, selectors: tuple[str, ...]) -> None:
    for text in selectors:
        try:
            Selector(text)
        except ValueError as error:
            raise ConfigurationError(f"{name} has the selector {text!r}, which is none") from error


def _check_patterns(name: str, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigurationError(f"{name} has the pattern {pattern!r}, which is none: {error}") from error


def _check_params(name: str, kind: ChallengeKind, params: set[str]) -> None:
    """Refuse a parameter that no solving service is ever asked with."""
    facts = FACTS[kind]
    unknown = {param.partition(".")[0] for param in params} - {*facts.required, *facts.optional}
    if unknown:
        raise ConfigurationError(f"{name} finds {', '.join(sorted(unknown))}, which {kind} has not")
