"""The work of ``tidegate dlq``, with everything heavy imported."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.status import Status
from tidegate.clock import BrokerClock, SystemClock
from tidegate.consume.kafka_sink import KafkaSink
from tidegate.errors import ClickHouseError, ConfigurationError
from tidegate.kafka_admin import site_partitions
from tidegate.tracing import tracer_provider

from tidegate_cli.dlq import show
from tidegate_cli.dlq.advice import advice_for
from tidegate_cli.dlq.letters import Letters
from tidegate_cli.dlq.replayer import Replayer, Step
from tidegate_cli.dlq.selection import Selection, condition
from tidegate_cli.dlq.topic import dead_letter_topic
from tidegate_cli.exits import Exit
from tidegate_cli.installation import find
from tidegate_cli.results import results_of
from tidegate_cli.warehouse import warehouse

_UNKNOWN_DATABASE, _UNKNOWN_TABLE = 81, 60


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to replay; ``rate`` in jobs a second."""

    everything: bool = False
    dry_run: bool = False
    rate: float | None = None
    limit: int | None = None
    refetch: bool = False
    as_json: bool = False


async def ls_main(
    selection: Selection, *, summary: bool, limit: int, as_json: bool, data: Path | None
) -> int:
    """Print dead letters, or counts of them."""
    async with _letters(data) as letters:
        now_ms = await letters.now_ms()
        wanted = condition(selection, now_ms)
        if summary:
            counts = await letters.counts(wanted)
            if as_json:
                for count in counts:
                    _json({**msgspec.to_builtins(count), "advice": advice_for(count.reason).text})
            else:
                show.show_counts(counts, Console(), now_ms)
            return Exit.OK
        found = await letters.newest(wanted, limit)
        if as_json:
            for letter in found:
                _json(letter)
        else:
            show.show_letters(found, await letters.count(wanted), Console(), now_ms)
    return Exit.OK


async def show_main(run: str, job_id: str, *, as_json: bool, data: Path | None) -> int:
    """Print one dead letter; return 6 where there is none."""
    async with _letters(data) as letters:
        row = await letters.one(run, job_id)
        outcome = None if row is not None else await letters.outcome(run, job_id)
    if row is None:
        other = "it has a page" if outcome == "page" else "nor any other outcome yet"
        _say(f"The job {job_id} of the run {run} has no dead letter; {other}.")
        return Exit.CHECK_FAILED
    if as_json:
        advice = advice_for(row["reason"])
        _json({**row, "advice": advice.text, "replay_can_help": advice.replay})
    else:
        show.show_one(row, Console())
    return Exit.OK


async def replay_main(selection: Selection, options: ReplayOptions, *, data: Path | None) -> int:
    """Replay; return 3 where some could not be."""
    if selection.everything and not (options.everything or options.dry_run):
        raise ConfigurationError(
            "This would replay every dead letter there is: narrow it (--reason, --run …), look with "
            "--dry-run, or say --all."
        )
    installation = find(data)
    if not installation.reachable:
        raise ConfigurationError(
            f"No stack is running on {installation.data}, and the embedded broker keeps nothing: submit the "
            "jobs anew."
        )
    settings = installation.settings
    clock = SystemClock()
    out, err = Console(), Console(stderr=True)
    async with AsyncExitStack() as stack:
        partitions = await site_partitions(settings)
        db = await stack.enter_async_context(warehouse(settings.clickhouse))
        letters = Letters(db)
        topic = await stack.enter_async_context(dead_letter_topic(settings.kafka, clock))
        provider = tracer_provider("dlq", settings.telemetry)
        stack.callback(provider.shutdown)
        sink = None
        if not options.dry_run:
            sink = KafkaSink(
                settings.kafka, clock=clock, broker_clock=BrokerClock(clock), emit=lambda _: None
            )
            stack.push_async_callback(sink.stop)
            await sink.start(partitions)
        status = stack.enter_context(err.status("Looking for dead letters"))
        replayer = Replayer(
            read=topic.read,
            body=letters.body,
            sink=sink,
            clock=clock,
            tracer=provider.get_tracer("tidegate"),
            tell=lambda step: _tell(step, replayer, options, out, status),
            rate=options.rate,
            limit=options.limit,
            refetch=options.refetch,
        )
        wanted = condition(selection, await letters.now_ms())
        try:
            tally = await replayer.run(letters.oldest_first(wanted))
        except BaseException:
            if replayer.tally.replayed and not options.dry_run:
                _say(f"{replayer.tally.replayed:,} were replayed before this.")
            raise
    if options.as_json:
        _json({**msgspec.to_builtins(tally), "replayed": tally.replayed})
    else:
        show.show_tally(tally, out)
    return Exit.INCOMPLETE if tally.not_replayed else Exit.OK


def _tell(step: Step, replayer: Replayer, options: ReplayOptions, out: Console, status: Status) -> None:
    """Print a step of a dry run, and what could not be replayed; a program gets every step."""
    tally = replayer.tally
    status.update(f"{tally.replayed:,} replayed")
    if options.as_json:
        _json(step)
    elif options.dry_run or step.action in tally.refused:
        show.show_step(step, out)


@asynccontextmanager
async def _letters(data: Path | None) -> AsyncIterator[Letters]:
    installation = find(data)
    async with (
        results_of(installation, named=data is not None) as settings,
        warehouse(settings) as db,
    ):
        try:
            yield Letters(db)
        except ClickHouseError as error:
            if error.code in (_UNKNOWN_DATABASE, _UNKNOWN_TABLE):
                raise ConfigurationError(f"{error}\nThe tables are made by `tidegate migrate`.") from error
            raise


def _json(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)  # noqa: T201 -- the output


def _say(text: str) -> None:
    print(f"tidegate: {text}", file=sys.stderr)  # noqa: T201 -- the answer
