"""A crawl as a whole: start the stack, submit, watch, judge, report.

The order matters. Input is measured before anything starts. Ids are on disk before their records are sent.
The count of outcomes says when to look closer, the comparison of ids says whether it is over.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import psutil
from tidegate.clock import Clock
from tidegate.errors import ConfigurationError, cause_of

from tidegate_cli.crawl.display import Display
from tidegate_cli.crawl.inputs import Defaults
from tidegate_cli.crawl.ledger import Ledger, Verdict
from tidegate_cli.crawl.limits import exceeds, refuse_beyond, too_full
from tidegate_cli.crawl.outcomes import Outcomes
from tidegate_cli.crawl.progress import Patience, Progress
from tidegate_cli.crawl.report import DemoChecks, Report
from tidegate_cli.crawl.source import Source, measure, spool
from tidegate_cli.crawl.submission import Submitter, Tally, kafka_intake
from tidegate_cli.crawl.watch import Watcher
from tidegate_cli.runs import control
from tidegate_cli.runs.office import office_of
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack
from tidegate_cli.warehouse import Warehouse, load_driver, warehouse

Prepare = Callable[[Stack], Awaitable[tuple[Source, ...]]]
Check = Callable[[Stack, Warehouse, str], Awaitable[DemoChecks]]


class CrawlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a crawl. ``since_start_s`` is for how long the command has run already.

    ``prepare`` gives the input once the stack is up; without it, ``sources`` is the input. ``check`` looks at
    the rows before the stack is stopped. ``budget`` in millionths of a US dollar, None for no limit.
    """

    run: str
    stack: StackOptions
    sources: tuple[Source, ...] = ()
    prepare: Prepare | None = None
    check: Check | None = None
    budget: int | None = None
    keep: bool = False
    patience: Patience = Patience()
    since_start_s: float = 0.0

    @property
    def folder(self) -> Path:
        """Where the run's own files are."""
        return self.stack.data_dir / "runs" / folder_name(self.run)


def folder_name(run: str) -> str:
    """Return a run's name as a folder's name."""
    return re.sub(r"[^\w.-]+", "-", run).strip(".-")[:100] or "run"


