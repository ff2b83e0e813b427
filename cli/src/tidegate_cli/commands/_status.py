"""The work of ``tidegate status``, with everything heavy imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tidegate.errors import ClickHouseError, ConfigurationError

from tidegate_cli.installation import find
from tidegate_cli.lag import GroupState, TopicLag, read_lag
from tidegate_cli.warehouse import Warehouse, quoted, warehouse

_RUNS = 10


class RunCounts(msgspec.Struct, frozen=True):
    """What a run has in ClickHouse."""

    run: str
    pages: int
    dead_letters: int
    latest: str


async def status_main(*, data: Path | None, as_json: bool) -> int:
    """Ask Kafka and ClickHouse, and print what they say."""
    installation = find(data)
    if not installation.reachable:
        raise ConfigurationError(
            f"No stack is running on {installation.data}. "
            f"Its results: tidegate sql --data {installation.data} …"
        )
    settings = installation.settings
    topics, groups = await read_lag(settings.kafka)
    trouble = None
    runs: tuple[RunCounts, ...] = ()
    try:
        async with warehouse(settings.clickhouse) as db:
            runs = await _runs(db)
    except ClickHouseError as error:
        trouble = str(error)
    if as_json:
        answer = {"topics": topics, "groups": groups, "runs": runs, "clickhouse_error": trouble}
        print(msgspec.json.encode(answer).decode())  # noqa: T201 -- the output
        return 0
    console = Console()
    console.print(f"Kafka {settings.kafka.bootstrap}   ClickHouse {settings.clickhouse.url}", highlight=False)
    console.print(_topic_table(topics))
    console.print(_group_table(groups))
    console.print(_run_table(runs))
    if trouble is not None:
        console.print(f"[red]✗[/] {escape(trouble)}", highlight=False, soft_wrap=True)
    return 0


async def _runs(db: Warehouse) -> tuple[RunCounts, ...]:
    database = quoted(db.database)
    columns = "run, countIf(outcome = 'page'), countIf(outcome = 'dead_letter'), toString(max(recorded_at))"
    query = f"SELECT {columns} FROM {database}.jobs"  # noqa: S608 -- only names of our own are put in
    rows: Sequence[Sequence[Any]] = await db.rows(
        f"{query} GROUP BY run ORDER BY max(recorded_at) DESC LIMIT {_RUNS}"
    )
    return tuple(RunCounts(*row) for row in rows)


def _topic_table(topics: Sequence[TopicLag]) -> Table:
    table = _table("topic", "partitions", "records", "not yet committed")
    for topic in topics:
        lags = ", ".join(f"{group} {lag:,}" for group, lag in topic.lags.items())
        table.add_row(topic.name, str(topic.partitions), f"{topic.records:,}", lags)
    return table


def _group_table(groups: Sequence[GroupState]) -> Table:
    table = _table("group", "members", "state")
    for group in groups:
        members = "?" if group.members is None else str(group.members)
        table.add_row(group.name, members, group.state)
    return table


def _run_table(runs: Sequence[RunCounts]) -> Table:
    table = _table("run", "pages", "dead letters", "latest outcome (UTC)")
    for run in runs:
        table.add_row(escape(run.run), f"{run.pages:,}", f"{run.dead_letters:,}", run.latest)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=None)
    table.add_column(first)
    for name in others:
        right = name in ("partitions", "records", "pages", "dead letters", "members")
        table.add_column(name, justify="right" if right else "left")
    return table
