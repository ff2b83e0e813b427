"""The telemetry's row: the whole fetcher with everything switched on, against itself with all of it off."""

import statistics
from contextlib import AsyncExitStack

import msgspec
from bench.pageserver import address
from bench.report import RowSpec, Spec
from bench.rig import Ends, Rig, cpu_s, put
from bench.row_fetcher import jobs, page_server
from tidegate.topics import Topic

ROUNDS = 30
PAGES = 500
_WARM_UP = 1_000
_MUST = round(450 / (450 - 30), 2)
SPEC = RowSpec(
    name="telemetry",
    title="what telemetry costs the fetcher",
    how="Two fetchers as they are run, side by side: one with traces at 1 % sent by OTLP, metrics, the "
    "monitor's deltas and its log as JSON to a file, one with none of them (`TRACE_RATIO=0`, `METRICS=off`, "
    f"`STATS=false`, `LOG_LEVEL=error`). They take turns: {ROUNDS} rounds of {PAGES:,} pages of 29 KB each, "
    "now the one first, now the other, only one of them with work at a time. A figure is the median over "
    "rounds of the ratio and of the difference within a round: slow minutes cancel out. The budget, 30 of "
    "the 450 µs that a page may take, is a ratio of 1.07.",
    figures=(
        Spec("telemetry, on ÷ off", "", "lower", must=_MUST),
        Spec("telemetry, all of it", "µs/page", "lower"),
        Spec("fetcher without any", "µs/page", "lower"),
    ),
)
_ON = {"TIDEGATE_TELEMETRY__TRACE_RATIO": "0.01"}
_OFF = {
    "TIDEGATE_TELEMETRY__TRACE_RATIO": "0",
    "TIDEGATE_TELEMETRY__METRICS": "off",
    "TIDEGATE_TELEMETRY__STATS": "false",
    "TIDEGATE_TELEMETRY__LOG_LEVEL": "error",
}


class _Side(msgspec.Struct):
    """One of the two fetchers; ``done`` pages so far."""

    pid: int
    bootstrap: str
    prefix: str
    pages: Ends
    done: int = 0

    async def fetch(self, port: int, count: int) -> float:
        """Let it fetch so many pages; return the CPU time that it took for each, in µs."""
        before = cpu_s(self.pid)
        await put(self.bootstrap, self.prefix, jobs(port, self.done, count))
        self.done += count
        await self.pages.reach(self.done, 120)
        return (cpu_s(self.pid) - before) / count * 1e6


async def measure(rig: Rig) -> dict[str, float]:
    """Let both fetch by turns."""
    async with page_server() as port, AsyncExitStack() as stack:
        sent = {"TIDEGATE_TELEMETRY__OTLP_ENDPOINT": f"http://{address(0)}:{port}/v1/traces"}
        with_it = await _side(rig, stack, {**_ON, **sent})
        without = await _side(rig, stack, _OFF)
        for side in (with_it, without):
            await side.fetch(port, _WARM_UP)
        rounds = []
        for number in range(ROUNDS):
            took = {}
            for side in (with_it, without) if number % 2 else (without, with_it):
                took[side is with_it] = await side.fetch(port, PAGES)
            rounds.append((took[True], took[False]))
    return {
        "telemetry, on ÷ off": statistics.median(on / off for on, off in rounds),
        "telemetry, all of it": statistics.median(on - off for on, off in rounds),
        "fetcher without any": statistics.median(off for _, off in rounds),
    }


async def _side(rig: Rig, stack: AsyncExitStack, telemetry: dict[str, str]) -> _Side:
    env = {"TIDEGATE_FETCHER__ALLOW_PRIVATE": "true", **telemetry}
    services = (("fetcher", 1),)
    # The fetcher waits for whoever stores its pages: `Ends` commits as if it did.
    running = await stack.enter_async_context(
        rig.stack(services=services, env=env, clickhouse_url="http://127.0.0.1:9")
    )
    prefix = running.settings.kafka.prefix
    pages = await stack.enter_async_context(
        Ends(running.bootstrap, prefix + Topic.PAGES, group=f"{prefix}storer")
    )
    return _Side(running.process("fetcher").pid, running.bootstrap, prefix, pages)
