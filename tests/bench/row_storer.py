"""The storer's row: pages from Kafka to ClickHouse, against inserting the same rows and nothing else."""

import asyncio
import functools
import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median

import clickhouse_connect
import msgspec
import psutil
from bench.corpus import page
from bench.report import RowSpec, Spec
from bench.rig import Rig, cpu_s, put, resident_mb
from clickhouse_connect.driver.client import Client
from multidict import CIMultiDict
from tidegate.clock import SystemClock
from tidegate.outcome import Outgoing
from tidegate.records import Inbound, Job, JobState, Origin, PageMeta, UrlJob, decoder
from tidegate.topics import Topic
from tidegate_cli.stack.stack import Stack
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.pages import PageWriter
from tidegate_storer.parsed import from_fields
from tidegate_storer.parsers import PageInfo, parse_html
from tidegate_storer.rows import Write, body_write, page_writes
from tidegate_storer.tables import BODIES, OUTCOMES, PAGES, Table
from yarl import URL

COUNT = 8_000
_ROUNDS = 3
_SITES = 64
_BATCH = 1_000
# The client inserts everything twice, which takes it about as long as the storer takes for once.
_TIMES = 2
# Merges come and go: the engine is taken to rest after so many looks without one.
_LOOK_S, _QUIET_LOOKS, _MERGED_WITHIN_S = 0.2, 5, 30.0
_META = decoder(PageMeta)
_TABLES = (BODIES, PAGES, OUTCOMES)
SPEC = RowSpec(
    name="storer",
    title="pages of 29 KB into ClickHouse's engine (chdb on disk, behind HTTP)",
    how="The storer, its parsing on (two worker processes, the default parser), reads pages from Kafka and "
    "writes `bodies`, `pages_log` and `outcomes`; counted from its first batch to its last full one. The "
    "peer inserts the same rows into the same tables of another database of the same engine with "
    "clickhouse-connect: columns built beforehand, 1,000 rows an insert, one insert after the other. Both by "
    f"wall clock. They take turns: {_ROUNDS} rounds after one that is not counted, in each {COUNT:,} pages "
    "by the storer and then, twice over to last about as long, by the client in blocks of its own choice; "
    "neither is started anew, both keep their rows, and each begins when the engine has merged nothing for a "
    "second. A figure is the median over rounds: slow minutes cancel out. The storer needs both cores and "
    "the client hardly more than one, so a machine that has less to give makes the ratio worse.",
    figures=(
        Spec("storer ÷ raw insert", "", "higher", must=0.5, aim=0.8),
        Spec("storer", "pages/s", "higher"),
        Spec("raw columnar insert", "rows/s", "higher"),
        Spec("storer, CPU with its parsers", "µs/page", "lower"),
        Spec("ClickHouse, CPU for the storer", "µs/page", "lower"),
        Spec("ClickHouse, CPU for the raw insert", "µs/page", "lower"),
        Spec("storer, most memory with its parsers", "MiB", "lower", must=300.0),
    ),
)


@functools.cache
def records() -> list[Outgoing]:
    """Return pages as the fetcher writes them, all different; made once."""
    return list(_pages())


def _pages() -> Iterator[Outgoing]:
    writer = PageWriter(1)
    now = SystemClock().wall_ms()
    for number in range(COUNT):
        site = f"shop-{number % _SITES}.example"
        url = f"https://{site}/p/{number}"
        state = JobState(
            run="bench",
            id=f"{number:07d}",
            site=site,
            origin=Origin(topic=Topic.URLS, partition=0, offset=number, timestamp_ms=now),
            accepted_at_ms=now,
        )
        response = Response(
            url=URL(url),
            status=200,
            headers=CIMultiDict({"Content-Type": "text/html; charset=utf-8", "Server": "bench"}),
            body=page(number),
            jar=(),
            redirects=0,
            elapsed_ms=20,
            wire_bytes=29_000,
        )
        job = Job(url.encode(), state)
        yield writer.page(job, UrlJob(url=url), response, URL(url), fetched_at_ms=now)


def rows(written: list[Outgoing]) -> Iterator[tuple[Write, ...]]:
    """Yield the rows that the storer makes of the records."""
    for number, record in enumerate(written):
        headers = dict(record.headers)
        meta = _META.decode(headers["tidegate-page"])
        state = msgspec.json.decode(headers["tidegate-job"], type=JobState)
        inbound = Inbound(
            topic=Topic.PAGES,
            partition=number % 12,
            offset=number,
            timestamp_ms=state.accepted_at_ms,
            key=None,
            value=b"",
            headers=headers,
        )
        body = page(number)
        info = PageInfo(url=meta.final_url, content_type=meta.content_type, charset=meta.charset)
        parsed = from_fields(parse_html(body, info))
        yield (body_write(state, meta, body), *page_writes(inbound, state, meta, parsed))


_Insert = tuple[Table, list[tuple[object, ...]]]


