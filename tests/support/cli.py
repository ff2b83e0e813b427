"""Runs the ``tidegate`` command as a person does: as a process, with the terminal's signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import psutil

COMMAND = (sys.executable, "-c", "from tidegate_cli.main import run; run()")
# A bound for what hangs: a minute is what a crawl takes on two busy cores.
PATIENCE_S = 240.0


class Ran(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report: the last line of standard output."""
        fields = json.loads(self.out.strip().splitlines()[-1])
        assert isinstance(fields, dict)
        return fields


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without settings of ours, plus ``extra``."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return {**plain, **(extra or {})}


@contextmanager
def started(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command in a folder; whatever it leaves running at the end is ended."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(env),
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> Ran:
    """Run the command to its end."""
    with started(folder, *arguments, env=env, stdin=stdin) as process:
        out, err = process.communicate(stdin, timeout=PATIENCE_S)
    return Ran(process.returncode, out.decode(), err.decode())


def sql(folder: Path, data: Path, query: str) -> list[dict[str, Any]]:
    """Ask the results of a run through ``tidegate sql``."""
    ran = run(folder, "sql", "--data", str(data), "--format", "JSONEachRow", query)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def descendants(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Return everything that a running command has started."""
    return psutil.Process(process.pid).children(recursive=True)


def still_running(processes: list[psutil.Process]) -> list[str]:
    """Return the command lines of those that live."""
    alive = [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    return [" ".join(each.cmdline()) for each in alive]


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, pages: Mapping[str, bytes], *arguments: Any) -> None:
        self._pages = pages
        super().__init__(*arguments)

    def do_GET(self) -> None:
        body = self._pages.get(self.path)
        self.send_response(404 if body is None else 200)
        body = body or b"<title>Nothing here</title>"
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served(pages: Mapping[str, bytes]) -> Iterator[str]:
    """Serve pages by path on loopback; yields the site's base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, pages)) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
