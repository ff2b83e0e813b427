"""A crawl under kills: submit to a running stack, kill its services by a seeded schedule, judge the views."""

import asyncio
import json
import random
import signal
from collections.abc import Iterable
from typing import Any
from urllib.request import urlopen

import clickhouse_connect
import msgspec
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver import Client
from support.oracle import Outcome
from tidegate.sites import partition_of, site_of
from tidegate_cli.stack.stack import Stack


class Kill(msgspec.Struct, frozen=True):
    """One kill: of whom, and how long after the previous one of the same service, in seconds."""

    service: str
    after_s: float


def schedule(seed: int, services: Iterable[str], kills: int) -> list[Kill]:
    """Return ``kills`` kills of each service, at moments that a seed decides."""
    chance = random.Random(seed)
    return [Kill(service, round(chance.uniform(0.3, 2.0), 3)) for service in services for _ in range(kills)]


async def carry_out(stack: Stack, kills: list[Kill]) -> int:
    """Kill and restart each service by its part of the schedule, all services at once; count the kills."""

    async def one(service: str) -> int:
        done = 0
        for kill in kills:
            if kill.service == service:
                await asyncio.sleep(kill.after_s)  # noqa: TID251 -- real processes, real time
                stack.kill(service, signal.SIGKILL)
                await stack.restart(service)
                done += 1
        return done

    services = sorted({kill.service for kill in kills})
    return sum(await asyncio.gather(*(one(service) for service in services)))


async def submit(stack: Stack, run: str, urls: list[str], *, per_second: float, first: int = 0) -> list[str]:
    """Produce one job a URL with an explicit id, counted from ``first`` on, at a pace; return the ids."""
    kafka = stack.settings.kafka
    # A busy machine is no fault: what is sent twice has the same id.
    producer = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all", request_timeout_ms=300_000)
    await producer.start()
    ids = []
    try:
        for number, url in enumerate(urls, first):
            job_id, site = f"{number:06d}", site_of(url)
            ids.append(job_id)
            await producer.send_and_wait(
                kafka.prefix + "urls",
                json.dumps({"url": url, "id": job_id, "run": run}).encode(),
                key=site.encode(),
                partition=partition_of(site.encode(), kafka.partitions),
            )
            await asyncio.sleep(1 / per_second)  # noqa: TID251 -- real processes, real time
    finally:
        await producer.stop()
    return ids


def views(stack: Stack) -> Client:
    """Return a client of the stack's ClickHouse."""
    settings = stack.settings.clickhouse
    return clickhouse_connect.get_client(
        dsn=stack.clickhouse_url, username=settings.user, database=settings.database
    )


def outcomes(client: Client, run: str) -> list[Outcome]:
    """Read every outcome of a run from the public views, with the digest of each stored body."""
    pages = client.query(
        "SELECT id, lower(hex(SHA256(body))) FROM pages_with_bodies WHERE run = {run:String}",
        parameters={"run": run},
    ).result_rows
    dead = client.query(
        "SELECT id FROM dead_letters WHERE run = {run:String}", parameters={"run": run}
    ).result_rows
    return [Outcome("pages", row[0], row[1]) for row in pages] + [
        Outcome("dead_letters", row[0]) for row in dead
    ]


async def settled(client: Client, run: str, count: int, *, within_s: float) -> None:
    """Wait until the run has as many outcomes as jobs, or the time is up: the oracle says what is missing."""
    query = "SELECT count() FROM jobs WHERE run = {run:String}"
    for _ in range(int(within_s)):
        rows = await asyncio.to_thread(client.query, query, {"run": run})
        if rows.result_rows[0][0] >= count:
            return
        await asyncio.sleep(1)  # noqa: TID251 -- real processes, real time


def get_text(url: str) -> str:
    """GET a text of the demo site or the simulated service."""
    with urlopen(url, timeout=30) as response:
        text: bytes = response.read()
    return text.decode()


def get_json(url: str) -> Any:
    """GET a JSON document of the demo site or the simulated service."""
    return json.loads(get_text(url))
