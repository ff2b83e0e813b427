"""What the wire does by itself: kept connections, what comes before an answer, what closes one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from support.fetcher import fetcher, job, page_of, run
from tidegate.outcome import Dead, ErrorClass, Reason, Retry

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Speak = Callable[[int, bytes], bytes | None]


@asynccontextmanager
async def raw_site(speak: Speak) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a server; ``speak`` gives the answer to a request by its number, None to hang up instead.

    Yields its address and the requests that came, each behind the number of its connection.
    """
    asked: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mine = connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                asked.append(b"%d %s" % (mine, head + body))
                answer = speak(len(asked), head)
                if answer is None:
                    return
                writer.write(answer)
                if answer.startswith(b"HTTP/1.0"):
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}", asked


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """The body was read to its end, so the same connection serves again."""
    async with raw_site(lambda _n, _head: OK) as (base, asked), fetcher() as service:
        for _ in range(3):
            assert page_of(await run(service, f"{base}/p")).body == b"ok"
    assert [request[:1] for request in asked] == [b"1", b"1", b"1"]


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """A server may hang up just as a request goes out: what may be sent twice is."""
    async with (
        raw_site(lambda number, _head: None if number == 2 else OK) as (base, asked),
        fetcher() as service,
    ):
        for _ in range(2):
            assert page_of(await run(service, f"{base}/p")).body == b"ok"
    assert [request[:1] for request in asked] == [b"1", b"1", b"2"]


async def test_a_post_is_not_sent_twice() -> None:
    """Whoever hung up may have taken it."""
    async with (
        raw_site(lambda number, _head: None if number == 2 else OK) as (base, asked),
        fetcher() as service,
    ):
        value = job(f"{base}/p", method="POST", body="a=1")
        page_of(await run(service, value))
        outcome = await run(service, value)
    assert isinstance(outcome, Retry)
    assert outcome.error_class is ErrorClass.NETWORK
    assert [request[:1] for request in asked] == [b"1", b"1"]
    assert asked[0].endswith(b"\r\n\r\na=1")


async def test_a_method_that_brings_a_body_says_that_there_is_none() -> None:
    """Servers wait for one else, or answer with 411."""
    async with raw_site(lambda _n, _head: OK) as (base, asked), fetcher() as service:
        page_of(await run(service, job(f"{base}/p", method="POST")))
        page_of(await run(service, job(f"{base}/p")))
    assert b"Content-Length: 0\r\n" in asked[0]
    assert b"Content-Length" not in asked[1]


async def test_hints_before_an_answer_are_no_answer() -> None:
    """Servers send 103 with what a browser may load meanwhile."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    async with raw_site(lambda _n, _head: hints + OK) as (base, _), fetcher() as service:
        page = page_of(await run(service, f"{base}/p"))
    assert (page.meta.status, page.body) == (200, b"ok")
    assert "Link" not in page.meta.headers


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """As HTTP/1.0 servers do it; the next request has another connection."""
    async with (
        raw_site(lambda _n, _head: b"HTTP/1.0 200 OK\r\n\r\nok") as (base, asked),
        fetcher() as service,
    ):
        for _ in range(2):
            assert page_of(await run(service, f"{base}/p")).body == b"ok"
    assert [request[:1] for request in asked] == [b"1", b"2"]


async def test_what_is_not_http_is_a_failure_of_the_network() -> None:
    """With a sentence that says so, and no word of the answer's."""
    async with raw_site(lambda _n, _head: b"SSH-2.0-secret\r\n\r\n") as (base, _), fetcher() as service:
        outcome = await run(service, f"{base}/p")
    assert isinstance(outcome, Retry)
    assert (outcome.error_class, outcome.message) == (ErrorClass.NETWORK, "The site's answer is not HTTP.")


async def test_a_body_that_was_not_read_costs_the_connection() -> None:
    """What is left of it would be taken for the next answer."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    async with (
        raw_site(lambda number, _head: large if number == 1 else OK) as (base, asked),
        fetcher(max_body_bytes=1024) as service,
    ):
        refused = await run(service, f"{base}/p")
        assert isinstance(refused, Dead)
        assert refused.reason is Reason.BODY_TOO_LARGE
        assert page_of(await run(service, f"{base}/p")).body == b"ok"
    assert [request[:1] for request in asked] == [b"1", b"2"]


@pytest.mark.parametrize("more", [OK.replace(b"ok", b"no"), OK[:9]])
async def test_what_nobody_asked_for_is_no_answer_to_the_next_request(more: bytes) -> None:
    """A server that answers once more while its connection is idle would have its pages mixed up."""
    connections = 0
    pushed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
                writer.write(OK.replace(b"ok", path))
                await asyncio.sleep(0.01)  # noqa: TID251 -- so that the fetcher has read it
                writer.write(more)
                await writer.drain()
                pushed.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, fetcher() as service:
        for path in ("/a", "/b", "/c"):
            pushed.clear()
            page = page_of(await run(service, f"http://127.0.0.1:{port}{path}"))
            assert page.body == path.encode()
            await pushed.wait()
            await asyncio.sleep(0.01)  # noqa: TID251 -- so that it has arrived
    assert connections == 3


async def test_two_accounts_of_a_gateway_share_no_connection() -> None:
    """A gateway may take a connection's account from its first request."""
    async with raw_site(lambda _n, _head: OK) as (base, asked), fetcher() as service:
        for user in ("ann", "bob", "ann"):
            proxy = base.replace("//", f"//{user}:s3cret@")
            page_of(await run(service, job("http://pages.example/x", proxy=proxy)))
    assert [request[:1] for request in asked] == [b"1", b"2", b"1"]
    assert all(request.count(b"Proxy-Authorization") == 1 for request in asked)
