"""What the storer says of itself."""

from typing import ClassVar

from tidegate.events import Event


class BatchStored(Event, frozen=True):
    """ClickHouse acknowledged a batch: ``bytes`` before compression, ``seconds`` for all its inserts."""

    level: ClassVar[str] = "debug"
    records: int
    rows: int
    bytes: int
    refused: int
    seconds: float


class InsertHeld(Event, frozen=True):
    """ClickHouse did not take an insert for a reason that is not the rows'; it is sent again."""

    level: ClassVar[str] = "warning"
    table: str
    rows: int
    code: int
    error: str
    attempt: int
    wait_s: float


class RowRefused(Event, frozen=True):
    """ClickHouse refused one row for what is in it; its record becomes a dead letter, or a minimal row."""

    level: ClassVar[str] = "warning"
    table: str
    code: int
    name: str
    minimal: bool


class TooManyRefused(Event, frozen=True):
    """So many rows of a batch are refused that the fault is not theirs: the batch is held."""

    level: ClassVar[str] = "error"
    table: str
    rows: int
    refused: int
    wait_s: float


class ParserDied(Event, frozen=True):
    """A parser's process died, was too slow or took too much memory, and is replaced."""

    level: ClassVar[str] = "warning"
    parser: str
    cause: str
    redone: bool


class ClickHouseAway(Event, frozen=True):
    """ClickHouse does not answer at the start; it is waited for."""

    level: ClassVar[str] = "warning"
    error: str
    wait_s: float


class StorerReady(Event, frozen=True):
    """The schema is right and the parsers are there."""

    schema_version: int
    parsers: str
