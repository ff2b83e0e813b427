"""``python -m support.slots_sites``: many sites in one process, each on its own port; they log who came.

They know one page and read no more of a request than its path: as little work as may be, beside a fetcher
that is measured. A line of the log is the time, the site's number, and what stood in the path.
"""

import argparse
import asyncio
import json
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import uvloop
from tidegate.clock import SystemClock
from tidegate_cli.stack.ports import HOST

_BODY = b"<!doctype html><title>Page</title><p>" + b"All of this is a page. " * 200
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class Site(asyncio.Protocol):
    """One connection."""

    def __init__(self, number: int, log: TextIO) -> None:
        self._number = number
        self._log = log
        self._clock = SystemClock()
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request with the page."""
        self._heard += data
        while b"\r\n\r\n" in self._heard:
            head, _, self._heard = self._heard.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1").lstrip("/") or "-"
            self._log.write(f"{self._clock.wall_ms()} {self._number} {path}\n")
            self._transport.write(_ANSWER)


async def _serve(count: int, path: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    with path.open("w", buffering=1) as log:
        ports, servers = [], []
        for number in range(count):
            listener = socket.create_server((HOST, 0), backlog=128)
            ports.append(listener.getsockname()[1])
            servers.append(await loop.create_server(partial(Site, number, log), sock=listener))
        print(json.dumps({"port": ports}), flush=True)  # noqa: T201 -- the process's interface
        await stop.wait()
        for server in servers:
            server.close()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=1001)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments.sites, arguments.log))


if __name__ == "__main__":
    main()
