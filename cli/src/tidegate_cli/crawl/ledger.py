"""Which ids were submitted and which have an outcome: on disk, so that a million of them need no memory.

The judgement at the end is a set comparison of the two, not a comparison of counts: a lost job and an
invented one would cancel out in counts.
"""

# ruff: noqa: S608 -- only names of our own tables are put into the text; values are parameters

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison says; the samples hold a few ids of each kind for the report."""

    submitted: int
    lost: int
    invented: int
    lost_sample: tuple[str, ...] = ()
    invented_sample: tuple[str, ...] = ()


class Ledger:
    """Two sets of ids in a SQLite file. Not for sharing between processes."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        # A crash of this process ends the crawl's judgement anyway: no journal is kept.
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        for table in ("submitted", "outcome"):
            self._db.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it stays for whoever wants to read it."""
        self._db.close()

    def submit(self, ids: Sequence[str]) -> int:
        """Note ids before they are produced; return how many of them are new."""
        return self._add("submitted", ids)

    def outcomes(self, ids: Iterable[str]) -> int:
        """Note ids that have an outcome; return how many of them are new."""
        return self._add("outcome", ids)

    def forget_outcomes(self) -> None:
        """Start the second set anew, for another look at ClickHouse."""
        self._db.execute("DELETE FROM outcome")

    def _add(self, table: str, ids: Iterable[str]) -> int:
        before = self._db.total_changes
        self._db.execute("BEGIN")
        # The table's name is one of the two above.
        self._db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", ((i,) for i in ids))
        self._db.execute("COMMIT")
        return self._db.total_changes - before

    def judge(self, sample: int = 5) -> Verdict:
        """Compare the two sets."""
        (submitted,) = self._db.execute("SELECT count(*) FROM submitted").fetchone()
        lost, lost_sample = self._difference("submitted", "outcome", sample)
        invented, invented_sample = self._difference("outcome", "submitted", sample)
        return Verdict(
            submitted=submitted,
            lost=lost,
            invented=invented,
            lost_sample=lost_sample,
            invented_sample=invented_sample,
        )

    def _difference(self, left: str, right: str, sample: int) -> tuple[int, tuple[str, ...]]:
        where = f"FROM {left} WHERE NOT EXISTS (SELECT 1 FROM {right} WHERE {right}.id = {left}.id)"
        (count,) = self._db.execute(f"SELECT count(*) {where}").fetchone()
        rows = self._db.execute(f"SELECT id {where} ORDER BY id LIMIT ?", (sample,)).fetchall()
        return count, tuple(row[0] for row in rows)
