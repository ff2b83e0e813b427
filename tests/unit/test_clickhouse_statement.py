"""Reading SQL as far as HTTP needs it."""

import pytest
from tidegate_cli.clickhouse.errors import Fault
from tidegate_cli.clickhouse.statement import Insert, Query, read


def insert(text: bytes) -> Insert:
    """Read a complete text that must be an insert with data."""
    statement = read(text, complete=True)
    assert isinstance(statement, Insert)
    return statement


def query(text: bytes) -> Query:
    """Read a complete text that must be something else."""
    statement = read(text, complete=True)
    assert isinstance(statement, Query)
    return statement


@pytest.mark.parametrize(
    ("text", "target", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", "INSERT INTO t ", "CSV", b"1,2"),
        (b"insert into t(a,b) format CSV 1,2", "insert into t(a,b) ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT CSV\r\n1", "INSERT INTO t ", "CSV", b"1"),
        (b"INSERT INTO t FORMAT CSV\n\n1", "INSERT INTO t ", "CSV", b"\n1"),
        (b"INSERT INTO t FORMAT CSV", "INSERT INTO t ", "CSV", b""),
        (b"INSERT INTO t VALUES (1)", "INSERT INTO t ", "Values", b" (1)"),
        (b"INSERT INTO db.`format` VALUES(1)", "INSERT INTO db.`format` ", "Values", b"(1)"),
        (b"INSERT INTO format FORMAT TSV\nx", "INSERT INTO format ", "TSV", b"x"),
        (b"INSERT INTO values.select (a) VALUES 1", "INSERT INTO values.select (a) ", "Values", b" 1"),
        (b"INSERT INTO FUNCTION null('a') FORMAT TSV\n1", "INSERT INTO FUNCTION null('a') ", "TSV", b"1"),
        (b"INSERT INTO t (`FORMAT CSV`, b) FORMAT TSV\n1", "INSERT INTO t (`FORMAT CSV`, b) ", "TSV", b"1"),
        (b"/* FORMAT C */ INSERT INTO t -- FORMAT T\n FORMAT Native\n\xff\x00", "", "Native", b"\xff\x00"),
        (b"INSERT INTO {t:Identifier} FORMAT TSV\n1", "INSERT INTO {t:Identifier} ", "TSV", b"1"),
    ],
)  # fmt: skip
def test_data_begin_behind_the_format(text: bytes, target: str, name: str, data: bytes) -> None:
    """Names, comments and strings that look like the clause are not the clause."""
    statement = insert(text)
    assert text[statement.data_at :] == data
    assert statement.format == name
    assert not target or statement.target == target


def test_settings_go_behind_the_file() -> None:
    """FROM INFILE stands between the columns and the settings; the path is quoted."""
    statement = insert(b"INSERT INTO t (a) SETTINGS x = 'FORMAT CSV', y = 1 FORMAT TSV\n1")
    expected = (
        r"INTO t (a) FROM INFILE '/a\'b' COMPRESSION 'none' SETTINGS x = 'FORMAT CSV', y = 1 FORMAT TSV"
    )
    assert " ".join(statement.from_file("/a'b").split()) == f"INSERT {expected}"


WHOLE = b"INSERT INTO t (a) SETTINGS max_threads = 1 FORMAT TSV\n"


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_a_beginning_is_not_judged(cut: int) -> None:
    """As long as the data's place is not certain, more is asked for."""
    assert read(WHOLE[:cut], complete=False) is None


def test_what_is_not_an_insert_waits_for_its_end() -> None:
    """A question may name its format last."""
    assert read(b"SELECT 1 FORMAT JSON", complete=False) is None
    assert read(b"INSERT INTO t SELECT 1 ", complete=False) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1", (None, True, True)),
        (b"SELECT 1 FORMAT JSON", ("JSON", True, True)),
        (b"SELECT 'FORMAT CSV' FORMAT JSON;", ("JSON", True, True)),
        (b"SELECT (SELECT 1 FORMAT x)", (None, True, True)),
        (b"(SELECT 1) UNION ALL (SELECT 2) FORMAT TSV", ("TSV", True, True)),
        (b"WITH 1 AS x SELECT x -- FORMAT CSV", (None, True, True)),
        (b"SHOW TABLES", (None, True, False)),
        (b"CREATE TABLE t (format String) ENGINE = Memory", (None, False, False)),
        (b"INSERT INTO t SELECT 1", (None, False, False)),
        (b"", (None, False, False)),
    ],
)
def test_a_statement_says_what_it_answers(text: bytes, expected: tuple[str | None, bool, bool]) -> None:
    """Its format, whether it has rows, and whether they can be streamed."""
    statement = query(text)
    assert (statement.format, statement.has_result, statement.streams) == expected


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (b"SELECT 1 FORMAT Parquet", "SELECT 1 \n\n"),
        (b"SELECT 'FORMAT x' AS a -- c\nFORMAT Parquet SETTINGS max_threads = 1;", "max_threads = 1\n"),
        (b"SELECT 1;", "SELECT 1\n\n"),
    ],
)
def test_an_answer_can_go_to_a_file(text: bytes, head: str) -> None:
    """The format's clause is replaced, settings behind it stay; a quote in the path is none of SQL."""
    sql = query(text).into_file("/a'b", "Parquet")
    assert sql.endswith(head.replace("1 ", "1", 1) + "INTO OUTFILE '/a\\'b' APPEND FORMAT Parquet")
    assert sql.startswith("SELECT")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"SELECT 1 INTO OUTFILE 'x'", 358),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78),
        (b"SYSTEM SHUTDOWN", 48),
        (b" system /**/ kill", 48),
        (b"INSERT INTO t FORMAT CSV; 1", 62),
        (b"SELECT '\xff'", 62),
    ],
)
def test_what_must_not_reach_the_engine_is_refused(text: bytes, code: int) -> None:
    """Files of this machine, the end of this process, and bytes that are no text."""
    with pytest.raises(Fault) as caught:
        read(text, complete=True)
    assert caught.value.code == code


def test_a_string_that_never_ends_is_left_to_the_engine() -> None:
    """The engine has the better words for a syntax error."""
    assert query(b"INSERT INTO t VALUE 'abc").sql == "INSERT INTO t VALUE 'abc"
    assert read(b"INSERT INTO `t FORMAT CSV\n1", complete=False) is None
