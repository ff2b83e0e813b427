"""Parsers in their worker processes: what crashes, hangs or eats harms nothing but its own page (C10)."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import psutil
import pytest
import zstandard
from support.storer import FakeClickHouse, job_state, page_record, storing, until
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError, RecordError
from tidegate.events import Event
from tidegate.outcome import Done
from tidegate_storer import events
from tidegate_storer.parsed import Parsed, ParseFailed
from tidegate_storer.parser_pool import ParserPool
from tidegate_storer.parsers import PageInfo, installed

PAGE = PageInfo(url="https://a.example/", content_type="text/html")
HTML = b"<title>fine</title>"
_NAMES = ("crash", "loop", "eat", "refuse", "unwritable", "killed_once", "process_id")
_TESTS = str(Path(__file__).parents[1])


class Pool:
    """A running pool and what it said."""

    def __init__(self, pool: ParserPool, said: list[Event]) -> None:
        self.pool = pool
        self.said = said

    async def parse(self, parser: str, body: bytes = HTML) -> Parsed | ParseFailed:
        """Parse one page."""
        return await self.pool.parse(parser, PAGE, body)

    def died(self) -> int:
        """Return how many processes died."""
        return sum(isinstance(event, events.ParserDied) for event in self.said)


@asynccontextmanager
async def running(
    *, workers: int = 1, timeout_s: float = 60.0, registry: dict[str, str] | None = None
) -> AsyncIterator[Pool]:
    """Run a pool with the parsers that misbehave."""
    bad = {name: f"support.storer_parsers:{name}" for name in _NAMES}
    said: list[Event] = []
    pool = ParserPool(
        workers=workers,
        timeout_s=timeout_s,
        memory_mb=256,
        registry=registry or {**installed(), **bad},
        clock=SystemClock(),
        emit=said.append,
    )
    async with pool.running():
        yield Pool(pool, said)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker processes import the parsers of the tests."""
    monkeypatch.setenv("PYTHONPATH", _TESTS)
    monkeypatch.setenv("TIDEGATE_CLICKHOUSE__PASSWORD", "hunter2")


async def test_the_default_parser_is_installed_and_parses() -> None:
    """It is found as an entry point, as anybody's is."""
    async with running(registry=installed()) as pool:
        parsed = await pool.parse("default")
    assert isinstance(parsed, Parsed)
    assert parsed.title == "fine"


@pytest.mark.parametrize(
    ("field", "number"), [("status", 10**30), ("status", 2**31 - 1), ("length", -5), ("challenges", 10**30)]
)
async def test_no_number_in_a_pages_metadata_ends_the_workers(field: str, number: int) -> None:
    """What no page can have is refused where it is read; what it can have is parsed (C10)."""
    value = zstandard.ZstdCompressor(write_content_size=False).compress(HTML)
    record = page_record(job_state("a"), HTML, value=value, **{field: number})
    async with running(registry=installed()) as pool:
        clickhouse = FakeClickHouse()
        async with storing(clickhouse, parse=pool.pool.parse) as service:
            if 0 <= number < 2**31:
                assert await service.handle(service.decode(record)) == Done()
            else:
                with pytest.raises(RecordError, match=field):
                    service.decode(record)
            after = page_record(job_state("b"), HTML)
            assert await service.handle(service.decode(after)) == Done()
    assert clickhouse.rows["pages_log"][-1][1] == "b"


async def test_an_unknown_parser_is_a_failure_of_its_own_kind() -> None:
    """A misspelt name says so."""
    async with running() as pool:
        failed = await pool.parse("no-such-parser")
    assert isinstance(failed, ParseFailed)
    assert failed.unknown_parser


