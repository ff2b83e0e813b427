"""What can be exported, and how it is written."""

from enum import StrEnum


class What(StrEnum):
    """Which view is exported; one row for each job, page, dead letter or captcha request."""

    PAGES = "pages"
    DEAD_LETTERS = "dead-letters"
    JOBS = "jobs"
    SOLVES = "solves"

    @property
    def view(self) -> str:
        """Its name in ClickHouse."""
        return self.value.replace("-", "_")


class ExportFormat(StrEnum):
    """How rows are written."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"

    @property
    def in_clickhouse(self) -> str:
        """Its name there."""
        return {"parquet": "Parquet", "jsonl": "JSONEachRow", "csv": "CSVWithNames"}[self.value]
