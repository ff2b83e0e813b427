"""Parsers that die, loop and eat all memory: the storer as a process goes on, and the jobs end with why."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver import Client
from support.campaign import views
from support.kafka import ignore
from support.storer import job_state, page_record
from tidegate.records import Inbound
from tidegate.sites import partition_of
from tidegate.topics import Topic
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

# Job, parser, body, and what its dead letter says; None for a page.
JOBS: tuple[tuple[str, str, bytes, str | None], ...] = (
    ("crash", "crash", b"CRASH", "The parser 'crash' ended with signal 11."),
    ("loop", "loop", b"LOOP", "The parser 'loop' took more than 3 s."),
    ("eat", "eat", b"EAT", "The parser 'eat' needed more than 256 MiB."),
    ("raise", "refuse", b"a secret", "The parser raised ValueError at storer_parsers.py:"),
    ("unknown", "nobody", b"<p>", "There is no parser 'nobody' here."),
    ("deep", "default", b"<title>T</title>" + b"<div>" * 60_000, None),
    *((f"fine-{number}", "crash", b"<title>T</title>", None) for number in range(30)),
)


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the parsers that misbehave as a package does: by entry points."""
    package = tmp_path / "plugins" / "misbehaving-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    points = "\n".join(
        f"{name} = support.storer_parsers:{name}" for name in ("crash", "loop", "eat", "refuse")
    )
    (package / "entry_points.txt").write_text(f"[tidegate.parsers]\n{points}\n")
    tests = Path(__file__).parents[1]
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(tests), before]))


def page(job: str, parser: str, body: bytes) -> Inbound:
    """Return a page as the fetcher writes it."""
    return page_record(job_state(job), body, parser=parser)


async def produce(stack: Stack, records: list[Inbound]) -> None:
    """Put pages on their topic."""
    kafka = stack.settings.kafka
    producer = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
    await producer.start()
    try:
        for record in records:
            await producer.send_and_wait(
                kafka.prefix + Topic.PAGES,
                record.value,
                key=record.key,
                partition=partition_of(record.key or b"", kafka.partitions),
                headers=list(record.headers.items()),
            )
    finally:
        await producer.stop()


async def outcomes(client: Client, count: int) -> dict[str, tuple[str, str]]:
    """Wait until so many jobs have an outcome; return each with what its dead letter says."""
    query = (
        "SELECT jobs.id, jobs.outcome, dead_letters.message FROM jobs "
        "LEFT JOIN dead_letters ON jobs.id = dead_letters.id ORDER BY jobs.id"
    )
    for _ in range(600):
        rows = (await asyncio.to_thread(client.query, query)).result_rows
        if len(rows) >= count and all(row[1] == "page" or row[2] for row in rows):
            return {row[0]: (row[1], row[2]) for row in rows}
        await asyncio.sleep(0.1)  # noqa: TID251 -- real processes, real time
    raise AssertionError(rows)


async def test_parsers_that_misbehave_end_their_pages_jobs_and_nothing_else(tmp_path: Path) -> None:
    """C10, O6: each has its reason, bodies are kept, neighbours are pages, the storer is the same process."""
    options = StackOptions(
        data_dir=tmp_path / "data",
        services=(("storer", 1),),
        partitions=2,
        env={
            # A tenth of a second is what eating all memory takes where nothing else runs.
            "TIDEGATE_STORER__PARSER_TIMEOUT_S": "3",
            "TIDEGATE_STORER__PARSER_MEMORY_MB": "256",
            "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "2",
        },
    )
    async with running_stack(options, ignore) as stack:
        storer = stack.process("storer").pid
        client = views(stack)
        await produce(stack, [page(job, parser, body) for job, parser, body, _ in JOBS])
        found = await outcomes(client, len(JOBS))
        assert {job: outcome for job, (outcome, _) in found.items()} == {
            job: "page" if words is None else "dead_letter" for job, _, _, words in JOBS
        }
        for job, _, _, words in JOBS:
            assert words is None or found[job][1].startswith(words)
        assert "secret" not in found["raise"][1]
        bodies = {row[0] for row in client.query("SELECT body FROM bodies").result_rows}
        assert {body.decode() for _, _, body, _ in JOBS} <= {str(body) for body in bodies}
        assert stack.process("storer").pid == storer
        # Killed while its parsers loop, work and wait: they end with it, without a word.
        more = [page(f"more-{number}", "loop", b"LOOP" if number == 7 else b"<p>") for number in range(40)]
        await produce(stack, more)
        await asyncio.sleep(0.5)  # noqa: TID251 -- real processes, real time
        stack.kill("storer")
        await stack.restart("storer")
        found = await outcomes(client, len(JOBS) + len(more))
        assert found["more-7"] == ("dead_letter", "The parser 'loop' took more than 3 s.")
        assert sum(outcome == "page" for outcome, _ in found.values()) == 31 + 39
        log = (stack.data_dir / "logs" / "storer.log").read_text()
        assert "Traceback" not in log
        assert any(msgspec.json.decode(line).get("event") == "parser_died" for line in log.splitlines())
        client.close()
