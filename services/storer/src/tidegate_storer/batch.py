"""A batch that is being filled: what is in it, and when it is full. Pure.

It is closed by rows, bytes or age, whichever comes first; ``now`` is monotonic seconds.
"""

import hashlib
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from tidegate_storer.rows import Write

T = TypeVar("T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a batch is closed: ``rows`` are records, ``size`` is in bytes before compression."""

    rows: int = 1_000
    size: int = 16 << 20
    age_s: float = 5.0


class Entry(msgspec.Struct, frozen=True):
    """All rows of one record, in the order in which they must be written. ``size`` in bytes."""

    writes: tuple[Write, ...]
    size: int


class Batch(Generic[T]):
    """Entries with a ticket each, by which their owner is told."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.entries: list[Entry] = []
        self.tickets: list[T] = []
        self.size = 0
        self._due: float | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Entry, ticket: T, now: float) -> None:
        """Add a record's rows; the first one starts the batch's age."""
        if self._due is None:
            self._due = now + self._limits.age_s
        self.entries.append(entry)
        self.tickets.append(ticket)
        self.size += entry.size

    def hurry(self, now: float) -> None:
        """Make it due: somebody can give nothing more before it is written."""
        self._due = now

    def is_full(self) -> bool:
        """Whether it is to be closed whatever its age."""
        return len(self.entries) >= self._limits.rows or self.size >= self._limits.size

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until it is due, 0 when it is, None while it is empty."""
        if self._due is None:
            return None
        return 0.0 if self.is_full() else max(self._due - now, 0.0)


def token(table: str, writes: Iterable[Write]) -> str:
    """Return the deduplication token of an insert: a digest of its table and its rows' keys, in order.

    ClickHouse drops an insert whose token it knows without a word, even when the rows are others (O4). So
    the token is made of what makes a row that row, identity and version, and of nothing else.
    """
    digest = hashlib.blake2b(f"{len(table)}:{table}".encode(), digest_size=16)
    for write in writes:
        digest.update(len(write.key).to_bytes(4, "big"))
        digest.update(write.key)
    return digest.hexdigest()
