"""The log: one JSON line an event."""

import asyncio
import importlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar

import msgspec
import pytest
from tidegate.clock import SystemClock
from tidegate.events import Event, log_emitter

MODULES = (
    "tidegate.consume.runtime_events",
    "tidegate.process",
    "tidegate_fetcher.events",
    "tidegate_solver.events",
    "tidegate_storer.events",
    "tidegate_monitor.events",
    "tidegate_cli.stack.events",
    "tidegate_cli.clickhouse.server",
)


class Sold(Event, frozen=True):
    """Something was sold."""

    what: str
    count: int
    to: str | None = None


class Nothing(Event, frozen=True):
    """An event with nothing to say."""

    why: str | None = None


class Detail(Event, frozen=True):
    """Too much for most."""

    level: ClassVar[str] = "debug"
    what: str = "x"


class Broken(Event, frozen=True):
    """Something is wrong."""

    level: ClassVar[str] = "error"


@pytest.fixture(autouse=True)
def library_logging() -> Iterator[None]:
    """Put the libraries' logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str], *events: Event, level: str = "info") -> list[dict[str, object]]:
    """Return what is written of events."""
    emit = log_emitter("test", level)
    for event in events:
        emit(event)
    return [msgspec.json.decode(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_time_level_name_service_and_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """In that order, for people read it, too."""
    (line,) = lines(capsys, Sold(what='a "b",\n"c":null ö', count=0, to="x"))
    assert list(line) == ["timestamp", "level", "event", "service", "what", "count", "to"]
    written = datetime.fromisoformat(str(line.pop("timestamp")))
    assert written.utcoffset() == timedelta(0)
    assert line == {
        "level": "info",
        "event": "sold",
        "service": "test",
        "what": 'a "b",\n"c":null ö',
        "count": 0,
        "to": "x",
    }


def test_what_is_none_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where nothing is left, and the line is whole all the same."""
    sold, nothing = lines(capsys, Sold(what="x", count=1), Nothing())
    assert "to" not in sold
    assert list(nothing) == ["timestamp", "level", "event", "service"]


@pytest.mark.parametrize(("level", "written"), [("debug", 2), ("info", 1), ("error", 0)])
def test_what_is_below_the_level_is_not_written(
    capsys: pytest.CaptureFixture[str], level: str, written: int
) -> None:
    """Each time, not the first time only."""
    assert len(lines(capsys, Nothing(), Detail(what="y"), level=level)) == written
    assert len(lines(capsys, Nothing(), Detail(what="y"), level=level)) == written


async def test_lines_of_a_running_service_are_written_together_and_soon(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each as it was told, in their order."""
    emit = log_emitter("test")
    for count in range(3):
        emit(Sold(what="x", count=count))
    assert not capsys.readouterr().err
    written = ""
    async with asyncio.timeout(30):
        while not written:
            await SystemClock().sleep(0.005)
            written = capsys.readouterr().err
    assert [msgspec.json.decode(line)["count"] for line in written.splitlines()] == [0, 1, 2]


async def test_what_is_wrong_is_written_at_once_and_after_what_came_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The process may not live for another moment."""
    told = lines(capsys, Sold(what="x", count=1), Broken())
    assert [line["event"] for line in told] == ["sold", "broken"]


def test_what_was_told_last_is_written_before_the_process_ends() -> None:
    """Nobody waits for the moment in which lines are gathered."""
    code = (
        "import asyncio\n"
        "from tidegate.events import log_emitter\n"
        "from tidegate.process import Stopped\n"
        "async def main(): log_emitter('test')(Stopped(exit_code=0))\n"
        "asyncio.run(main())"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert msgspec.json.decode(done.stderr)["event"] == "stopped"


@pytest.mark.parametrize("module", MODULES)
def test_the_log_leaves_out_what_is_none_and_nothing_else(module: str) -> None:
    """Defaults are left out: another one than None, on a count say, would be missed by whoever reads it."""
    kinds = [
        each
        for each in vars(importlib.import_module(module)).values()
        if isinstance(each, type) and issubclass(each, Event) and each is not Event
    ]
    assert kinds
    for kind in kinds:
        for field in msgspec.structs.fields(kind):
            optional = "None" in str(field.type)
            assert (field.default is None) is optional, f"{kind.__name__}.{field.name}"
            assert field.default_factory is msgspec.NODEFAULT, f"{kind.__name__}.{field.name}"
