"""What the fetcher says happened. No query strings, no credentials, no cookies, no tokens."""

from typing import ClassVar

from tidegate.events import Event


class FetchDone(Event, frozen=True):
    """The one line of a job's fetch: where, how it ended, and what it cost.

    ``outcome`` is ``page``, ``challenge``, ``forwarded``, or the class of a failure. ``place`` is scheme,
    host and path. Sizes in bytes, before and after decoding.
    """

    run: str
    id: str
    site: str
    place: str
    outcome: str
    status: int | None = None
    elapsed_ms: int | None = None
    wire_bytes: int | None = None
    body_bytes: int | None = None
    redirects: int | None = None
    hop: int = 0
    resumed: bool = False


class UnknownFieldIgnored(Event, frozen=True):
    """Jobs carry a field that UrlJob does not have: newer producers, or a misspelling. Told once a name."""

    level: ClassVar[str] = "warning"

    field: str
    example_id: str
