"""What a parser made of a page. Pure."""

import msgspec

MAX_LINKS = 100
MAX_FIELDS_BYTES = 1 << 20


class Parsed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that have columns of their own, and all of them as JSON (``links`` left out).

    ``text_length`` in characters, without what only indents. ``links`` are the first ones, absolute;
    ``link_count`` counts them all.
    """

    title: str = ""
    text_length: int = 0
    link_count: int = 0
    links: tuple[str, ...] = ()
    canonical: str = ""
    language: str = ""
    fields: str = "{}"


class ParseFailed(msgspec.Struct, frozen=True, kw_only=True):
    """Why there are no fields; ``message`` is a sentence for people and holds nothing of the page."""

    message: str
    unknown_parser: bool = False


def from_fields(fields: dict[str, object]) -> Parsed:
    """Sort a parser's fields into columns and JSON.

    A field that bears a column's name but not its type stays in the JSON only. Raises TypeError or
    ValueError for what JSON cannot hold or what is too large.
    """

    def text(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    def count(name: str) -> int:
        value = fields.get(name)
        return value if isinstance(value, int) and value > 0 else 0

    links = fields.get("links")
    rest = fields
    kept: tuple[str, ...] = ()
    if isinstance(links, (list, tuple)) and all(isinstance(link, str) for link in links):
        kept = tuple(links[:MAX_LINKS])
        rest = {name: value for name, value in fields.items() if name != "links"}
    encoded = msgspec.json.encode(rest)
    if len(encoded) > MAX_FIELDS_BYTES:
        raise ValueError(f"the fields take {len(encoded)} bytes of JSON, at most {MAX_FIELDS_BYTES}")
    return Parsed(
        title=text("title"),
        text_length=count("text_length"),
        link_count=count("link_count") or len(kept),
        links=kept,
        canonical=text("canonical"),
        language=text("language"),
        fields=encoded.decode(),
    )