@pytest.mark.parametrize(
    ("parser", "body", "words"),
    [
        ("crash", b"CRASH", "signal 11"),
        ("loop", b"LOOP", "took more than"),
        ("eat", b"EAT", "more than 256 MiB"),
    ],
)
async def test_a_page_that_kills_its_parser_fails_alone(parser: str, body: bytes, words: str) -> None:
    """Segmentation fault, endless loop, all memory: one failure, and all its neighbours are parsed."""
    async with running(timeout_s=4.0) as pool:
        results = await asyncio.gather(
            *(pool.parse(parser, body if number == 9 else HTML) for number in range(40))
        )
        failed = [index for index, result in enumerate(results) if isinstance(result, ParseFailed)]
        assert failed == [9]
        assert words in str(results[9])
        assert isinstance(await pool.parse("default"), Parsed)


async def test_a_worker_that_was_killed_from_outside_costs_no_page(tmp_path: Path) -> None:
    """The page is tried once more, alone, before it is condemned."""
    async with running() as pool:
        result = await pool.parse("killed_once", str(tmp_path / "mark").encode())
        assert pool.died() == 1
    assert isinstance(result, Parsed)
    assert result.title == "survived"


async def test_what_a_parser_raises_is_named_and_not_quoted() -> None:
    """The page may hold anything; type and line are enough to find it."""
    async with running() as pool:
        failed = await pool.parse("refuse", b"hunter2")
        odd = await pool.parse("unwritable")
        assert pool.died() == 0
    assert isinstance(failed, ParseFailed)
    assert "ValueError at storer_parsers.py" in failed.message
    assert "hunter2" not in failed.message
    assert isinstance(odd, ParseFailed)


async def test_a_parser_sees_no_secret_and_a_worker_is_used_again() -> None:
    """The environment is handed on without our settings; a process serves page after page."""
    async with running() as pool:
        first = await pool.parse("process_id")
        second = await pool.parse("process_id")
    assert isinstance(first, Parsed)
    assert isinstance(second, Parsed)
    assert msgspec.json.decode(first.fields) == msgspec.json.decode(second.fields)
    assert msgspec.json.decode(first.fields)["secrets"] == []


async def test_a_parser_that_cannot_be_imported_stops_the_start() -> None:
    """It is the installation that is wrong, so no page is blamed."""
    with pytest.raises(ConfigurationError, match="broken"):
        async with running(registry={"broken": "no_such_module:parse"}):
            pass


async def test_whoever_stopped_waiting_is_left_out() -> None:
    """A handler that was cut off at a rebalance costs no parse."""
    async with running() as pool:
        cut = asyncio.ensure_future(pool.parse("default"))
        await asyncio.sleep(0)  # noqa: TID251 -- one turn
        cut.cancel()
        with suppress(asyncio.CancelledError):
            await cut
        assert isinstance(await pool.parse("default"), Parsed)


async def test_no_process_is_left_behind() -> None:
    """Not even one that loops."""
    async with running(workers=2, timeout_s=60) as pool:
        children = psutil.Process().children()
        living = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        mine = [child for child in living if "parser_worker" in " ".join(child.cmdline())]
        assert mine
        looping = asyncio.ensure_future(pool.parse("loop", b"LOOP"))
        await asyncio.sleep(0.2)  # noqa: TID251 -- let it reach its loop
    looping.cancel()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in mine)


_PARENT = """
import asyncio, sys
from tidegate.clock import SystemClock
from tidegate_storer.parser_pool import ParserPool
from tidegate_storer.parsers import PageInfo

async def main():
    pool = ParserPool(workers=1, timeout_s=60, memory_mb=256, clock=SystemClock(), emit=print,
                      registry={"loop": "support.storer_parsers:loop"})
    async with pool.running():
        task = asyncio.ensure_future(pool.parse("loop", PageInfo(url=""), b"LOOP"))
        await asyncio.sleep(0.3)
        print("looping", flush=True)
        await task

asyncio.run(main())
"""


async def test_a_looping_worker_dies_with_its_parent() -> None:
    """The kernel ends it: a loop reads no end of file."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    assert await asyncio.wait_for(parent.stdout.readline(), 60) == b"looping\n"
    (child,) = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