@functools.cache
def inserts() -> list[_Insert]:
    """Return the rows of all pages as columns, each insert with its table; made once."""
    made: list[_Insert] = []
    every = list(rows(records()))
    for start in range(0, COUNT, _BATCH):
        batch = every[start : start + _BATCH]
        for index, table in enumerate(_TABLES):
            made.append((table, list(zip(*(each[index].row for each in batch), strict=True))))
    return made


def settle(stack: Stack) -> None:
    """Wait until the engine merges nothing for a second, half a minute at most.

    What one side left to be merged must not slow the other one down.
    """
    clock = SystemClock()
    client = connected(stack)
    until = clock.monotonic() + _MERGED_WITHIN_S
    quiet = 0
    while quiet < _QUIET_LOOKS and clock.monotonic() < until:
        merging = client.query("SELECT count() FROM system.merges").result_rows[0][0]
        quiet = 0 if merging else quiet + 1
        time.sleep(_LOOK_S)
    client.close()


def connected(stack: Stack) -> Client:
    """Return a client of the engine."""
    return clickhouse_connect.get_client(dsn=stack.clickhouse_url, username=stack.settings.clickhouse.user)


def insert_raw(stack: Stack, number: int) -> float:
    """Insert the rows by the client alone, in a database of its own; return seconds.

    The rows of earlier rounds stay, as the storer's do, so neither leaves its merges to nobody.
    """
    client = connected(stack)
    ours = stack.settings.clickhouse.database
    client.command("CREATE DATABASE IF NOT EXISTS raw")
    for table in _TABLES:
        client.command(f"CREATE TABLE IF NOT EXISTS raw.{table.name} AS {ours}.{table.name}")
    clock = SystemClock()
    began = clock.monotonic()
    for batch, (table, columns) in enumerate(inserts() * _TIMES):
        client.insert(
            table.name,
            columns,
            database="raw",
            column_names=table.names,
            column_type_names=table.types,
            column_oriented=True,
            # The same rows again would be taken for an insert that is sent twice, and left out.
            settings={"insert_deduplication_token": f"{number}/{batch}"},
        )
    took = clock.monotonic() - began
    client.close()
    return took


def stored(log: Path) -> list[tuple[float, int]]:
    """Return the moment and the number of pages of each batch that the storer wrote."""
    batches = []
    for line in log.read_text().splitlines():
        if line.startswith("{") and '"batch_stored"' in line:
            event = json.loads(line)
            batches.append((datetime.fromisoformat(event["timestamp"]).timestamp(), event["records"]))
    return batches


async def one_round(stack: Stack, number: int) -> dict[str, float]:
    """Store all pages once, insert them ``_TIMES`` times."""
    engine, storer = stack.process("clickhouse").pid, stack.process("storer")
    earlier = len(stored(storer.log_path))
    await asyncio.to_thread(settle, stack)
    # It stands still meanwhile, for less than its session lasts.
    process = psutil.Process(storer.pid)
    process.suspend()
    try:
        await put(stack.bootstrap, stack.settings.kafka.prefix, records())
    finally:
        process.resume()
    before, own_before, seen, most = cpu_s(engine), cpu_s(storer.pid), 0, 0.0
    async with asyncio.timeout(120):
        while seen < COUNT:
            # Not oftener: the kernel stops the process while it counts its pages.
            most = max(most, resident_mb(storer.pid))
            await asyncio.sleep(1.0)  # noqa: TID251 -- real processes, real time
            batches = stored(storer.log_path)[earlier:]
            seen = sum(count for _, count in batches)
    own, of_engine = cpu_s(storer.pid) - own_before, cpu_s(engine) - before
    await asyncio.to_thread(settle, stack)
    before = cpu_s(engine)
    raw_s = await asyncio.to_thread(insert_raw, stack, number)
    raw_cpu = cpu_s(engine) - before
    # The last batch waited for its age, not for its pages.
    full = batches[:-1]
    rate = sum(count for _, count in full[1:]) / (full[-1][0] - full[0][0])
    raw = _TIMES * COUNT / raw_s
    return {
        "storer ÷ raw insert": rate / raw,
        "storer": rate,
        "raw columnar insert": raw,
        "storer, CPU with its parsers": own / COUNT * 1e6,
        "ClickHouse, CPU for the storer": of_engine / COUNT * 1e6,
        "ClickHouse, CPU for the raw insert": raw_cpu / (_TIMES * COUNT) * 1e6,
        "storer, most memory with its parsers": most,
    }


async def measure(rig: Rig) -> dict[str, float]:
    """Take turns."""
    await asyncio.to_thread(inserts)
    env = {"TIDEGATE_TELEMETRY__LOG_LEVEL": "debug"}
    async with rig.stack(services=(("storer", 1),), env=env) as stack:
        # One not counted: the client's first insert imports what it finds installed.
        await one_round(stack, -1)
        rounds = [await one_round(stack, number) for number in range(_ROUNDS)]
    return {name: median(each[name] for each in rounds) for name in rounds[0]}
