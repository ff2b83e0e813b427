"""Reads a page's markup in one pass, in time and memory linear in its length. Pure.

A tree builder that follows the HTML standard is none for this place: on hostile pages of a few dozen
kilobytes it takes minutes and gigabytes (ADR 0011). This reader knows tags, attributes, forms, the texts
between them and what is raw text; it nests as far as the markup says so, and moves nothing about.
"""

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from itertools import islice

# A page with more tags shows more than a gate does, and is not read.
MAX_TAGS = 12_000
# How deep is nested, and how many attributes an element has, before the rest is ignored. Browsers nest 512
# deep at most; honest pages have dozens of levels, and elements a dozen attributes.
MAX_DEPTH = 256
MAX_ATTRIBUTES = 64
_LONG = 4096
_TITLE_CHARACTERS = 500
# Of one text, per character that is asked for: there may be as much white space between the words.
_SLACK = 8

# Quotes matter after an equals sign only. Possessive, so that nothing is tried twice.
_TAG = re.compile(
    r"""<(?:(/?)([a-zA-Z][^\s/>]*+)((?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+)>?+|(!--)|[!?/][^>]*+>?+)"""
)
_ATTRIBUTE = re.compile(r"""([^\s/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|(\S*+)))?+""")
_END = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "iframe", "xmp", "noembed", "noframes")
}
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
# What a start tag ends, where it stands directly in it: the ends that authors leave out.
_ENDS = {
    "p": {"p"},
    "li": {"li"},
    "option": {"option"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
    "td": {"td", "th"},
    "th": {"td", "th"},
    "tr": {"tr", "td", "th"},
    "div": {"p"},
    "form": {"p"},
    "table": {"p"},
    "ul": {"p"},
}
_SILENT = frozenset({"script", "style", "template", "noscript", "head", "svg", "iframe", "textarea", "title"})
# Parts that every page of a site has, and what a form lets choose.
_FRAME = frozenset({"nav", "header", "footer", "aside", "option"})
_HIDDEN_CLASSES = frozenset({"hidden", "d-none", "modal", "invisible", "visually-hidden", "sr-only"})
_MAYBE_HIDDEN = re.compile(r"hidden|none|modal|invisible|sr-only", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


class Element:
    """A start tag: its name in lower case, what it stands in, its form, and its raw text if it has one."""

    __slots__ = ("_attributes", "form", "frame", "known_hidden", "parent", "raw", "silent", "tag", "text")

    def __init__(self, tag: str, raw: str, parent: "Element | None", form: "Element | None") -> None:
        self.tag = tag
        self.raw = raw
        self.parent = parent
        self.form = form
        self.text = ""
        self.silent: bool = tag in _SILENT or (parent is not None and parent.silent)
        self.frame: bool = tag in _FRAME or (parent is not None and parent.frame)
        self._attributes: dict[str, str] | None = None
        self.known_hidden: bool | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes by name in lower case; the first of several counts, one without a value is empty."""
        if self._attributes is None:
            found: dict[str, str] = {}
            for match in islice(_ATTRIBUTE.finditer(self.raw), MAX_ATTRIBUTES):
                value = match[2] or match[3] or match[4] or ""
                found.setdefault(match[1].lower(), _unescaped(value))
            self._attributes = found
        return self._attributes

    def get(self, name: str) -> str:
        """Return an attribute's value, an empty text where there is none."""
        return self.attributes.get(name, "")

    @property
    def hidden(self) -> bool:
        """Whether a person does not see it, as far as the markup alone tells."""
        chain: list[Element] = []
        here: Element | None = self
        while here is not None and here.known_hidden is None:
            chain.append(here)
            here = here.parent
        known = here is not None and here.known_hidden is True
        for element in reversed(chain):
            known = element.known_hidden = known or element.hides()
        return known

    def hides(self) -> bool:
        """Say whether it hides itself and what is in it."""
        if self.tag in ("html", "body"):  # shown by a script later, or there is no page at all
            return False
        if self.tag in ("template", "noscript", "head", "script", "style"):
            return True
        if self.tag == "dialog":
            return "open" not in self.attributes
        if len(self.raw) < _LONG and not _MAYBE_HIDDEN.search(self.raw):
            return False
        attributes = self.attributes
        style = attributes.get("style", "").replace(" ", "").lower()
        return (
            "hidden" in attributes
            or "display:none" in style
            or "visibility:hidden" in style
            or attributes.get("aria-hidden") == "true"
            or not _HIDDEN_CLASSES.isdisjoint(attributes.get("class", "").split())
        )


class Document:
    """A page as it was read: its elements in order, and the texts between them."""

    def __init__(self, source: str) -> None:
        """Read a page. Raises ValueError where it has more than ``MAX_TAGS`` tags."""
        self.source = source
        self.elements: list[Element] = []
        self._texts: list[tuple[Element | None, str]] = []
        self._by_tag: dict[str, list[Element]] = {}
        self._by_owner: dict[int, list[str]] | None = None
        if source.count("<") > MAX_TAGS:
            raise ValueError(f"more than {MAX_TAGS} tags")
        _Reader(self).read()

    def add(self, element: Element) -> None:
        """Take an element in, in page order."""
        self.elements.append(element)
        self._by_tag.setdefault(element.tag, []).append(element)

    def add_text(self, parent: Element | None, text: str) -> None:
        """Take a text in, in page order."""
        if not text.isspace():
            self._texts.append((parent, text))

    def tagged(self, *tags: str) -> list[Element]:
        """Return the elements of some tags; of several tags, one tag after the other."""
        return [element for tag in tags for element in self._by_tag.get(tag, ())]

    @property
    def title(self) -> str:
        """The title, unescaped, in lower case with single spaces."""
        titles = self._by_tag.get("title")
        return _plain(titles[0].text[:_TITLE_CHARACTERS]) if titles else ""

    def own_text(self, parent: Element) -> str:
        """Return the text directly in an element, unescaped, without the spaces around it."""
        if self._by_owner is None:
            self._by_owner = {}
            for owner, text in self._texts:
                self._by_owner.setdefault(id(owner), []).append(text)
        return _unescaped("".join(self._by_owner.get(id(parent), ()))).strip()

    def shown(self, limit: int, *, whole: bool = False) -> str:
        """Return the title and the text that a person sees, in lower case with single spaces.

        No more than is needed to know that it is longer than ``limit``. The frame that every page of a site
        has is left out unless ``whole``, which also takes in what is said to those without JavaScript.
        """
        parts = [self.title]
        length = len(parts[0])
        for text in self._visible(whole=whole):
            plain = _plain(text[: _SLACK * (limit + 1)])
            if plain:
                parts.append(plain)
                length += len(plain) + 1
            if length > limit:
                break
        return " ".join(part for part in parts if part)

    def _visible(self, *, whole: bool) -> Iterator[str]:
        for owner, text in self._texts:
            if (
                owner is None
                or (whole and _in_noscript(owner))
                or (not owner.silent and (whole or not owner.frame) and not owner.hidden)
            ):
                yield text


def raw_text(element: Element) -> str:
    """Return the text of a textarea or a title, unescaped; a line break at its start is not part of it."""
    text = element.text.removeprefix("\r").removeprefix("\n")
    return _unescaped(text)


def _in_noscript(element: Element) -> bool:
    here: Element | None = element
    while here is not None:
        if here.tag == "noscript":
            return True
        here = here.parent
    return False


def _plain(text: str) -> str:
    return _SPACE.sub(" ", _unescaped(text)).strip().lower()


def _unescaped(text: str) -> str:
    """Return a text with its character references read; as it is where Python cannot read one of them.

    A number of more than 4300 digits is a ValueError.
    """
    try:
        return unescape(text) if "&" in text else text
    except ValueError:
        return text


class _Reader:
    """The state of one reading: what is open, and the form that controls belong to."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: list[Element] = []
        self._counts: Counter[str] = Counter()
        self._form: Element | None = None

    def read(self) -> None:
        source = self._document.source
        position = 0
        while True:
            match = _TAG.search(source, position)
            if match is None:
                break
            if match.start() > position:
                self._document.add_text(self._top(), source[position : match.start()])
            position = match.end()
            if match[4]:
                end = source.find("-->", match.end() - 2)
                position = len(source) if end < 0 else end + 3
                continue
            if match[2] is None:
                continue
            if match[1]:
                self._close(match[2].lower())
            else:
                position = self._begin(match[2].lower(), match[3], position)
        if position < len(source):
            self._document.add_text(self._top(), source[position:])

    def _top(self) -> Element | None:
        return self._open[-1] if self._open else None

    def _begin(self, tag: str, raw: str, position: int) -> int:
        """Take in a start tag; return where reading goes on, which is after its raw text."""
        ends = _ENDS.get(tag)
        while ends is not None and self._open and self._open[-1].tag in ends:
            self._pop()
        element = Element(tag, raw, self._top(), self._form)
        if tag == "form" and self._form is None:
            self._form = element
        self._document.add(element)
        end = _END.get(tag)
        if end is not None:
            source = self._document.source
            match = end.search(source, position)
            stop = len(source) if match is None else match.start()
            element.text = source[position:stop]
            # The end tag is read as any other, and closes nothing.
            return stop
        if tag not in _VOID and len(self._open) < MAX_DEPTH:
            self._open.append(element)
            self._counts[tag] += 1
        return position

    def _close(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if not self._counts[tag]:  # nothing ends what it did not begin
            return
        while self._pop() != tag:
            pass

    def _pop(self) -> str:
        tag = self._open.pop().tag
        self._counts[tag] -= 1
        return tag
