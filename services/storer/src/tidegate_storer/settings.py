"""Settings of the storer: the environment's ``TIDEGATE_STORER__<FIELD>``, validated.

Each field says what it means, its unit, its range and why it has its default.
"""

from typing import Annotated, Self, TypeAlias

import tidegate.settings
from pydantic import BeforeValidator, Field, model_validator
from tidegate.settings import Section


def _unset_where_empty(value: object) -> object:
    """Let an empty variable, which files of variables hand on, mean what one that is not there means."""
    return None if isinstance(value, str) and not value.strip() else value


_Days: TypeAlias = Annotated[int | None, BeforeValidator(_unset_where_empty)]


def check_retention(pages: int | None, dead_letters: int | None, outcomes: int | None) -> None:
    """Raise ValueError where outcomes go before what they judge. Days; 0 is for ever, None is not known."""
    judged = [days for days in (pages, dead_letters) if days is not None]
    if outcomes and judged and (0 in judged or outcomes < 2 * max(judged)):
        raise ValueError(
            "ttl_outcomes_days must be 0 or at least twice ttl_days and ttl_dead_letters_days, "
            "neither of which may then be 0"
        )


class StorerSettings(Section):
    """How rows are batched, pages parsed, and how long rows are kept."""

    batch_rows: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Records after which a batch is written. ClickHouse wants 1,000 rows an insert or more.",
    )
    batch_bytes: int = Field(
        24 << 20,
        ge=1 << 10,
        le=256 << 20,
        description="Bytes after which a batch is written, before compression: what bounds memory.",
    )
    batch_age_s: float = Field(
        5.0,
        gt=0,
        le=300,
        description="Seconds after which a batch is written, however small. Smaller shows rows earlier and "
        "makes more parts; the embedded stack uses 1.",
    )
    batches_in_flight: int = Field(
        2,
        ge=1,
        le=4,
        description="Batches being written at once: one is sent while the server works on the other, which "
        "stored a tenth more pages than one alone. Only full ones are written beside another, for ClickHouse "
        "likes few inserts.",
    )
    bytes_in_hand: int = Field(
        56 << 20,
        ge=1 << 20,
        le=4 << 30,
        description="Bytes of pages in hand at once: two batches in flight, one begun, some being parsed. "
        "A process takes three to four times as much beside its own 70 MB. At least a little more than "
        "batch_bytes for each batch in flight, or nothing is parsed meanwhile.",
    )
    max_body_bytes: int = Field(
        64 << 20,
        ge=1 << 20,
        le=1 << 30,
        description="Largest body after decompression; above it the page is a dead letter. Bounds what a "
        "forged record can make of the memory, so it is above what the fetcher lets through.",
    )
    insert_timeout_s: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Seconds until an insert without an answer is sent again; one that is not read to its "
        "end, after three times as long.",
    )
    insert_quorum: str = Field(
        "",
        pattern=r"^(|auto|\d+)$",
        description="Replicas that must have an insert before it counts: a number, or auto for a majority. "
        "Empty asks for one, which is lost with its disk. Set auto where there are three replicas.",
    )
    parser_workers: int = Field(
        2, ge=1, le=64, description="Parser processes. One parses about 1,000 pages of 30 KB a second."
    )
    parser_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Seconds that one page may take to parse, a thousand times the usual."
    )
    parser_memory_mb: int = Field(
        512, ge=128, le=65_536, description="Address space of a parser process, in MiB; Python takes 100."
    )
    ttl_days: _Days = Field(
        None,
        ge=0,
        le=36_500,
        description="Days that pages and their bodies are kept. `tidegate migrate` tells the tables, as with "
        "the next three: 0 keeps rows for ever, as new tables do; empty leaves what a table has.",
    )
    ttl_dead_letters_days: _Days = Field(
        None, ge=0, le=36_500, description="Days that dead letters are kept."
    )
    ttl_solves_days: _Days = Field(
        None, ge=0, le=36_500, description="Days that solves, and so costs, are kept."
    )
    ttl_outcomes_days: _Days = Field(
        None,
        ge=0,
        le=36_500,
        description="Days that the outcomes of jobs are kept. At least twice as long as pages and dead "
        "letters: an expired page must still beat a dead letter of its job.",
    )
    schema_wait_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Seconds that a start waits for the tables, where a migration runs beside it; 0 ends the "
        "process at once, saying what to run.",
    )
    migrate_wait_s: float = Field(
        60.0, ge=0, le=3600, description="Seconds that `migrate` waits for ClickHouse to answer."
    )

    @model_validator(mode="after")
    def _outcomes_outlive_what_they_judge(self) -> Self:
        check_retention(self.ttl_days, self.ttl_dead_letters_days, self.ttl_outcomes_days)
        return self


class Settings(tidegate.settings.Settings):
    """All settings of the storer."""

    storer: StorerSettings = StorerSettings()
