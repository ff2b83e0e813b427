"""Scrapy on the same pages, as a process of its own in an environment of its own; prints JSON.

``python -m bench.scrapy_peer <port> <sites> <pages>``. One spider that yields an item with the URL, the
status and the body of each page and does nothing with it: no pipeline, no feed, its log at INFO. As many
sites, and as many requests to each at once, as the fetcher has. CPU time is counted from the 500th page on.
"""

import json
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from scrapy import Request, Spider
from scrapy.crawler import CrawlerProcess
from scrapy.http import Response

WARM_UP = 500


def cpu_s() -> float:
    """Return the CPU seconds that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Pages(Spider):  # type: ignore[misc]
    """Asks for so many pages of each site in turn."""

    name = "pages"

    def __init__(self, port: int, sites: int, pages: int, found: dict[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._urls = (
            f"http://127.0.1.{number % sites + 1}:{port}/p/{number}" for number in range(pages + WARM_UP)
        )
        self._found = found
        self._seen = 0

    async def start(self) -> AsyncIterator[Request]:
        """Yield the requests."""
        for url in self._urls:
            yield Request(url, callback=self.parse, dont_filter=True)

    def parse(self, response: Response) -> Iterator[dict[str, object]]:
        """Yield the page."""
        self._seen += 1
        if self._seen == WARM_UP:
            self._found["began"] = cpu_s()
        yield {"url": response.url, "status": response.status, "body": response.body}

    def closed(self, _reason: str) -> None:
        """Take the CPU time."""
        self._found["ended"] = cpu_s()
        self._found["seen"] = self._seen


def main(arguments: list[str]) -> None:
    """Crawl and print microseconds of CPU a page."""
    port, sites, pages = (int(argument) for argument in arguments)
    found: dict[str, float] = {}
    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": 112,
            "CONCURRENT_REQUESTS_PER_DOMAIN": 8,
            "ROBOTSTXT_OBEY": False,
            "TELNETCONSOLE_ENABLED": False,
            "LOG_LEVEL": "INFO",
        }
    )
    process.crawl(Pages, port=port, sites=sites, pages=pages, found=found)
    process.start()
    counted = found["seen"] - WARM_UP
    if counted != pages:
        sys.exit(f"{found['seen']:.0f} pages came, not {pages + WARM_UP}")
    print(json.dumps((found["ended"] - found["began"]) / counted * 1e6))  # noqa: T201 -- the result


if __name__ == "__main__":
    main(sys.argv[1:])
