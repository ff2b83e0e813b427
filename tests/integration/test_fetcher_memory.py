"""What was read of a body that failed is free at once, without anybody looking for garbage.

A fetcher lets the collector look seldom: a site that breaks every body off would fill its memory before.
"""

import tracemalloc
from collections.abc import Iterator

import pytest
from support.collector import no_collector
from support.fetcher import fetcher, raw_server, run
from tidegate.outcome import Dead, Retry

_BODY = b"x" * 2_000_000
_LONGER = b"Content-Length: 3000000"
_CHUNKS = b"Transfer-Encoding: chunked"


@pytest.fixture
def only_counts() -> Iterator[None]:
    """Let only reference counts free anything, and count what is allocated."""
    with no_collector():
        tracemalloc.start()
        try:
            yield
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("head", "body", "close", "says"),
    [
        (_LONGER, _BODY, True, "The body broke off."),
        (_LONGER, _BODY, False, "The site fell silent."),
        (_CHUNKS, b"200000\r\n" + _BODY, True, "The body broke off."),
        (_CHUNKS, b"300000\r\n" + _BODY + _BODY, True, "more than 3000000 bytes"),
        (b"Content-Encoding: gzip\r\nConnection: close", _BODY, True, "gzip"),
    ],
)
@pytest.mark.usefixtures("only_counts")
async def test_what_was_read_of_a_body_that_failed_is_free(
    head: bytes, body: bytes, says: str, *, close: bool
) -> None:
    """The error knows the frames that it came through, and they know the pieces."""
    server = await raw_server(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body, close=close)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, fetcher(read_timeout_s=0.5, total_timeout_s=50, max_body_bytes=3_000_000) as service:
        # The last one is judged: the first ones make what stays, such as the connections' own objects.
        for _ in range(5):
            before = tracemalloc.get_traced_memory()[0]
            outcome = await run(service, url)
            assert isinstance(outcome, Retry | Dead)
            assert says in outcome.message
        assert tracemalloc.get_traced_memory()[0] - before < len(_BODY) / 2
