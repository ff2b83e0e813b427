"""Writes one batch to ClickHouse, whatever happens on the way. delivery.md O1, O4, O5.

**Order of the inserts: bodies, pages_log, dead_letters_log, solves_log, outcomes.** A crash may come between
any two of them, and the same records are then written again, in other batches. At each point reads are right:

- After ``bodies``: content that no page names yet. Nobody sees it.
- After ``pages_log``: one insert moved the jobs to ``pages``; in the same instant they left ``dead_letters``
  and changed sides in ``jobs``, because these two views ask ``pages_log`` itself. Every page has its body.
- After ``dead_letters_log``: visible at once for jobs without a page, never for one with a page.
- After ``solves_log``: solves depend on nothing.
- After ``outcomes``: the memory of all this, which matters first when rows expire, months later.

Were outcomes written first, and the views to obey it, a crash would leave jobs with no outcome to see.

**What a redo does:** rows have an identity and a version made from the record alone, so they collapse with
what is there. An insert that is sent again by us or by the client carries the same token and vanishes.
One that reaches a server that does not remember the token only adds rows that collapse.

**What refuses:** a code that says that a row is wrong splits the insert until the row is found; anything
else (memory, too many parts, time-outs, no connection, no table) says nothing about rows: the insert is
held and sent again, and whoever waits for it waits (the source is held back). When more than half of many
rows are refused, it is not the rows either.
"""

from collections.abc import Sequence
from random import Random
from typing import Protocol

import msgspec
from tidegate.clock import Clock
from tidegate.errors import ClickHouseError
from tidegate.events import Emit

from tidegate_storer.batch import Entry, token
from tidegate_storer.data_errors import DATA_ERRORS, is_data_error
from tidegate_storer.events import InsertHeld, RowRefused, TooManyRefused
from tidegate_storer.rows import Write
from tidegate_storer.tables import DEAD_LETTERS, OUTCOMES, WRITE_ORDER, Table

_MAX_ERROR_CHARACTERS = 500
_FEW_REFUSED = 16
_SPLITS_A_ROUND = 256


class Inserter(Protocol):
    """Sends one insert and waits for its acknowledgement."""

    async def insert(self, table: Table, rows: Sequence[tuple[object, ...]], token: str) -> None:
        """Raises ClickHouseError; unless it is a data error, nobody knows whether the rows are there."""
        ...


class Refused(msgspec.Struct, frozen=True):
    """ClickHouse refused a row of the record for what is in it; its own text may quote that."""

    table: str
    code: int
    name: str


class BatchWriter:
    """Writes batches; holds back for as long as ClickHouse does not take them."""

    def __init__(
        self, inserter: Inserter, *, clock: Clock, random: Random, emit: Emit, longest_wait_s: float = 5.0
    ) -> None:
        self._inserter = inserter
        self._clock = clock
        self._random = random
        self._emit = emit
        self._longest_wait_s = longest_wait_s

    async def write(self, entries: Sequence[Entry]) -> dict[int, Refused]:
        """Write all rows of a batch; return the refused entries by their index.

        Returns only when every row of every other entry is acknowledged.
        """
        refused: dict[int, Refused] = {}
        for table in WRITE_ORDER:
            rows: dict[bytes, Write] = {}
            owners: dict[bytes, list[int]] = {}
            for index, entry in enumerate(entries):
                # An entry whose page was refused must not leave an outcome that says page.
                if index in refused:
                    continue
                for write in entry.writes:
                    if write.table is table:
                        rows[write.key] = write
                        owners.setdefault(write.key, []).append(index)
            if not rows:
                continue
            for key, refusal in (await self._write_table(table, list(rows.values()))).items():
                refused.update(dict.fromkeys(owners[key], refusal))
        return refused

    async def _write_table(self, table: Table, writes: list[Write]) -> dict[bytes, Refused]:
        """Insert the rows of one table; return those refused for good, by key."""
        attempt = 0
        while True:
            # What remembers the outcome is our own row of plain values: refusing one is never its fault.
            most = 0 if table is OUTCOMES else max(_FEW_REFUSED, len(writes) // 2)
            refused = await self._isolate(table, writes, most)
            if len(refused) <= most:
                return refused
            wait = self._backoff(attempt)
            self._emit(
                TooManyRefused(
                    table=table.name, rows=len(writes), refused=len(refused), wait_s=round(wait, 3)
                )
            )
            await self._clock.sleep(wait)
            attempt += 1

    async def _isolate(self, table: Table, writes: list[Write], most: int) -> dict[bytes, Refused]:
        """Insert, splitting where rows are refused; stop as soon as more than ``most`` are.

        Many splits in a row are broken by pauses, so that ClickHouse is not flooded with small parts.
        """
        refused: dict[bytes, Refused] = {}
        shrunk: dict[bytes, Refused] = {}
        parts = [writes]
        splits = 0
        while parts:
            if len(refused) + len(shrunk) > most:
                return refused | shrunk
            part = parts.pop()
            error = await self._insert(table, part)
            if error is None:
                continue
            if len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
                splits += 1
                if splits % _SPLITS_A_ROUND == 0:
                    await self._clock.sleep(self._backoff(0))
                continue
            write = part[0]
            refusal = Refused(table.name, error.code, DATA_ERRORS[error.code])
            self._emit(
                RowRefused(
                    table=refusal.table,
                    code=refusal.code,
                    name=refusal.name,
                    minimal=write.fallback is not None,
                )
            )
            if write.fallback is not None:
                shrunk[write.key] = refusal
                parts.append([write.fallback])
            elif table is DEAD_LETTERS:
                await self._hold_row(table, write, error)
            else:
                refused[write.key] = refusal
        return refused

    async def _hold_row(self, table: Table, write: Write, error: ClickHouseError) -> None:
        """Send a minimal row again until it is taken: a dead letter never makes another one (O5)."""
        attempt = 0
        refusal: ClickHouseError | None = error
        while refusal is not None:
            await self._pause(table, 1, refusal, attempt)
            attempt += 1
            refusal = await self._insert(table, [write])

    async def _insert(self, table: Table, writes: list[Write]) -> ClickHouseError | None:
        """Insert until it is acknowledged; return the error that says that a row is wrong."""
        name = token(table.name, writes)
        rows = [write.row for write in writes]
        attempt = 0
        while True:
            try:
                await self._inserter.insert(table, rows, name)
            except ClickHouseError as error:
                if is_data_error(error.code):
                    return error
                await self._pause(table, len(rows), error, attempt)
                attempt += 1
            else:
                return None

    async def _pause(self, table: Table, rows: int, error: ClickHouseError, attempt: int) -> None:
        wait = self._backoff(attempt)
        self._emit(
            InsertHeld(
                table=table.name,
                rows=rows,
                code=error.code,
                error=_short(error),
                attempt=attempt + 1,
                wait_s=round(wait, 3),
            )
        )
        await self._clock.sleep(wait)

    def _backoff(self, attempt: int) -> float:
        """Return 0.5 s, 1 s, 2 s … up to the longest wait, less up to a half at random."""
        longest = min(0.5 * 2.0 ** min(attempt, 16), self._longest_wait_s)
        return longest * (1 - self._random.random() / 2)


def _short(error: ClickHouseError) -> str:
    return str(error)[:_MAX_ERROR_CHARACTERS]
