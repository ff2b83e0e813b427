"""`tidegate top`: what the monitor tells, as lines of a terminal."""

from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from rich.console import Console
from rich.segment import Segment
from support.monitor import Bench
from support.monitor_states import budget_spent, busy, idle, shown, solver_down
from tidegate.errors import ConfigurationError, RemoteError
from tidegate.testing.manual_clock import ManualClock
from tidegate_cli.commands._top import page_of
from tidegate_cli.stack.folder import Addresses
from tidegate_cli.top.board import board, lines
from tidegate_cli.top.feed import Feed, Lost, follow_again
from tidegate_cli.top.figures import money, percent, rate, seconds, spark
from tidegate_cli.top.screen import Screen
from tidegate_cli.top.state import State, decode


def empty(_bench: Bench) -> None:
    """Nobody has told anything yet."""


FILLS = (empty, idle, busy, solver_down, budget_spent)


@cache
def told(fill: Callable[[Bench], None]) -> State:
    """Return a state as it comes over the wire."""
    return decode(msgspec.json.encode(shown(fill)))


def text(fill: Callable[[Bench], None], width: int = 80) -> str:
    """Return the board, its lines joined: a sentence may go over two of them."""
    return " ".join(line.strip() for line in lines(told(fill), width))


def test_everything_that_the_page_shows_has_a_place() -> None:
    """A field that the monitor adds or loses turns this red."""

    def compare(shape: object, value: object) -> None:
        for inner in get_args(shape) or (shape,):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                for each in value if isinstance(value, list) else [value] if value is not None else []:
                    fields = {field.name: field.type for field in msgspec.structs.fields(inner)}
                    assert isinstance(each, dict)
                    assert set(fields) == set(each)
                    for name, kind in fields.items():
                        compare(kind, each[name])

    compare(State, shown(budget_spent))


def test_an_installation_without_services_shows_that_there_are_none() -> None:
    """What nobody told is no number."""
    said = text(empty)
    assert "Fetcher     not seen" in said
    assert "Nothing is known yet." in said
    assert "CAPTCHA rate  –" in said  # noqa: RUF001 -- as on the page


@pytest.mark.parametrize("fill", FILLS)
def test_no_line_is_longer_than_the_terminal_is_wide(fill: Callable[[Bench], None]) -> None:
    """Whatever the state, in one column and in two."""
    for width in (40, 80, 120):
        assert max(len(line) for line in lines(told(fill), width)) <= width


def test_a_glance_says_whether_all_is_well() -> None:
    """The first line is the page's status."""
    assert "Idle, no alerts" in lines(told(idle), 80)[0]
    assert "1 warning" in lines(told(busy), 80)[0]
    assert "2 critical alerts" in lines(told(solver_down), 80)[0]


def test_an_outage_shows_with_what_to_do() -> None:
    """The alert, the breaker, and what waits for it."""
    said = text(solver_down)
    assert "Critical: A solving service has not been usable for a minute" in said
    assert "Check its status page, the key and the balance" in said
    assert "Breaker of capmonster  open" in said
    assert "Gate of prone sites    shut" in said
    assert "requests 5,200" in said


def test_money_that_is_spent_shows_against_its_budget() -> None:
    """Both of them, and the alert of the spent one."""
    said = text(budget_spent)
    assert "run june  $5.00 of $5.00, 100 %" in said
    assert "run july  $4.10 of $5.00, 82 %" in said
    assert "A budget is spent" in said


def test_work_shows_as_numbers_and_as_charts() -> None:
    """Sites by CAPTCHA rate, the slowed one with its speed; ten minutes in a line."""
    said = text(busy)
    assert "shop.example" in said
    assert "43 %    6,090       0     0  $0.00   25 %" in said
    assert "normal 16,000" in said
    assert "16,000 now, most 39,600" in said


def test_what_comes_from_outside_moves_no_cursor() -> None:
    """A site, an id and a message may hold anything; a terminal obeys what it is sent."""
    state = told(busy)
    evil = "a\x1b[2Jb\x07\x9b31m\u202ec\nd"
    sites = [msgspec.structs.replace(site, name=evil) for site in state.sites]
    alerts = [msgspec.structs.replace(alert, subject=evil, summary=evil) for alert in state.alerts]
    state = msgspec.structs.replace(state, sites=sites, alerts=alerts, gates={evil: 0.5})
    for line in lines(state, 200):
        assert line.isprintable(), repr(line)


def drawn(screen: Screen, height: int) -> list[str]:
    """Return what a terminal of that height shows."""
    console = Console(width=80, height=height, color_system=None)
    segments = list(console.render(screen, console.options.update(height=height)))
    return "".join(segment.text for segment in segments if isinstance(segment, Segment)).split("\n")


