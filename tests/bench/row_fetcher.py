"""The fetcher's row: the whole service on pages from loopback, against Scrapy on the same pages."""

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from bench.pageserver import address
from bench.report import RowSpec, Spec
from bench.rig import Ends, Rig, cpu_s, environment, put, resident_mb, run_module
from tidegate.outcome import Outgoing
from tidegate.topics import Topic

ROUNDS = 5
PAGES = 2_000
_PEERS = 1_500
_WARM_UP = 1_000
_SITES = 64
_SCRAPY = Path(__file__).parents[2] / ".cache" / "bench" / "bin" / "python"
# Machines differ, and so does one machine from hour to hour: a budget in µs needs a yardstick.
BUDGET_SCRAPY_US = 1910.0
SPEC = RowSpec(
    name="fetcher",
    title="the whole fetcher on pages of 29 KB",
    how=f"URLs of {_SITES} sites on the intake topic; the service as it is run (its log to a file, traces "
    "at 1 % sent by OTLP, detection, zstd, every page produced with all acknowledgements, offsets "
    "committed); the web server is another process on loopback. They take turns: "
    f"{ROUNDS} rounds, in each {_PEERS:,} pages by Scrapy and then {PAGES:,} by the fetcher, whose CPU "
    f"time is counted from an empty topic to the last page, after {_WARM_UP:,} pages of warm-up. A figure "
    "is the median over rounds: slow minutes cancel out. Scrapy runs in an environment of its own, with "
    "as many sites and requests at once, yields items and stores nothing. The budget was set where Scrapy "
    f"takes {BUDGET_SCRAPY_US:,.0f} µs a page; the first figure is the fetcher's time in proportion to that.",
    figures=(
        Spec("fetcher, where Scrapy takes its 1,910 µs", "µs/page", "lower", must=450.0, aim=300.0),
        Spec("fetcher, here", "µs/page", "lower"),
        Spec("pages per CPU second, fetcher ÷ Scrapy", "", "higher", must=4.0, aim=6.0),
        Spec("Scrapy, here", "µs/page", "lower"),
        Spec("fetcher, by wall clock", "pages/s", "higher"),
        Spec("fetcher, most memory", "MiB", "lower", must=300.0),
    ),
)


@asynccontextmanager
async def page_server() -> AsyncIterator[int]:
    """Run the web server; yield its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.pageserver",
        str(_SITES),
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


def jobs(port: int, first: int, count: int) -> Iterator[Outgoing]:
    """Yield bare URLs, as anybody would submit them."""
    for number in range(first, first + count):
        site = f"{address(number % _SITES)}:{port}"
        yield Outgoing(topic=Topic.URLS, site=site, value=f"http://{site}/p/{number}".encode())


class _Round(msgspec.Struct, frozen=True):
    """CPU time a page of both, in µs, and the fetcher's pages a second."""

    own_us: float
    scrapy_us: float
    per_s: float


async def measure(rig: Rig) -> dict[str, float]:
    """Let both fetch by turns."""
    async with page_server() as port:
        env = {
            "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
            "TIDEGATE_TELEMETRY__OTLP_ENDPOINT": f"http://{address(0)}:{port}/v1/traces",
        }
        services = (("fetcher", 1),)
        async with rig.stack(services=services, env=env, clickhouse_url="http://127.0.0.1:9") as stack:
            fetcher = stack.process("fetcher").pid
            prefix = stack.settings.kafka.prefix
            # The fetcher waits for whoever stores its pages.
            async with Ends(stack.bootstrap, prefix + Topic.PAGES, group=f"{prefix}storer") as pages:
                await put(stack.bootstrap, prefix, jobs(port, 0, _WARM_UP))
                await pages.reach(_WARM_UP, 60)
                loop = asyncio.get_running_loop()
                rounds, most, done = list[_Round](), 0.0, _WARM_UP
                for number in range(ROUNDS):
                    scrapy_us = await _scrapy_us(port, rig.folder / f"scrapy-{number}.log")
                    before, began = cpu_s(fetcher), loop.time()
                    await put(stack.bootstrap, prefix, jobs(port, done, PAGES))
                    done += PAGES
                    most = max(most, await pages.reach(done, 120, lambda: resident_mb(fetcher)))
                    own_us = (cpu_s(fetcher) - before) / PAGES * 1e6
                    rounds.append(_Round(own_us, scrapy_us, PAGES / (loop.time() - began)))
    ratio = statistics.median(each.scrapy_us / each.own_us for each in rounds)
    return {
        "fetcher, where Scrapy takes its 1,910 µs": BUDGET_SCRAPY_US / ratio,
        "fetcher, here": statistics.median(each.own_us for each in rounds),
        "pages per CPU second, fetcher ÷ Scrapy": ratio,
        "Scrapy, here": statistics.median(each.scrapy_us for each in rounds),
        "fetcher, by wall clock": statistics.median(each.per_s for each in rounds),
        "fetcher, most memory": most,
    }


async def _scrapy_us(port: int, log: Path) -> float:
    arguments = (str(port), str(_SITES), str(_PEERS))
    return float(await run_module("bench.scrapy_peer", *arguments, log=log, python=str(_SCRAPY)))
