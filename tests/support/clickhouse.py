"""Starts the embedded ClickHouse endpoint as a process, and speaks plain HTTP to it or to a real server."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

REAL_URL = os.environ.get("TEST_CLICKHOUSE_URL", "")
"""Address of a real ClickHouse server, ``http://user:password@host:port``, to run the contract against."""


class Reply(NamedTuple):
    """An HTTP answer; header names as they came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> int:
        """ClickHouse's error code, 0 when there is none."""
        return int(self.headers.get("X-ClickHouse-Exception-Code", "0"))

    @property
    def text(self) -> str:
        """The body as text, without the last line break."""
        return self.body.decode().removesuffix("\n")


class Address:
    """Where a ClickHouse is, and requests to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 8123
        self.user = parts.username or "default"
        self.password = parts.password or ""

    @property
    def options(self) -> dict[str, object]:
        """What clickhouse-connect's ``get_client`` and ``get_async_client`` take."""
        return {"host": self.host, "port": self.port, "username": self.user, "password": self.password}

    def ask(
        self,
        body: bytes = b"",
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        path: str = "/",
        timeout_s: float = 60.0,
    ) -> Reply:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        known = {"X-ClickHouse-User": self.user, "X-ClickHouse-Key": self.password}
        try:
            connection.request(
                method, f"{path}?{urlencode(parameters or {})}", body, known | dict(headers or {})
            )
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def sql(self, text: str, **settings: str) -> str:
        """Run a statement and return its answer as text; fails the test when it is refused."""
        reply = self.ask(text.encode(), settings)
        assert reply.status == 200, reply.text
        return reply.text


class Process(Address):
    """The embedded endpoint, running on a data folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "tidegate_cli.clickhouse", "--data", str(folder), *arguments]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            _, errors = self.child.communicate()
            raise AssertionError(f"the endpoint ended with {self.child.returncode}: {errors}")
        super().__init__(f"http://127.0.0.1:{json.loads(line)['port']}")

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Send a signal and wait; return the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(number)
        self.child.communicate(timeout=timeout_s)
        return self.child.returncode
