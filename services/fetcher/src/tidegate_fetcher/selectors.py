"""A compound CSS selector: ``form#challenge.wide[action*="/verify"]``. Pure.

No combinators: what stands where is a matter of the page's layout, which vendors change at will.
"""

import re
from collections.abc import Iterator

from tidegate_fetcher.markup import Document, Element

_PART = re.compile(
    r"""(?P<tag>^[a-z][a-z0-9]*)
      | \.(?P<cls>[\w-]+)
      | \#(?P<id>[\w-]+)
      | \[(?P<name>[a-z][\w-]*)(?:(?P<op>[*^$]?=)"(?P<value>[^"\]]+)")?\]""",
    re.VERBOSE,
)


class Selector:
    """A selector that was read once. Raises ValueError for one that is none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tag: str | None = None
        self._tests: list[tuple[str, str, str]] = []
        position = 0
        while position < len(text):
            match = _PART.match(text, position)
            if match is None:
                raise ValueError(f"{text!r} is no compound selector")
            position = match.end()
            if match["tag"]:
                self._tag = match["tag"]
            elif match["cls"]:
                self._tests.append(("class", "~", match["cls"]))
            elif match["id"]:
                self._tests.append(("id", "=", match["id"]))
            else:
                self._tests.append((match["name"], match["op"] or "", match["value"] or ""))
        if not text:
            raise ValueError("an empty text is no selector")
        # Without one of these in its markup an element is not looked at more closely.
        self._needle = max((value for _, _, value in self._tests), key=len, default="")

    def among(self, document: Document) -> Iterator[Element]:
        """Yield the elements of a page that match, in page order."""
        if self._needle and "&" not in self._needle and self._needle not in document.source:
            return
        elements = document.elements if self._tag is None else document.tagged(self._tag)
        for element in elements:
            if self.matches(element):
                yield element

    def matches(self, element: Element) -> bool:
        """Say whether an element matches."""
        if self._tag is not None and element.tag != self._tag:
            return False
        if not self._tests:
            return True
        if self._needle not in element.raw and "&" not in element.raw:
            return False
        return all(_holds(element, *test) for test in self._tests)


def _holds(element: Element, name: str, op: str, wanted: str) -> bool:  # noqa: PLR0911 -- one operator after the other
    value = element.attributes.get(name)
    if value is None:
        return False
    match op:
        case "":
            return True
        case "~":
            return wanted in value.split()
        case "=":
            return value == wanted
        case "^=":
            return value.startswith(wanted)
        case "$=":
            return value.endswith(wanted)
        case _:
            return wanted in value
