"""The demo's row: from `tidegate demo` to the first page that can be queried."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import aiohttp
from bench.report import RowSpec, Spec
from bench.rig import Rig
from tidegate_cli.stack.folder import addresses

SPEC = RowSpec(
    name="demo",
    title="seconds from `tidegate demo` to the first page row",
    how="The installed command with a folder of its own, the embedded stack and the demo site; from the "
    "start of the process until a query of the view `pages` finds a row. By wall clock.",
    figures=(Spec("first page row", "s", "lower", must=15.0, aim=5.0),),
)
_PATIENCE_S = 90.0


async def measure(rig: Rig) -> dict[str, float]:
    """Start one and look until there is a row."""
    _, folder = rig.fresh()
    loop = asyncio.get_running_loop()
    began = loop.time()
    demo = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("tidegate")),
        *("demo", "--pages", "40", "--data", str(folder)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S), aiohttp.ClientSession() as session:
            while not await _has_page(session, folder):  # noqa: ASYNC110 -- processes have no event
                await asyncio.sleep(0.05)  # noqa: TID251 -- real processes, real time
        took = loop.time() - began
    finally:
        with contextlib.suppress(ProcessLookupError):
            demo.send_signal(signal.SIGINT)
        await demo.wait()
    return {"first page row": took}


async def _has_page(session: aiohttp.ClientSession, folder: Path) -> bool:
    stack = addresses(folder)
    if stack is None:
        return False
    try:
        async with session.post(stack.clickhouse_url, data="SELECT count() FROM tidegate.pages") as answer:
            return answer.status == 200 and int(await answer.text()) > 0
    except aiohttp.ClientError:
        return False
