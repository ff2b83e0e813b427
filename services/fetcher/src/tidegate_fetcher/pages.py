"""The record of a page: the body as the site served it, compressed, and what else is known. Pure."""

import re

import zstandard
from tidegate.outcome import Outgoing
from tidegate.records import (
    HEADER_ORIGINAL,
    HEADER_PAGE,
    Job,
    PageMeta,
    UrlJob,
    body_hash,
    encode,
    job_headers,
)
from tidegate.sites import without_credentials
from tidegate.topics import Topic
from yarl import URL

from tidegate_fetcher.exchange import Headers, Response

# What is kept of a response's headers; cookies never.
_KEPT = {
    name.lower(): name
    for name in (
        "Cache-Control",
        "Content-Encoding",
        "Content-Language",
        "Content-Type",
        "Date",
        "ETag",
        "Expires",
        "Last-Modified",
        "Link",
        "Location",
        "Retry-After",
        "Server",
        "Vary",
        "X-Robots-Tag",
    )
}
_MAX_HEADER_CHARACTERS = 1024
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:\-]{1,40})""", re.IGNORECASE)


class PageWriter:
    """Makes page records; keeps its compressor, because building one costs more than a page."""

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level)

    def page(
        self, job: Job, task: UrlJob, response: Response, requested: URL, *, fetched_at_ms: int
    ) -> Outgoing:
        """Return the record. Its key is the job's original site, whatever redirects said (O2).

        The URL is stored as the job spelt it, so that rows can be joined with what was submitted;
        ``requested`` is the same as it went out.
        """
        url = without_credentials(task.url) if "@" in task.url or "#" in task.url else task.url
        content_type = response.content_type
        charset = _CHARSET.search(content_type)
        meta = PageMeta(
            url=url,
            final_url=url if response.url == requested else str(response.url),
            status=response.status,
            content_type=content_type[:_MAX_HEADER_CHARACTERS],
            charset=None if charset is None else charset[1].lower(),
            headers=kept(response.headers),
            length=len(response.body),
            body_hash=body_hash(response.body),
            fetched_at_ms=fetched_at_ms,
            elapsed_ms=response.elapsed_ms,
            parser=task.parser,
            challenges=job.state.attempts.get("challenge", 0),
            proxy_id=response.proxy_id,
            metadata=task.metadata,
        )
        return Outgoing(
            topic=Topic.PAGES,
            site=job.state.site,
            value=self._compressor.compress(response.body),
            headers=((HEADER_PAGE, encode(meta)), *job_headers(job.state), (HEADER_ORIGINAL, job.original)),
        )


def kept(headers: Headers) -> dict[str, str]:
    """Return the response headers that are stored, under their canonical names."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        canonical = _KEPT.get(name.lower())
        if canonical is not None and canonical not in found:
            found[canonical] = value[:_MAX_HEADER_CHARACTERS]
    if "Location" in found:
        found["Location"] = _clean(found["Location"])
    return found


def _clean(location: str) -> str:
    try:
        return without_credentials(location)
    except ValueError:
        return ""
