"""Readiness checks: how the supervisor learns that a child can be used."""

import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import aiohttp

from tidegate_cli.stack.ports import HOST

_ATTEMPT_S = 2.0
_LINE_BYTES = 1 << 16


class Probe(Protocol):
    """Asked again and again until it says yes; a child that ends meanwhile has failed."""

    async def ready(self, log: Path, since: int) -> bool:
        """Tell whether the child is ready; its output is in ``log`` from byte ``since``."""
        ...


class AtOnce:
    """Ready as soon as it runs."""

    async def ready(self, log: Path, since: int) -> bool:  # noqa: ARG002 -- a Probe
        """Say yes."""
        return True


class HttpReady:
    """Ready when this address answers 200."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ready(self, log: Path, since: int) -> bool:  # noqa: ARG002 -- a Probe
        """Ask once."""
        timeout = aiohttp.ClientTimeout(total=_ATTEMPT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


class TcpReady:
    """Ready when something listens on this loopback port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ready(self, log: Path, since: int) -> bool:  # noqa: ARG002 -- a Probe
        """Connect once; the loopback device answers at once, so this does not hold the loop up."""
        with socket.socket() as probe:
            probe.settimeout(_ATTEMPT_S)
            return probe.connect_ex((HOST, self._port)) == 0


class LineReady:
    """Ready when a line of the output is a JSON object with this key, such as ``{"port": 8123}``."""

    def __init__(self, key: str = "port") -> None:
        self._key = key

    async def ready(self, log: Path, since: int) -> bool:
        """Look through the output so far."""
        return self.find(log, since) is not None

    def find(self, log: Path, since: int) -> object | None:
        """Return the value under the key, None as long as there is no such line."""
        with log.open("rb") as file:
            file.seek(since)
            lines = file.read(_LINE_BYTES).split(b"\n")
        for line in lines[:-1]:  # the last piece may be half a line
            if line.startswith(b"{"):
                try:
                    value: dict[str, object] = json.loads(line)
                except ValueError:
                    continue
                if self._key in value:
                    return value[self._key]
        return None


class CallReady:
    """Ready when this coroutine function says so, for brokers: by a real request."""

    def __init__(self, ask: Callable[[], Awaitable[bool]]) -> None:
        self._ask = ask

    async def ready(self, log: Path, since: int) -> bool:  # noqa: ARG002 -- a Probe
        """Ask once."""
        return await self._ask()
