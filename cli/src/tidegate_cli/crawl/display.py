"""What a person sees while a command works: on standard error, so that standard output stays for results.

On a terminal one live region; elsewhere a plain line now and then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from tidegate.clock import Clock
from tidegate.events import Event

from tidegate_cli.crawl.progress import Progress
from tidegate_cli.crawl.submission import BadLine
from tidegate_cli.stack.events import (
    FetchingKafka,
    ProcessDied,
    ProcessReady,
    ProcessRestarting,
    ProcessStarting,
    StackReady,
    StepDone,
)

_PLAIN_EVERY_S = 5.0
_BAD_LINES_SHOWN = 10


class Display:
    """The progress of one command. Use as a context manager; ``quiet`` shows warnings only."""

    def __init__(self, console: Console, clock: Clock, *, quiet: bool = False) -> None:
        self._console = console
        self._clock = clock
        self._quiet = quiet
        self._live: Live | None = None
        self._status = ""
        self._progress: Progress | None = None
        self._plain_at = clock.monotonic()
        self._bad_lines = 0
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                console=self._console, refresh_per_second=8, transient=True, get_renderable=self._render
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the live region away, for a report or an error."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print one line that stays."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print one line that stays, quiet or not."""
        self._console.print(f"[yellow]![/] {escape(text)}", highlight=False, soft_wrap=True)

    def status(self, text: str) -> None:
        """Say what is being done now; replaced by the next status."""
        self._status = text
        if self._live is None and text:
            self.say(escape(text))

    def stack_event(self, event: Event) -> None:
        """Show what the supervisor does."""
        match event:
            case ProcessStarting(name=name):
                self._status = f"Starting {name}"
            case ProcessReady() | StepDone():
                pass
            case StackReady(seconds=seconds, monitor_url=url):
                self._status = ""
                page = "" if url is None else f"; watch it at {url}"
                self.say(f"[green]✓[/] Everything is up, after {seconds:.1f} s{page}")
            case FetchingKafka(version=version):
                self.say(f"Fetching Apache Kafka {escape(version)} with Maven; this happens once.")
            case ProcessDied(name=name, exit_code=code):
                self.warn(f"{name} has died ({_how(code)})")
            case ProcessRestarting(name=name, delay_s=delay_s):
                self.warn(f"{name} is started again in {delay_s:.1f} s")
            case _:
                pass

    def bad_line(self, line: BadLine) -> None:
        """Show a line that is no job, up to a number of them."""
        self._bad_lines += 1
        if self._bad_lines <= _BAD_LINES_SHOWN:
            self.warn(f"{line.place}: {line.beginning}\n  {_sentence(line.problem)}")
        if self._bad_lines == 1:
            self._console.print("  [dim]Such lines are submitted as they are and become dead letters.[/]")
        elif self._bad_lines == _BAD_LINES_SHOWN + 1:
            self.warn("Further lines of that sort are counted, not shown.")

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Say that everything is being stopped when the body ends, whichever way: it takes a while."""
        try:
            yield
        finally:
            self._progress = None
            self._status = "Stopping"
            if self._live is None and self._console.is_terminal:
                self.say("[dim]Stopping[/]")

    def crawl(self, progress: Progress) -> None:
        """Show a crawl from now on."""
        self._progress = progress
        self._status = ""

    def tick(self) -> None:
        """Let time pass: prints the plain line where there is no terminal."""
        now = self._clock.monotonic()
        if self._live is not None or self._quiet or self._progress is None:
            return
        if now - self._plain_at >= _PLAIN_EVERY_S:
            self._plain_at = now
            self._console.print(
                f"{self._progress.seconds(now):6.0f} s  " + _figures(self._progress),
                highlight=False,
                soft_wrap=True,
            )

    def _render(self) -> Group | Text | Table:
        if self._progress is None:
            if not self._status:
                return Text("")
            line = Table.grid(padding=(0, 1))
            line.add_row(self._spinner, self._status)
            return line
        progress = self._progress
        done, total = progress.counts.outcomes, max(progress.submitted, 1)
        bar = Table.grid(padding=(0, 1))
        of = f"{done:,} of {progress.submitted:,}" + ("" if progress.submission_done else " so far")
        bar.add_row(
            self._spinner,
            ProgressBar(total=total, completed=min(done, total), width=32),
            f"{min(done / total, 1):4.0%}",
            Text(of),
            Text(f"{progress.seconds(self._clock.monotonic()):.0f} s", style="dim"),
        )
        return Group(bar, Text("  " + _figures(progress)))


def _figures(progress: Progress) -> str:
    counts = progress.counts
    captchas = f"CAPTCHAs {counts.captchas:,} met, {counts.solved:,} solved"
    cost = f" (${counts.cost:.4f})" if counts.cost else ""
    return (
        f"submitted {progress.submitted:,} · pages {counts.pages:,} · dead letters {counts.dead_letters:,} · "
        f"{captchas}{cost} · in flight {progress.in_flight:,} · {progress.pages_per_second:,.0f} pages/s"
    )


def _how(exit_code: int) -> str:
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
