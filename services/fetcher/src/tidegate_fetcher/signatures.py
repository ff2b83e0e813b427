"""The signature table: what ``signatures.toml`` says, checked when it is loaded."""

from importlib.resources import files

import msgspec
from selectolax.lexbor import LexborHTMLParser
from tidegate.errors import ConfigurationError
from tidegate.records import ChallengeKind


class Widget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An element that is a widget. ``token_fields`` replaces the row's where it is not empty."""

    css: str
    with_script: tuple[str, ...] = ()
    without_script: tuple[str, ...] = ()
    token_fields: tuple[str, ...] = ()


class Frame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An iframe that is a widget; ``key`` is the query parameter with its sitekey."""

    css: str
    key: str


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table; its fields are told in ``signatures.toml``."""

    kind: ChallengeKind
    screen: tuple[str, ...]
    widgets: tuple[Widget, ...]
    token_fields: tuple[str, ...]
    frames: tuple[Frame, ...] = ()
    render: str | None = None
    field_name: str | None = None
    params: dict[str, str] = {}


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a page that carries a widget is a challenge. ``near_empty`` and ``small`` in characters."""

    block_statuses: frozenset[int]
    near_empty: int
    small: int
    wording: tuple[str, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rows, and the gate that they share."""

    gate: Gate
    signature: tuple[Signature, ...]

    def screens(self) -> tuple[bytes, ...]:
        """Return the byte strings to look for: those of all rows, less what another one implies."""
        needles = {needle.encode() for row in self.signature for needle in row.screen}
        return tuple(sorted(n for n in needles if not any(o in n for o in needles if o != n)))


def load(text: str | bytes | None = None) -> Table:
    """Read a table, the package's own without ``text``. Raises ConfigurationError saying what is wrong."""
    if text is None:
        text = files("tidegate_fetcher").joinpath("signatures.toml").read_bytes()
    try:
        table = msgspec.toml.decode(text, type=Table)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"the signature table cannot be read: {error}"
        raise ConfigurationError(message) from error
    _check(table)
    return table


def _check(table: Table) -> None:
    """Refuse a row that could never match, or one whose selector is none."""
    nothing = LexborHTMLParser("<p>")
    for row in table.signature:
        if not row.screen or not row.token_fields or not all(len(needle) >= 4 for needle in row.screen):
            message = f"the signature of {row.kind} needs token_fields, and screens of 4 characters or more"
            raise ConfigurationError(message)
        for selector in (*(w.css for w in row.widgets), *(f.css for f in row.frames)):
            try:
                nothing.css(selector)
            except Exception as error:
                message = f"the signature of {row.kind} has the selector {selector!r}, which is none"
                raise ConfigurationError(message) from error