def test_a_small_terminal_shows_a_part_and_scrolls() -> None:
    """Never more lines than there is room for; the last one says how to see the rest."""
    every = lines(told(busy), 80)
    screen = Screen()
    screen.take(told(busy))
    assert [line.rstrip() for line in drawn(screen, 20)[:19]] == every[:19]
    assert drawn(screen, 20)[19].startswith(f"lines 1 to 19 of {len(every)}")
    screen.press(b" ")
    screen.press(b"\x1b[B")
    assert drawn(screen, 20)[0].rstrip() == every[19]
    for _ in range(99):
        screen.press(b" ")
    assert drawn(screen, 20)[18].rstrip() == every[-1]
    assert drawn(screen, 200)[0].rstrip() == every[0]
    assert [screen.press(key) for key in (b"x", b"k", b"q")] == [False, False, True]


def test_an_old_state_says_that_it_is_one() -> None:
    """What is on the screen stays, under the word that nothing new comes."""
    screen = Screen()
    screen.take(told(busy))
    screen.take("The monitor does not answer; trying again…")
    assert "does not answer" in drawn(screen, 20)[0]
    assert "CAPTCHA rate" in "".join(drawn(screen, 20))
    screen.take(told(busy))
    assert "1 warning" in drawn(screen, 20)[0]


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"now_ms": 1}', b"[" * 100_000])
def test_what_no_monitor_says_is_an_error(body: bytes) -> None:
    """Whatever answers at the address."""
    with pytest.raises(RemoteError, match="no monitor of this version"):
        decode(body)


def test_numbers_are_written_as_on_the_page() -> None:
    """Units change where they get unreadable."""
    assert [percent(each) for each in (None, 0.0, 0.004, 0.5)] == ["–", "0 %", "0.4 %", "50 %"]  # noqa: RUF001
    assert [rate(each) for each in (0.0, 9.94, 99.6, 1234.0)] == ["0.0/s", "9.9/s", "100/s", "1,234/s"]
    assert [seconds(each) for each in (0.3, 9.9, 42.0, 600.0, 7200.0)] == [
        "300 ms", "9.9 s", "42 s", "10 min", "2 h",
    ]  # fmt: skip
    assert [money(each) for each in (0.0, 0.0021, 1.5, 1234.5)] == ["$0.00", "$0.0021", "$1.50", "$1,234"]


def test_a_chart_keeps_the_peak() -> None:
    """Of the points that share a character the largest counts."""
    assert spark([0, 0, 0, 8, 0, 0], 3) == "▁█▁"
    assert spark([0, 0], 10) == "▁▁"
    assert spark([], 10) == ""


class Breaking(Feed):
    """A monitor that says something, is gone, and comes back."""

    def __init__(self, *turns: list[bytes]) -> None:
        self.url = "http://localhost/"
        self._turns = iter(turns)

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the next turn, and end as a monitor that goes."""
        for body in next(self._turns):
            yield body
        raise RemoteError("gone")


class Hasty(ManualClock):
    """A clock by which every pause is over at once."""

    async def sleep(self, seconds: float) -> None:
        """Do not wait."""
        self.advance(seconds)


async def test_a_monitor_that_was_there_is_waited_for() -> None:
    """And told of meanwhile."""
    said = follow_again(Breaking([b"1"], [], [b"2"]), Hasty())
    assert [await anext(said) for _ in range(4)] == [b"1", Lost("gone"), Lost("gone"), b"2"]


async def test_a_monitor_that_was_never_there_is_an_error() -> None:
    """Whoever mistyped the address learns it at once."""
    with pytest.raises(RemoteError):
        await anext(follow_again(Breaking([]), Hasty()))


def test_the_page_is_that_of_the_folder_or_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is given wins, then a stack that runs."""
    monkeypatch.chdir(tmp_path)
    assert page_of("https://tide.example/monitor", None, 8095) == "https://tide.example/monitor/"
    assert page_of(None, None, 8096) == "http://localhost:8096/"
    with pytest.raises(ConfigurationError):
        page_of("tide.example", None, 8095)
    with pytest.raises(ConfigurationError):
        page_of(None, tmp_path, 8095)
    running = Addresses(bootstrap="b", clickhouse_url="c", monitor_url="http://127.0.0.1:18095/")
    monkeypatch.setattr("tidegate_cli.commands._top.addresses", lambda _: running)
    assert page_of(None, tmp_path, 8095) == "http://127.0.0.1:18095/"


def test_colours_say_what_words_say_too() -> None:
    """Nothing is told by colour alone."""
    console = Console(width=80, color_system="truecolor", force_terminal=True)
    state = told(solver_down)
    plain = ["".join(part.text for part in line) for line in console.render_lines(board(state, 80))]
    assert [line.rstrip() for line in plain] == lines(state, 80)
