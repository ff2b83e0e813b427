"""Headless Chromium for tests, by its debugging protocol; nothing else is needed for what is asked of it."""

import asyncio
import base64
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from tidegate.clock import SystemClock

PROGRAM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_START_TIMEOUT_S = 60.0
_CLOCK = SystemClock()


class Tab:
    """One page. ``said`` collects what it writes to its console and every exception."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.session = ""
        self.said: list[str] = []

    async def read(self) -> None:
        """Read what the browser says until it is gone."""
        async for message in self._socket:
            told = message.json()
            if waiting := self._waiting.pop(told.get("id", -1), None):
                waiting.set_result(told)
            if told.get("method") in {
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            }:
                self.said.append(str(told["params"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._next += 1
        waiting = self._waiting[self._next] = asyncio.get_running_loop().create_future()
        request: dict[str, Any] = {"id": self._next, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        await self._socket.send_json(request)
        async with asyncio.timeout(30):
            answer = await waiting
        assert "error" not in answer, (method, answer)
        return dict(answer["result"])

    async def show(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open an address in a window of this size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str, timeout_s: float = 20.0) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(timeout_s):
            while not await self.evaluate(expression):
                await _CLOCK.sleep(0.1)

    async def picture(self) -> bytes:
        """Return the whole page as PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Tab]:
    """Yield a tab of a browser with a profile of its own."""
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not (found := re.search(rb"ws://\S+", line := await process.stderr.readline())):
                assert line, "Chromium ended"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(found[0].decode(), max_msg_size=0) as socket,
            asyncio.TaskGroup() as group,
        ):
            tab = Tab(socket)
            reading = group.create_task(tab.read())
            made = await tab.call("Target.createTarget", url="about:blank")
            attached = await tab.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
            tab.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                await tab.call(f"{domain}.enable")
            yield tab
            reading.cancel()
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined] # else its pipe is closed at collection