def service_env(
    *, allow_private: bool, solve: tuple[str, ...], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the services' settings that a crawl's options mean, for the stack's ``env``."""
    env: dict[str, str] = {}
    if allow_private:
        env["TIDEGATE_FETCHER__ALLOW_PRIVATE"] = "true"
    if solve:
        env["TIDEGATE_FETCHER__SOLVE_HOSTS"] = ",".join(solve)
    # Rows are shown soon, and Ctrl-C does not wait long for a site that does not answer.
    ours = {"TIDEGATE_STORER__BATCH_AGE_S": "1", "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S": "5"}
    return env | {name: value for name, value in ours.items() if name not in environment}


async def crawl(
    options: CrawlOptions, display: Display, clock: Clock, show: Callable[[Report], None]
) -> Report:
    """Crawl, and show the report as soon as it is there; with ``keep`` the stack stays up until cancelled.

    Raises:
        ConfigurationError: the input is too large for the embedded broker, or the run's name is taken.
        TidegateError: the stack did not start, or lost a part that cannot be replaced.
    """
    begun_s = clock.monotonic() - options.since_start_s
    options.folder.mkdir(parents=True, exist_ok=True)
    sources = options.sources
    if options.stack.broker == "embedded" and options.prepare is None:
        sources = await asyncio.to_thread(spool, sources, options.folder)
        refuse_beyond(await asyncio.to_thread(measure, sources, exceeds))
    loading = asyncio.get_running_loop().run_in_executor(None, load_driver)
    async with running_stack(options.stack, display.stack_event, clock=clock) as stack:
        with display.until_stopped():
            await loading
            async with warehouse(stack.settings.clickhouse) as db:
                if options.prepare is not None:
                    sources = await options.prepare(stack)
                report = await _Session(options, stack, db, display, clock).run(sources, begun_s)
            display.pause()
            (options.folder / "report.json").write_text(report.to_json() + "\n")
            show(report)
            if options.keep:
                display.say("The stack is kept running; Ctrl-C ends it.")
                await asyncio.Event().wait()
    return report


class _Session:
    """One run on a running stack."""

    def __init__(
        self, options: CrawlOptions, stack: Stack, db: Warehouse, display: Display, clock: Clock
    ) -> None:
        self._options = options
        self._stack = stack
        self._db = db
        self._display = display
        self._clock = clock
        self._outcomes = Outcomes(db, options.run)
        self._progress = Progress(clock.monotonic())

    async def run(self, sources: tuple[Source, ...], begun_s: float) -> Report:
        """Submit, watch, judge and report; ``begun_s`` is when the person began to wait."""
        options, progress = self._options, self._progress
        if (await self._outcomes.counts()).outcomes:
            raise ConfigurationError(
                f"The run {options.run!r} has outcomes already; give this crawl another name (--run)."
            )
        if options.budget is not None:
            async with office_of(self._stack.settings, []) as office:
                await control.create(office, options.run, budget=options.budget)
        self._display.crawl(progress)
        with Ledger(options.folder / "submitted.sqlite") as ledger:
            watcher = Watcher(
                outcomes=self._outcomes,
                ledger=ledger,
                progress=progress,
                patience=options.patience,
                clock=self._clock,
                tick=self._display.tick,
                too_full=self._too_full,
            )
            tally, stopped = await self._submit_and_watch(sources, ledger, watcher)
            verdict = await watcher.judge()
            await watcher.settle()
        report = await self._report(tally, verdict)
        checks = None
        if options.check is not None and stopped is None:
            checks = await options.check(self._stack, self._db, options.run)
        first_page_s = progress.first_page_s
        return msgspec.structs.replace(
            report,
            stopped=stopped,
            checks=checks,
            first_page_seconds=None if first_page_s is None else progress.started_s + first_page_s - begun_s,
        )

    async def _submit_and_watch(
        self, sources: tuple[Source, ...], ledger: Ledger, watcher: Watcher
    ) -> tuple[Tally, str | None]:
        """Submit while watching; a watch that ends early ends the submission, too."""
        progress, clock = self._progress, self._clock
        defaults = Defaults(run=self._options.run)
        try:
            async with (
                kafka_intake(self._stack.settings.kafka, self._stack.settings.telemetry) as intake,
                asyncio.TaskGroup() as group,
            ):
                submitter = Submitter(
                    intake, ledger, defaults=defaults, clock=clock, report_bad=self._display.bad_line
                )

                async def submit() -> None:
                    await submitter.run(sources)
                    progress.submit(clock.monotonic(), submitter.tally.submitted)
                    progress.submission_done = True

                submission = group.create_task(submit(), name="submission")
                stopped = await watcher.watch(lambda: submitter.tally.submitted)
                submission.cancel()
        except BaseExceptionGroup as error:
            raise cause_of(error) from error
        return submitter.tally, stopped

    def _too_full(self) -> str | None:
        if self._options.stack.broker != "embedded":
            return None
        try:
            held = psutil.Process(self._stack.process("broker").pid).memory_info().rss
        except psutil.Error:
            return None  # it has died: the supervisor ends the crawl
        return too_full(held, psutil.virtual_memory().total)

    async def _report(self, tally: Tally, verdict: Verdict) -> Report:
        counts = self._progress.counts
        seconds = self._progress.seconds(self._clock.monotonic())
        url = re.sub(r"//[^/@]*@", "//", self._stack.clickhouse_url).rstrip("/")
        return Report(
            run=self._options.run,
            submitted=verdict.submitted,
            pages=counts.pages,
            dead_letters=counts.dead_letters,
            captchas=counts.captchas,
            solved=counts.solved,
            cost=counts.cost,
            lost=verdict.lost,
            duplicates=await self._outcomes.duplicates(),
            invented=verdict.invented,
            seconds=seconds,
            pages_per_second=counts.pages / seconds if seconds > 0 else 0.0,
            dead_letters_by_reason=await self._outcomes.reasons(),
            solved_by_kind=await self._outcomes.solved_kinds(),
            bad_lines=tally.bad_lines,
            repeated_ids=tally.records - tally.submitted,
            lost_sample=verdict.lost_sample,
            invented_sample=verdict.invented_sample,
            data=str(self._stack.data_dir),
            database=f"{url}/{self._db.database}",
        )
