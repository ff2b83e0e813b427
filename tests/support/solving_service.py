"""The simulated solving service as a process, for tests that want a real one over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import msgspec


class SolvingServiceProcess:
    """A running simulator and its operator's side."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> dict[str, Any]:
        """Ask a control page."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/control/{path}") as response:
            found: dict[str, Any] = await response.json()
            return found

    async def behave(self, vendor: str, **behaviour: Any) -> None:
        """Say how a vendor behaves from now on."""
        body = {"vendor": vendor, **behaviour}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/control/behaviour", json=body) as response,
        ):
            assert response.status == 200, await response.text()

    async def charges(self) -> list[dict[str, Any]]:
        """Return every charge so far."""
        found: list[dict[str, Any]] = (await self.get("charges"))["charges"]
        return found


@contextmanager
def solving_service(*arguments: str) -> Iterator[SolvingServiceProcess]:
    """Start a simulator on a free port; end it by its process at the end."""
    command = [sys.executable, "-m", "tidegate_cli.simulator", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield SolvingServiceProcess(msgspec.json.decode(line)["port"])
        finally:
            process.terminate()
