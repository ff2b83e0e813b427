"""A web server on loopback, a process of its own: ``python -m bench.pageserver <sites>``.

It serves the corpus on as many addresses (127.0.1.1, 127.0.1.2 …) as sites are asked for, all on one port,
which it prints. It does as little as a server can, so that it is not what is measured; traces that are posted
to it are taken and thrown away, and what is no page (robots.txt) is not there.
"""

import asyncio
import signal
import socket
import sys
from typing import cast

import uvloop
from bench.corpus import page

PAGES = 256


def address(site: int) -> str:
    """Return the address of a site, the first is 0."""
    return f"127.0.1.{site + 1}"


def _answer(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Cache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body


_MISSING = b"HTTP/1.1 404 Not Found\r\nServer: bench\r\nContent-Length: 0\r\n\r\n"
_POSTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are no subclasses

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            rest = end + 4
            if head.startswith(b"POST"):
                rest += _length(head)
                if len(self._received) < rest:
                    return
                self._transport.write(_POSTED)
            else:
                number = head.split(b" ", 2)[1].rpartition(b"/")[2]
                page = self._answers[int(number) % len(self._answers)] if number.isdigit() else _MISSING
                self._transport.write(page)
            del self._received[:rest]


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


async def serve(sites: int) -> None:
    """Serve until SIGTERM."""
    answers = [_answer(page(number)) for number in range(PAGES)]
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    port = 0
    for site in range(sites):
        listener = socket.create_server((address(site), port), backlog=512)
        port = listener.getsockname()[1]
        await loop.create_server(lambda: _Connection(answers), sock=listener)
    print(port, flush=True)  # noqa: T201 -- whoever started us reads it
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
