"""Finds the widgets on a page, by the signature table. Pure.

A widget is an element of the vendor's class with a key, the vendor's iframe, or an inline script that
renders one. A key alone, in a configuration or a comment, is none.
"""

import re
from collections.abc import Iterator

import msgspec
from tidegate.challenge_kinds import FACTS
from tidegate.records import ChallengeKind

from tidegate_fetcher.evidence import Sight
from tidegate_fetcher.markup import Element
from tidegate_fetcher.selectors import Selector
from tidegate_fetcher.signatures import Frame, Place, WidgetRow

_CONTAINER = re.compile(r"""\s*\(\s*['"]#?([\w-]{1,100})['"]""")
_TARGET = re.compile(
    r"""(?:appendTo|bindForm|selector|target_html)['"]?\s{0,4}[(:]\s{0,4}['"]#?([\w-]{1,100})['"]"""
)
_FIRST = re.compile(r"""\s*\(\s*['"]([\w-]{4,200})['"]""")
_KEY = re.compile(r"[\w.-]{4,200}")
_PARAMETER = r"[?&#]{name}=([\w.-]{{4,200}})"
_CALL_CHARACTERS = 1500
# Elements of a selector and calls that are looked at. Honest pages have a few; a hostile one has thousands.
_MAX_CANDIDATES = 32
_QUIET = ("invisible", "interaction-only", "execute")
_NO_SIZE = (ChallengeKind.TURNSTILE, ChallengeKind.RECAPTCHA_V3, ChallengeKind.RECAPTCHA_V3_ENTERPRISE)
_OTHER_HOST = re.compile(r"//(?:www\.)?(recaptcha\.net)/recaptcha/")


class Found(msgspec.Struct, kw_only=True):
    """A widget on a page. ``node`` is None where a script renders it in a place that is not there yet.

    ``quiet`` widgets show nothing of themselves. ``inputs`` are names of fields that take the token in place
    of ``fields`` where the form has them.
    """

    kind: ChallengeKind
    node: Element | None
    params: dict[str, str]
    fields: tuple[str, ...]
    inputs: tuple[str, ...]
    quiet: bool
    signature: str


