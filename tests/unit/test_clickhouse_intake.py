"""Taking a body in: where it goes, and its bounds."""

from pathlib import Path

import pytest
from tidegate_cli.clickhouse.errors import Fault
from tidegate_cli.clickhouse.frames import decoder
from tidegate_cli.clickhouse.intake import Intake, Limits
from tidegate_cli.clickhouse.spool import Spool
from tidegate_cli.clickhouse.statement import Insert, Query

SMALL = Limits(body_bytes=1_000, sql_bytes=300, peek_bytes=100)


def test_rows_go_to_a_file_and_the_file_goes_away(tmp_path: Path) -> None:
    """The statement is cut off, the rows are in the spool while the intake is open."""
    spool = Spool(tmp_path, 1_000)
    with Intake(b"", decoder(""), spool, SMALL) as intake:
        for piece in (b"INSERT INTO t FOR", b"MAT TSV\n1", b"\n2\n" * 60):
            intake.feed(piece)
        assert isinstance(intake.finish(), Insert)
        assert intake.data is not None
        assert Path(intake.data.path).read_bytes() == b"1" + b"\n2\n" * 60
        assert spool.used_bytes == 181
    assert spool.used_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_a_statement_may_be_the_parameter_alone(tmp_path: Path) -> None:
    """An empty body is a body."""
    with Intake(b"SELECT 1\n", decoder(""), Spool(tmp_path, 1_000), SMALL) as intake:
        statement = intake.finish()
    assert isinstance(statement, Query)
    assert statement.sql == "SELECT 1\n"
    assert intake.data is None


def take(intake: Intake, size: int) -> None:
    """Give it that many blanks, in small pieces."""
    for _ in range(size // 50 + 1):
        intake.feed(b" " * 50)
    intake.finish()


@pytest.mark.parametrize(
    ("sql", "size", "code"),
    [
        (b"INSERT INTO t FORMAT TSV\n", 1_001, 307),
        (b"SELECT 1", 400, 229),
        (b"INSERT INTO t FORMAT TSV\n", 600, 243),
    ],
)
def test_each_bound_has_its_code(tmp_path: Path, sql: bytes, size: int, code: int) -> None:
    """A body too large, a statement too large, a spool that is full."""
    spool = Spool(tmp_path, 500 if code == 243 else 5_000)
    with Intake(sql, decoder(""), spool, SMALL) as intake, pytest.raises(Fault) as caught:
        take(intake, size)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_spool_begins_empty(tmp_path: Path) -> None:
    """What a killed process left is deleted."""
    (tmp_path / "b-left").write_bytes(b"x")
    Spool(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
