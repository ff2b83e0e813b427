"""The work of ``tidegate demo``, with everything heavy imported."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError

from tidegate_cli.commands._crawl import choose_broker, data_dir, run_crawl
from tidegate_cli.commands._execute import Place
from tidegate_cli.commands._names import run_name
from tidegate_cli.crawl.demo_check import Served, check_bodies, choose
from tidegate_cli.crawl.progress import Patience
from tidegate_cli.crawl.report import DemoChecks
from tidegate_cli.crawl.session import CrawlOptions, service_env
from tidegate_cli.crawl.source import Source
from tidegate_cli.installation import by_address
from tidegate_cli.stack.options import DEFAULT_SERVICES, StackOptions
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.stack import Stack
from tidegate_cli.warehouse import Warehouse

_MAX_DEAD_SHARE = 0.0
_TIMEOUT = aiohttp.ClientTimeout(total=60)


async def demo_main(
    *,
    pages: int | None,
    as_json: bool,
    keep: bool,
    data: Path | None,
    broker: str | None,
    timeout_s: float | None,
    place: Place,
) -> int:
    """Start everything, crawl the demo site, compare the bodies, and return the exit code."""
    clock = SystemClock()
    since_start_s = clock.monotonic() - place.started_s
    run = run_name("demo")
    bootstrap, clickhouse_url = by_address()
    chosen_broker = choose_broker(broker, bootstrap)
    place.data = data_dir(data, run)
    demo_port = PortPool().take()
    env = service_env(allow_private=True, solve=(f"{HOST}:{demo_port}",), environment=os.environ)
    stack = StackOptions(
        services=(*DEFAULT_SERVICES, ("monitor", 1)),
        data_dir=place.data,
        broker=chosen_broker,
        clickhouse_url=clickhouse_url,
        # Somebody waits for the first page, and there are few: small batches cost nothing.
        env={**env, "TIDEGATE_STORER__BATCH_AGE_S": "0.3"},
        simulator=True,
        demo_site=True,
        demo_port=demo_port,
        demo_whole=True,
    )
    demo = _Demo(place.data, pages)
    options = CrawlOptions(
        run=run,
        stack=stack,
        prepare=demo.prepare,
        check=demo.check,
        keep=keep,
        patience=Patience(timeout_s=timeout_s),
        since_start_s=since_start_s,
    )
    return await run_crawl(options, clock, place, as_json=as_json, max_dead_share=_MAX_DEAD_SHARE)


class _Demo:
    """The demo's own part of a crawl: which pages, and whether they arrived as they were served."""

    def __init__(self, data: Path, pages: int | None) -> None:
        self._data = data
        self._pages = pages
        self._challenges: tuple[str, ...] = ()

    async def prepare(self, stack: Stack) -> tuple[Source, ...]:
        """Write the URLs to crawl into a file."""
        served = await _manifest(stack)
        urls = (await _get(stack, "/urls.txt")).decode().split()
        by_url = {f"{stack.demo_url}{page.path}": page for page in served}
        chosen = choose(urls, {url: page.challenge for url, page in by_url.items()}, self._pages)
        if self._pages is not None and len(chosen) < self._pages:
            raise ConfigurationError(f"The demo site has {len(urls)} pages; --pages asks for {self._pages}.")
        self._challenges = tuple({name for url in chosen if (name := by_url[url].challenge) is not None})
        path = self._data / "demo-urls.txt"
        await asyncio.to_thread(path.write_text, "".join(f"{url}\n" for url in chosen))
        return (Source("urls.txt", path),)

    async def check(self, stack: Stack, db: Warehouse, run: str) -> DemoChecks:
        """Compare every stored body with what the site says it served."""
        served = {f"{stack.demo_url}{page.path}": page for page in await _manifest(stack)}
        return await check_bodies(db, run, served, self._challenges)


async def _manifest(stack: Stack) -> tuple[Served, ...]:
    manifest: Mapping[str, Any] = msgspec.json.decode(await _get(stack, "/manifest.json"))
    return tuple(msgspec.convert(page, Served) for page in manifest["pages"])


async def _get(stack: Stack, path: str) -> bytes:
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.get(f"{stack.demo_url}{path}") as response,
    ):
        response.raise_for_status()
        return await response.read()
