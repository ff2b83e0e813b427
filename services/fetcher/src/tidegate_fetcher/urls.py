"""Addresses as pages, answers and jobs spell them. Pure."""

import re
from urllib.parse import urlsplit

from yarl import URL

_NOT_IN_A_HOST = re.compile(r"[\x00-\x20\x7f]")


def parsed(text: str, base: URL | None = None) -> URL | None:
    """Return the URL that a text is, as seen from ``base``; None where it is none.

    What comes back can be written down and read again, and its host can be asked for: of a name with a NUL
    in it resolvers read what stands before that. yarl raises whatever it stumbles over, ``//[]@`` is an
    IndexError to it, and reads a host and a port only when they are asked for. Records are read by urllib,
    which refuses some hosts that yarl takes.
    """
    try:
        url = URL(text) if base is None else base.join(URL(text.strip()))
        _ = urlsplit(str(url)).port
    except (ValueError, TypeError, IndexError):  # a UnicodeError is a ValueError
        return None
    return None if _NOT_IN_A_HOST.search(url.raw_host or "") else url


def is_web(url: URL) -> bool:
    """Say whether a URL is absolute and of http or https."""
    return url.scheme in ("http", "https") and bool(url.raw_host)
