"""The work of ``tidegate sql``, with everything heavy imported."""

import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tidegate.errors import ClickHouseError, ConfigurationError

from tidegate_cli.exits import Exit
from tidegate_cli.installation import find
from tidegate_cli.results import results_of
from tidegate_cli.warehouse import warehouse

_HAS_FORMAT = re.compile(r"\bFORMAT\s+\w+\s*(SETTINGS\b.*)?;?\s*$", re.IGNORECASE | re.DOTALL)
_READS = re.compile(r"\s*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|\()", re.IGNORECASE)
_FORMAT_NAME = re.compile(r"\w+")
_UNKNOWN_DATABASE, _NO_ANSWER = 81, 0


def format_for(query: str, chosen: str | None, *, terminal: bool) -> str | None:
    """Return the format to ask for; None where the query names one itself, or answers nothing. Pure."""
    if _HAS_FORMAT.search(query) or not _READS.match(query):
        return None
    return chosen or ("PrettyCompact" if terminal else "TabSeparatedWithNames")


async def sql_main(*, query: str, output_format: str | None, data: Path | None) -> int:
    """Ask, and copy the answer to standard output."""
    if output_format is not None and not _FORMAT_NAME.fullmatch(output_format):
        raise ConfigurationError(f"{output_format!r} is not the name of a format, such as CSVWithNames.")
    if query == "-":
        query = sys.stdin.read()
    query = query.strip().rstrip(";").strip()
    if not query:
        raise ConfigurationError("The query is empty.")
    installation = find(data)
    terminal = sys.stdout.isatty()
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(results_of(installation, named=data is not None))
        try:
            db = await stack.enter_async_context(warehouse(settings))
            last = b"\n"
            async for chunk in db.formatted(query, format_for(query, output_format, terminal=terminal)):
                sys.stdout.buffer.write(chunk)
                last = chunk or last
            if terminal and not last.endswith(b"\n"):
                sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
        except ClickHouseError as error:
            if error.code == _NO_ANSWER:
                raise
            print(f"tidegate: {error}{_advice(error.code)}", file=sys.stderr)  # noqa: T201 -- the answer
            return Exit.CHECK_FAILED
    return Exit.OK


def _advice(code: int) -> str:
    return "\nThe tables are made by `tidegate migrate`." if code == _UNKNOWN_DATABASE else ""
