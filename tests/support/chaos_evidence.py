"""What a campaign left behind: rows, charges, journal and log, read once the dust has settled."""

import asyncio
from collections import defaultdict
from typing import Any

import clickhouse_connect
import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from support.campaign import get_json
from support.chaos_rig import Rig
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.records import DEFAULT_RUN, HEADER_JOB
from tidegate.settings import KafkaSettings
from tidegate.topics import LANES, Topic
from tidegate_solver.journal_log import read_entry


class PageRow(msgspec.Struct, frozen=True):
    """A row of the public view of pages; ``body`` is the SHA-256 of the stored body."""

    id: str
    url: str
    status: int
    body: str


class DeadRow(msgspec.Struct, frozen=True):
    """A row of the public view of dead letters."""

    id: str
    url: str
    reason: str
    message: str


class Charge(msgspec.Struct, frozen=True):
    """A charge of the solving service: for which task, made for a challenge of which page."""

    task_id: str
    url: str


class SolveRow(msgspec.Struct, frozen=True):
    """A row of the public view of solves."""

    request_id: str
    job_id: str
    task_id: str
    cost: float
    error_code: str
    status: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        strays: Outcomes of the run that nobody named, where records that are no jobs end.
        strays_submitted: Records in the intake log that are no jobs.
        tasks: Ids of the tasks that journal and solves know, by request.
        charges: What the solving service charged.
        log_rows: Rows in the tables behind the views, by table, duplicates not merged yet included.
        overruled: Dead letters that a page of the same job beat.
    """

    pages: list[PageRow]
    dead: list[DeadRow]
    strays: list[DeadRow]
    stray_pages: int
    strays_submitted: int
    solves: list[SolveRow]
    tasks: dict[str, set[str]]
    charges: list[Charge]
    log_rows: dict[str, int]
    overruled: int


async def gather(rig: Rig, run: str) -> Evidence:
    """Read everything. ClickHouse is asked directly, past the proxy."""
    rows = await asyncio.to_thread(_rows, rig.clickhouse_url, run)
    charges: Any = await asyncio.to_thread(get_json, f"{rig.simulator_url}/control/charges")
    tasks = await _journalled(rig.kafka_settings)
    for request_id, task_id in rows.pop("raw_tasks"):
        tasks[request_id].add(task_id)
    return Evidence(
        **rows,
        strays_submitted=await _no_jobs(rig.kafka_settings),
        tasks=dict(tasks),
        charges=[Charge(charge["task_id"], charge["url"]) for charge in charges["charges"]],
    )


def _rows(url: str, run: str) -> dict[str, Any]:
    client = clickhouse_connect.get_client(dsn=url, username="default", database="tidegate")

    def ask(sql: str, run: str = run) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.query(sql, parameters={"run": run}).result_rows]

    where = "WHERE run = {run:String}"
    dead = f"SELECT id, url, reason, message FROM dead_letters {where}"
    counts = {
        table: int(ask(f"SELECT count() FROM {table} {where}")[0][0])
        for table in ("pages_log", "dead_letters_log", "solves_log")
    }
    overruled = f"SELECT uniqExact(id) FROM dead_letters_log {where} AND id IN (SELECT id FROM pages {where})"
    return {
        "pages": [
            PageRow(*row)
            for row in ask(f"SELECT id, url, status, lower(hex(SHA256(body))) FROM pages_with_bodies {where}")
        ],
        "dead": [DeadRow(*row) for row in ask(dead)],
        "strays": [DeadRow(*row) for row in ask(dead, DEFAULT_RUN)],
        "stray_pages": int(ask(f"SELECT count() FROM pages {where}", DEFAULT_RUN)[0][0]),
        "solves": [
            SolveRow(*row)
            for row in ask(
                f"SELECT request_id, job_id, task_id, cost, error_code, status FROM solves {where}"
            )
        ],
        "raw_tasks": ask(f"SELECT DISTINCT request_id, task_id FROM solves_log {where} AND task_id != ''"),
        "log_rows": counts,
        "overruled": int(ask(overruled)[0][0]),
    }


async def _journalled(settings: KafkaSettings) -> dict[str, set[str]]:
    """Return the task ids that each request ever had in the journal."""
    found: dict[str, set[str]] = defaultdict(set)
    reader = KafkaReader(settings)
    for partition in range(settings.partitions):
        async for record in reader.read(Topic.CAPTCHA_TASKS, partition):
            request_id, entry = read_entry(record)
            if entry is not None and entry.task_id is not None:
                found[request_id].add(entry.task_id)
    return found


async def _no_jobs(settings: KafkaSettings) -> int:
    """Count the records in the intake log that no producer of ours wrote and that name no job."""
    names = [settings.prefix + topic for topic in LANES.values()]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(name, n) for name in names for n in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        count = 0
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                batches = await consumer.getmany(partition, timeout_ms=500)
                for record in batches.get(partition, ()):
                    ours = any(name == HEADER_JOB for name, _ in record.headers)
                    count += not ours and b'"id"' not in (record.value or b"")
        return count
    finally:
        await consumer.stop()
