"""What goes back to a client, before it is bytes on a socket."""

from collections.abc import Mapping
from typing import Any

import msgspec

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request. ``fields`` are those of the query and of a form in the body, ``host`` the Host."""

    method: str
    path: str
    fields: Mapping[str, str]
    body: bytes = b""
    host: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer.

    ``drop`` means that the connection is reset instead; ``delay_s`` comes first. ``outage_s`` asks the
    server to refuse connections for that long once this was answered.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    delay_s: float = 0.0
    drop: bool = False
    outage_s: float = 0.0


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return a value as JSON."""
    return Answer(status=status, body=msgspec.json.encode(value))


def text_answer(text: str, status: int = 200) -> Answer:
    """Return plain text."""
    return Answer(status=status, body=text.encode(), content_type=TEXT)