class Widgets:
    """A widget row, compiled."""

    def __init__(self, row: WidgetRow) -> None:
        self.row = row
        self._places = tuple(
            (place, Selector(place.css), tuple(Selector(css) for css in place.exclude))
            for place in row.elements
        )
        self._frames = tuple(
            (Selector(frame.css), frame, re.compile(_PARAMETER.format(name=re.escape(frame.key))))
            for frame in row.frames
        )
        self._scripts = tuple(re.compile(pattern) for pattern in row.scripts)
        self._surl = re.compile(row.surl) if row.surl else None
        self._shows = tuple(Selector(css) for css in row.shows)
        options = {row.key: row.keys, **row.options}
        names = "|".join(sorted(map(re.escape, options), key=len, reverse=True))
        self._options = {name.lower(): parameter for name, parameter in options.items()}
        self._option = re.compile(
            rf"""\b["']?({names}|size)["']?\s{{0,4}}:\s{{0,4}}["']([^"']{{1,1000}})["']""", re.IGNORECASE
        )

    def on(self, sight: Sight, claimed: set[int]) -> Iterator[Found]:
        """Yield every widget that a person would see; ``claimed`` are elements of earlier rows."""
        for place, selector, excluded in self._places:
            if _applies(place, sight.sources):
                for node in _some(selector, sight):
                    if id(node) in claimed or node.hidden or any(css.matches(node) for css in excluded):
                        continue
                    claimed.add(id(node))
                    found = self._from_element(node, place, sight)
                    if found is not None:
                        yield found
        for selector, frame, pattern in self._frames:
            yield from self._from_frames(sight, selector, frame, pattern)
        for call in self.row.render:
            yield from self._calls(sight, call, quiet=False)
        for call in self.row.execute:
            yield from self._calls(sight, call, quiet=True)
        yield from self._from_scripts(sight)

    def _from_element(self, node: Element, place: Place, sight: Sight) -> Found | None:
        key = node.get(place.key).strip()
        if not _KEY.fullmatch(key):
            return None
        params = {self.row.keys: key}
        for attribute, parameter in self.row.attributes.items():
            value = node.get(attribute)
            if value:
                params[parameter] = value
        quiet = (node.get("data-size") or node.get("data-appearance")) in _QUIET or node.tag == "button"
        if quiet and self.row.kind not in _NO_SIZE:
            params["invisible"] = "true"
        named = node.get(self.row.field_name) if self.row.field_name else ""
        fields = (named,) if named else place.fields
        return self._found(node, params, sight, "widget", quiet=quiet, fields=fields)

    def _from_frames(
        self, sight: Sight, selector: Selector, frame: Frame, pattern: re.Pattern[str]
    ) -> Iterator[Found]:
        for node in _some(selector, sight):
            match = pattern.search(node.get("src"))
            if match is None or node.hidden:
                continue
            params = {self.row.keys: match[1]}
            quiet = "size=invisible" in node.get("src")
            if quiet and self.row.kind not in _NO_SIZE:
                params["invisible"] = "true"
            yield self._found(node, params, sight, f"frame:{frame.key}", quiet=quiet)

    def _from_scripts(self, sight: Sight) -> Iterator[Found]:
        """Yield what the address of a script tells, where the page also uses it."""
        needs = self.row.needs
        if needs and not any(part in text for part in needs for text in sight.scripts):
            return
        for source in sight.sources:
            for pattern in self._scripts:
                match = pattern.search(source)
                if match is not None:
                    places = (node for css in self._shows for node in css.among(sight.document))
                    node = next((place for place in places if not place.hidden), None)
                    params = self._options_of(" ".join(sight.scripts)[: 8 * _CALL_CHARACTERS])
                    params[self.row.keys] = match[1]
                    yield self._found(node, params, sight, "script", quiet=node is None)
                    return

    def _calls(self, sight: Sight, call: str, *, quiet: bool) -> Iterator[Found]:
        """Yield the widgets that inline scripts render or run with a key of their own."""
        calls = 0
        for text in sight.scripts:
            start = text.find(call)
            while start >= 0 and calls < _MAX_CANDIDATES:
                calls += 1
                arguments = text[start + len(call) : start + len(call) + _CALL_CHARACTERS]
                start = text.find(call, start + len(call))
                found = self._from_call(sight, arguments, quiet=quiet)
                if found is not None:
                    yield found

    def _from_call(self, sight: Sight, arguments: str, *, quiet: bool) -> Found | None:
        if not arguments.lstrip().startswith("("):
            return None
        params = self._options_of(arguments)
        size = params.pop("size", "")
        node = None
        if quiet:
            first = _FIRST.match(arguments)
            if first is None:
                return None
            params[self.row.keys] = first[1]
        else:
            place = _CONTAINER.match(arguments) or _TARGET.search(arguments)
            node = None if place is None else _by_id(sight, place[1])
            if node is not None and node.hidden:
                return None
        if not _KEY.fullmatch(params.get(self.row.keys, "")):
            return None
        if size in _QUIET and self.row.kind not in _NO_SIZE:
            params["invisible"] = "true"
        return self._found(
            node, params, sight, "execute" if quiet else "render", quiet=quiet or size in _QUIET
        )

    def _options_of(self, text: str) -> dict[str, str]:
        """Return the options of a call by parameter; the first of several counts."""
        found: dict[str, str] = {}
        for match in self._option.finditer(text):
            name = match[1].lower()
            found.setdefault(self._options.get(name, name), match[2])
        return found

    def _found(
        self,
        node: Element | None,
        params: dict[str, str],
        sight: Sight,
        how: str,
        *,
        quiet: bool,
        fields: tuple[str, ...] = (),
    ) -> Found:
        row = self.row
        params.pop("size", None)
        _gather(params)
        optional = FACTS[row.kind].optional
        if "api_domain" in optional and any(_OTHER_HOST.search(source) for source in sight.sources):
            params["api_domain"] = "www.recaptcha.net"
        if self._surl is not None and "surl" not in params:
            hosts = (self._surl.search(source) for source in sight.sources)
            host = next((match[1] for match in hosts if match), None)
            if host is not None:
                params["surl"] = f"https:{host}" if host.startswith("//") else host
        return Found(
            kind=row.kind,
            node=node,
            params=params,
            fields=fields or FACTS[row.kind].fields,
            inputs=row.inputs,
            quiet=quiet,
            signature=f"{row.kind}:{how}",
        )


def _gather(params: dict[str, str]) -> None:
    """Put parameters that are parts of one, ``enterprise.s``, together as its JSON."""
    parts = {name: params.pop(name) for name in tuple(params) if "." in name}
    grouped: dict[str, dict[str, str]] = {}
    for name, value in parts.items():
        whole, _, part = name.partition(".")
        grouped.setdefault(whole, {})[part] = value
    for whole, values in grouped.items():
        params[whole] = msgspec.json.encode(values).decode()


def _applies(place: Place, sources: tuple[str, ...]) -> bool:
    if place.with_script and not _any_in(place.with_script, sources):
        return False
    return not _any_in(place.without_script, sources)


def _some(selector: Selector, sight: Sight) -> list[Element]:
    """Return the first elements that match."""
    found = []
    for node in selector.among(sight.document):
        found.append(node)
        if len(found) >= _MAX_CANDIDATES:
            break
    return found


def _by_id(sight: Sight, name: str) -> Element | None:
    return next(Selector(f"#{name}").among(sight.document), None)


def _any_in(parts: tuple[str, ...], sources: tuple[str, ...]) -> bool:
    return any(part in source for part in parts for source in sources)
