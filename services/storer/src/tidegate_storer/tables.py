"""The tables as the writer sees them: names, columns and types, in the order in which a batch writes. Pure.

The order is what makes a crash between two inserts harmless; ``batch_writer`` says why.
"""

import msgspec


class Table(msgspec.Struct, frozen=True):
    """A table: its columns in the order of a row's values, with ClickHouse's names of their types."""

    name: str
    columns: tuple[tuple[str, str], ...]

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [name for name, _ in self.columns]

    @property
    def types(self) -> list[str]:
        """The types of the columns."""
        return [kind for _, kind in self.columns]


_WORD = "LowCardinality(String)"
_TIME = "DateTime64(3, 'UTC')"
_COUNTS = "Map(LowCardinality(String), UInt32)"
_RECORD = (
    ("record_topic", _WORD),
    ("record_partition", "UInt32"),
    ("record_offset", "UInt64"),
    ("recorded_at", _TIME),
    ("trace_id", "String"),
)

BODIES = Table(
    "bodies",
    (("body_hash", "String"), ("accepted_at", _TIME), ("length", "UInt64"), ("body", "String")),
)
PAGES = Table(
    "pages_log",
    (
        ("run", _WORD),
        ("id", "String"),
        ("version", "UInt128"),
        ("url", "String"),
        ("final_url", "String"),
        ("site", _WORD),
        ("status", "UInt16"),
        ("content_type", _WORD),
        ("charset", _WORD),
        ("body_hash", "String"),
        ("length", "UInt64"),
        ("title", "String"),
        ("text_length", "UInt64"),
        ("link_count", "UInt32"),
        ("links", "Array(String)"),
        ("canonical", "String"),
        ("language", _WORD),
        ("parsed", "String"),
        ("headers", "Map(LowCardinality(String), String)"),
        ("metadata", "String"),
        ("parser", _WORD),
        ("lane", _WORD),
        ("attempts", _COUNTS),
        ("hop", "UInt32"),
        ("challenges", "UInt32"),
        ("solve_cost", "Float64"),
        ("proxy_id", _WORD),
        ("fetched_at", _TIME),
        ("elapsed_ms", "UInt32"),
        ("accepted_at", _TIME),
        *_RECORD,
    ),
)
DEAD_LETTERS = Table(
    "dead_letters_log",
    (
        ("run", _WORD),
        ("id", "String"),
        ("version", "UInt128"),
        ("url", "String"),
        ("final_url", "String"),
        ("site", _WORD),
        ("reason", _WORD),
        ("error_class", _WORD),
        ("message", "String"),
        ("service", _WORD),
        ("last_status", "UInt16"),
        ("lane", _WORD),
        ("attempts", _COUNTS),
        ("hop", "UInt32"),
        ("solve_cost", "Float64"),
        ("body_hash", "String"),
        ("original", "String"),
        ("original_length", "UInt64"),
        ("original_hash", "String"),
        ("minimal", "Bool"),
        ("accepted_at", _TIME),
        ("dead_at", _TIME),
        ("origin_topic", _WORD),
        ("origin_partition", "UInt32"),
        ("origin_offset", "UInt64"),
        *_RECORD,
    ),
)
SOLVES = Table(
    "solves_log",
    (
        ("request_id", "String"),
        ("version", "UInt128"),
        ("run", _WORD),
        ("job_id", "String"),
        ("site", _WORD),
        ("kind", _WORD),
        ("status", _WORD),
        ("provider", _WORD),
        ("task_id", "String"),
        ("cost", "Float64"),
        ("in_doubt", "Bool"),
        ("polls", "UInt32"),
        ("error_code", _WORD),
        ("requested_at", _TIME),
        ("created_at", f"Nullable({_TIME})"),
        ("answered_at", _TIME),
        *_RECORD,
    ),
)
OUTCOMES = Table(
    "outcomes",
    (
        ("run", _WORD),
        ("id", "String"),
        ("version", "UInt128"),
        ("outcome", _WORD),
        ("site", _WORD),
        ("status", "UInt16"),
        ("reason", _WORD),
        ("accepted_at", _TIME),
        ("recorded_at", _TIME),
    ),
)

WRITE_ORDER: tuple[Table, ...] = (BODIES, PAGES, DEAD_LETTERS, SOLVES, OUTCOMES)
