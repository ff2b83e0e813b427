"""Judges page rows: whether a page is, as a whole, a challenge or a block. Pure.

A mark asks for structure (a header, a script's own text, an element, a frame), never for a word in an
article: markup that is quoted in a text is escaped, and so is no element.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
from yarl import URL

from tidegate_fetcher import urls
from tidegate_fetcher.markup import Document, Element
from tidegate_fetcher.selectors import Selector
from tidegate_fetcher.signatures import Find, Mark, PageRow

# Inline scripts and frames that are looked at, and characters of each: honest pages have few and short ones.
_MAX_SCRIPTS = 200
_SCRIPT_CHARACTERS = 100_000
_MAX_VALUE = 4096
_MAX_PLACES = 4
_WINDOW = 8000


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: what the client knows of it. ``cookies`` by name; ``json`` its body where that is JSON."""

    url: URL
    status: int
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    json: str = ""


class Sight:
    """What a page shows, each part read once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._texts: dict[int, str] = {}

    @cached_property
    def scripts(self) -> tuple[str, ...]:
        """The inline scripts."""
        found = [
            element.text[:_SCRIPT_CHARACTERS]
            for element in self.document.tagged("script")[:_MAX_SCRIPTS]
            if "src" not in element.attributes
        ]
        return tuple(text for text in found if text)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The addresses of scripts, as the page spells them."""
        scripts = self.document.tagged("script")[:_MAX_SCRIPTS]
        return tuple(source for element in scripts if (source := element.get("src").strip()))

    @cached_property
    def frames(self) -> tuple[tuple[str, str], ...]:
        """The address and the raw text of each iframe."""
        frames = self.document.tagged("iframe")[:_MAX_SCRIPTS]
        return tuple((element.get("src").strip(), element.text[:_MAX_VALUE]) for element in frames)

    @cached_property
    def title(self) -> str:
        """The page's title in lower case."""
        return self.document.title

    def text(self, most: int) -> str:
        """Return the title and all text that is shown, more of it than ``most`` where there is more."""
        if most not in self._texts:
            self._texts[most] = self.document.shown(most, whole=True)
        return self._texts[most]


class Proof:
    """A mark, compiled."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._url = re.compile(mark.url) if mark.url else None
        self._elements = tuple(Selector(css) for css in mark.element)
        self._without = tuple(Selector(css) for css in mark.without)

    @property
    def mark(self) -> Mark:
        """The mark."""
        return self._mark

    def holds(self, exchange: Exchange, sight: Sight | None) -> bool:
        """Say whether everything that the mark asks for is there; ``sight`` is None for what is no HTML."""
        mark = self._mark
        if mark.status and exchange.status not in mark.status:
            return False
        if not all(_has(exchange.headers, name, value) for name, value in mark.header.items()):
            return False
        if self._url is not None and not self._url.search(f"{exchange.url.raw_host}{exchange.url.path}"):
            return False
        if mark.json and not (exchange.json and all(part in exchange.json for part in mark.json)):
            return False
        if not mark.on_markup:
            return True
        return sight is not None and self._shown(sight)

    def _shown(self, sight: Sight) -> bool:  # noqa: PLR0911 -- one condition after the other
        mark = self._mark
        if mark.title and not sight.title.startswith(mark.title):
            return False
        if mark.script and not any(all(part in text for part in mark.script) for text in sight.scripts):
            return False
        if mark.src and not _any_in(mark.src, sight.sources):
            return False
        if mark.frame and not any(_any_in(mark.frame, frame) for frame in sight.frames):
            return False
        if self._elements and not _first(self._elements, sight.document):
            return False
        most = 4000 if mark.most is None else mark.most
        if mark.text or mark.most is not None:
            text = sight.text(most)
            if mark.most is not None and len(text) > most:
                return False
            if mark.text and not any(part in text for part in mark.text):
                return False
        return not (self._without and _first(self._without, sight.document))


class Row:
    """A page row, compiled."""

    def __init__(self, row: PageRow) -> None:
        self.row = row
        self.name = row.name or str(row.kind)
        self.proofs = tuple(Proof(mark) for mark in row.mark)
        self._finds = tuple((find, re.compile(find.pattern)) for find in row.find)

    def proven(self, exchange: Exchange, sight: Sight | None) -> Mark | None:
        """Return the first mark that holds."""
        for proof in self.proofs:
            if proof.holds(exchange, sight):
                return proof.mark
        return None

    def params(self, mark: Mark, exchange: Exchange, sight: Sight | None) -> dict[str, str]:
        """Return what patterns find on the page, and the mark's constants."""
        found = dict(mark.params)
        if sight is not None:
            for find, pattern in self._finds:
                value = _found(find, pattern, exchange.url, sight)
                if value and find.name not in found:
                    found[find.name] = value
        return found


def _found(find: Find, pattern: re.Pattern[str], page: URL, sight: Sight) -> str | None:
    """Return the first match of a pattern where it is to be looked for."""
    if find.place == "src":
        for source in (*sight.sources, *(source for source, _ in sight.frames)):
            match = pattern.search(source)
            if match is not None:
                url = urls.parsed(match[1], page)
                return None if url is None else str(url)
        return None
    for text in sight.scripts:
        for window in windows(text, find.after):
            match = pattern.search(window)
            if match is not None:
                return match[1]
    return None


def windows(text: str, after: str) -> Iterator[str]:
    """Yield what follows the first few places of a text in a script."""
    start = text.find(after)
    for _ in range(_MAX_PLACES):
        if start < 0:
            return
        start += len(after)
        yield text[start : start + _WINDOW]
        start = text.find(after, start)


def _has(headers: Mapping[str, str], name: str, value: str) -> bool:
    held = headers.get(name)
    return held is not None and value in held.lower()


def _any_in(parts: tuple[str, ...], texts: Sequence[str]) -> bool:
    return any(part in text.lower() for text in texts for part in parts)


def _first(selectors: tuple[Selector, ...], document: Document) -> Element | None:
    """Return an element that one of the selectors matches and that a person may see, or that never shows."""
    for selector in selectors:
        for element in selector.among(document):
            if element.tag in ("script", "meta") or not element.hidden:
                return element
    return None
