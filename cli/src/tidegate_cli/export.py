"""What ``tidegate export`` asks ClickHouse, and how the answer becomes a file.

The rows go from ClickHouse to the file in pieces: neither side holds a run in memory. A file appears under
its name when it is whole; until then it is beside it, as ``<name>.partial``.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from tidegate.errors import ConfigurationError

from tidegate_cli.export_choices import ExportFormat, What
from tidegate_cli.warehouse import quoted


class ExportQuery(msgspec.Struct, frozen=True):
    """A query with ``{run:String}`` to fill in, and the settings that it is asked with."""

    sql: str
    settings: dict[str, str]


# Row groups of a few megabytes: with the usual half gigabyte the answer would be held in memory to be cut.
_SETTINGS = {
    "wait_end_of_query": "1",
    "output_format_parquet_row_group_size": "20000",
    "output_format_parquet_row_group_size_bytes": "16777216",
    "output_format_json_quote_64bit_integers": "0",
    "date_time_output_format": "iso",
    "max_block_size": "8192",
}
# The joined bodies may be larger than memory; these spill to disk.
_SPILLING = {"join_algorithm": "grace_hash", "grace_hash_join_initial_buckets": "32", "max_block_size": "256"}


def export_query(database: str, what: What, *, bodies: bool = False) -> ExportQuery:
    """Return what to ask. Bodies are bytes of any kind, so they come as base64. Raises ConfigurationError."""
    if bodies and what is not What.PAGES:
        raise ConfigurationError("Only pages have bodies: --bodies goes with --what pages.")
    view = f"{quoted(database)}.{quoted(what.view)}"
    if not bodies:
        return ExportQuery(f"SELECT * FROM {view} WHERE run = {{run:String}}", _SETTINGS)  # noqa: S608 -- own names
    stored = f"{quoted(database)}.bodies"
    mine = f"SELECT body_hash FROM {view} WHERE run = {{run:String}}"  # noqa: S608 -- own names
    content = f"SELECT body_hash AS hash, body FROM {stored} WHERE body_hash IN ({mine}) LIMIT 1 BY hash"  # noqa: S608 -- own names
    return ExportQuery(
        "SELECT page.*, base64Encode(content.body) AS body_base64 "  # noqa: S608 -- own names
        f"FROM (SELECT * FROM {view} WHERE run = {{run:String}}) AS page "
        f"LEFT JOIN ({content}) AS content ON page.body_hash = content.hash",
        _SETTINGS | _SPILLING,
    )


def format_of(chosen: ExportFormat | None, output: Path | None) -> ExportFormat:
    """Return the format that was chosen, or that a file's name says. Raises ConfigurationError."""
    if chosen is not None:
        return chosen
    ending = "" if output is None else output.suffix.removeprefix(".").lower()
    with contextlib.suppress(ValueError):
        return ExportFormat({"ndjson": "jsonl", "json": "jsonl"}.get(ending, ending))
    raise ConfigurationError("--format parquet, jsonl or csv is needed: no file name says which.")


async def save(chunks: AsyncIterator[bytes], output: Path) -> int:
    """Write a file that appears when it is whole; return its size in bytes. Raises ConfigurationError."""
    partial = output.with_name(f"{output.name}.partial")
    size = 0
    try:
        with partial.open("wb") as file:
            async for chunk in chunks:
                size += file.write(chunk)
        partial.replace(output)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return size
