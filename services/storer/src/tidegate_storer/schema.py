"""The numbered migrations as data, and whether a database has those that this storer needs.

Migrations are the files ``migrations/NNNN_name.sql``, applied in order and never changed afterwards. A file
is text in ClickHouse's SQL with two words to fill in, so that one text serves both kinds of installation:
``{on_cluster}`` becomes nothing or ``ON CLUSTER 'name'``, and ``{replicated}`` nothing or ``Replicated``.
A statement ends with a semicolon at the end of a line. Every statement must be harmless when run again.
"""

import hashlib
import re
from importlib.resources import files

import msgspec
from tidegate.errors import ClickHouseError, ConfigurationError

from tidegate_storer.clickhouse import ClickHouse

TABLE = "schema_migrations"
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_NOT_THERE = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE


class Migration(msgspec.Struct, frozen=True):
    """One file. The checksum is that of its text before anything is filled in."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What tells whether the file was changed after it had been applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    def statements(self, cluster: str | None) -> list[str]:
        """Return the statements for a single server, or for the replicas of a cluster."""
        return statements(self.text, cluster)


def statements(text: str, cluster: str | None) -> list[str]:
    """Return the statements in a text, filled in and without comments. Raises ConfigurationError."""
    if cluster is not None and not re.fullmatch(r"[\w.{}-]{1,128}", cluster):
        raise ConfigurationError("TIDEGATE_CLICKHOUSE__CLUSTER may have letters, digits and . - _ { } only")
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    filled = bare.replace("{on_cluster}", f"ON CLUSTER '{cluster}'" if cluster else "")
    filled = filled.replace("{replicated}", "Replicated" if cluster else "")
    return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", filled) if part.strip()]


def migrations() -> list[Migration]:
    """Return all migrations, in order. They are numbered from 1 without a gap."""
    found = []
    for file in files("tidegate_storer").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    return found


async def check_schema(clickhouse: ClickHouse) -> int:
    """Return the schema's version, the newest that this storer needs or a newer one.

    Raises ConfigurationError that says what to run, and ClickHouseError when the server is away.
    """
    needed = migrations()[-1].version
    try:
        rows = await clickhouse.query(f"SELECT max(version) FROM {TABLE}")  # noqa: S608 -- constant
    except ClickHouseError as error:
        if error.code not in _NOT_THERE:
            raise
        found = 0
    else:
        found = int(rows[0][0]) if rows else 0
    if found < needed:
        raise ConfigurationError(
            f"the database has schema version {found}, this storer needs {needed}: "
            "run `python -m tidegate_storer migrate` (or `tidegate migrate`) and start it again"
        )
    return found
