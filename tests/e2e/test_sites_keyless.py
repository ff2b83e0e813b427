"""One request at a time to a site, whichever partitions its jobs came on and whoever of the fetchers goes."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from support.kafka import Broker, ignore
from support.runtime import until
from tidegate.clock import SystemClock
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.stack import Stack, running_stack

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

PARTITIONS = 4
FETCHERS = 4
_PAGES = 30
_ANSWER_S = 0.025


class Counting:
    """A site that counts who is being served; its robots.txt is a request as any other."""

    def __init__(self) -> None:
        self.most_at_once = 0
        self.served: list[str] = []
        self.peers: list[int] = []
        self._at_once = 0
        self._clock = SystemClock()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with a page, late enough that two at once would meet here."""
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername")[1])
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._clock.sleep(_ANSWER_S)
        finally:
            self._at_once -= 1
        self.served.append(request.path)
        found = request.path != "/robots.txt"
        return web.Response(
            text="<!DOCTYPE html><title>Page</title>", content_type="text/html", status=200 if found else 404
        )


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[Counting, str]]:
    """Serve the site; yields it and its base URL."""
    site = Counting()
    runner = web.ServerRunner(web.Server(site.serve, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield site, f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def with_kcat(bootstrap: str, topic: str, urls: list[str]) -> None:
    """Produce each URL as a line of kcat's input; without a key each goes to a partition by chance."""
    chance = ("-X", "sticky.partitioning.linger.ms=0")
    command = ["kcat", "-P", "-b", bootstrap, "-t", topic, *chance]
    lines = "".join(f"{url}\n" for url in urls).encode()
    await asyncio.to_thread(subprocess.run, command, input=lines, check=True, timeout=60)


async def in_turn(bootstrap: str, topic: str, urls: list[str]) -> None:
    """Produce each URL without a key, to one partition after the other."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number, url in enumerate(urls):
            await producer.send_and_wait(topic, url.encode(), partition=number % PARTITIONS)


def fetcher_of(stack: Stack, port: int) -> str:
    """Return which fetcher a connection's port belongs to, empty where none has it any more."""
    for child in stack.processes:
        if child.name.startswith("fetcher") and child.running:
            connections = psutil.Process(child.pid).net_connections("tcp")
            if port in {each.laddr.port for each in connections}:
                return child.name
    return ""


async def test_a_site_of_concurrency_one_is_asked_once_at_a_time_while_fetchers_join_and_leave(
    tmp_path: Path, kafka: Broker, topic_prefix: str
) -> None:
    """Keyless URLs are forwarded to the site's own partition, and who gives it up drains it first (S1)."""
    options = StackOptions(
        data_dir=tmp_path / "data",
        services=(("fetcher", FETCHERS), ("storer", 1)),
        partitions=PARTITIONS,
        env={
            "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
            "TIDEGATE_FETCHER__SITE_CONCURRENCY": "1",
            "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "3",
        },
        broker=kafka.bootstrap,
        prefix=topic_prefix,
    )
    produce = with_kcat if shutil.which("kcat") else in_turn
    async with counting() as (site, base), running_stack(options, ignore) as stack:
        last = f"fetcher-{FETCHERS}"
        await stack.stop(last)
        urls: list[str] = []

        async def feed(left: int) -> str:
            """Submit some, wait until no more than so many are left; return who came last."""
            some = [f"{base}/{len(urls) + number}" for number in range(_PAGES)]
            urls.extend(some)
            await produce(stack.bootstrap, topic_prefix + "urls", some)
            enough = len(urls) - left
            await until(lambda: len({*site.served} - {"/robots.txt"}) >= enough, seconds=120)
            return await asyncio.to_thread(fetcher_of, stack, site.peers[-1])

        async def feed_during(change: Coroutine[None, None, None]) -> None:
            async with asyncio.TaskGroup() as tasks:
                changing = tasks.create_task(change)
                while not changing.done():
                    await feed(_PAGES // 2)

        await feed(_PAGES // 2)
        await feed_during(stack.restart(last))
        before = await feed(_PAGES // 2)
        await feed_during(stack.stop(before))
        after = await feed(0)
    assert site.most_at_once == 1
    assert after != before
    assert {base + path for path in site.served} - {f"{base}/robots.txt"} == set(urls)
