"""The work of ``tidegate export``, with everything heavy imported."""

import sys
from contextlib import aclosing
from pathlib import Path

from tidegate.errors import ClickHouseError, ConfigurationError

from tidegate_cli.exits import Exit
from tidegate_cli.export import export_query, format_of, save
from tidegate_cli.export_choices import ExportFormat, What
from tidegate_cli.installation import find
from tidegate_cli.results import results_of
from tidegate_cli.warehouse import quoted, warehouse

_NOT_THERE = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE


async def export_main(
    *, run: str, chosen: ExportFormat | None, output: Path | None, what: What, bodies: bool, data: Path | None
) -> int:
    """Copy the rows of a run; 6 where there are none."""
    if output == Path("-"):
        output = None
    export_format = format_of(chosen, output)
    if output is None and export_format is ExportFormat.PARQUET and sys.stdout.isatty():
        raise ConfigurationError("Parquet is not for a terminal: name a file with --output, or use a pipe.")
    async with results_of(find(data), named=data is not None) as settings, warehouse(settings) as db:
        query = export_query(db.database, what, bodies=bodies)
        try:
            view = f"{quoted(db.database)}.{quoted(what.view)}"
            ((known,),) = await db.rows(
                f"SELECT count() > 0 FROM {view} WHERE run = {{run:String}}",  # noqa: S608 -- own names
                {"run": run},
            )
        except ClickHouseError as error:
            if error.code in _NOT_THERE:
                raise ConfigurationError(f"{error}\nThe tables are made by `tidegate migrate`.") from error
            raise
        if not known:
            _say(
                f"The run {run} has no {what.value}. Which runs there are: tidegate runs, or `tidegate sql`."
            )
            return Exit.CHECK_FAILED
        chunks = db.formatted(
            query.sql, export_format.in_clickhouse, parameters={"run": run}, settings=query.settings
        )
        if output is not None:
            size = await save(chunks, output)
            _say(f"{what.value} of the run {run}: {output}, {size:,} bytes.")
            return Exit.OK
        # Closed here, not by the garbage collector: a reader that went away must not leave the answer open.
        async with aclosing(chunks):
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return Exit.OK


def _say(text: str) -> None:
    print(f"tidegate: {text}", file=sys.stderr)  # noqa: T201 -- the answer
