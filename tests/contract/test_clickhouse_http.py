"""The contract of ClickHouse's HTTP interface, as far as Tidegate and its users rely on it.

The embedded endpoint is started as a process. With TEST_CLICKHOUSE_URL the same tests run against
that server; what only the embedded one promises is then skipped.
"""

import asyncio
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import clickhouse_connect
import lz4.frame  # type: ignore[import-untyped]
import pytest
from backports import zstd
from clickhouse_connect.driver.exceptions import DatabaseError
from support.clickhouse import REAL_URL, Address, Process

embedded_only = pytest.mark.skipif(bool(REAL_URL), reason="a promise of the embedded endpoint")
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.decompress,
    "zstd": zstd.decompress,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A ClickHouse to talk to."""
    if REAL_URL:
        yield Address(REAL_URL)
        return
    process = Process(tmp_path_factory.mktemp("clickhouse"))
    yield process
    assert process.stop() == 0


@pytest.fixture
def table(server: Address) -> Iterator[str]:
    """An empty table of (id, body)."""
    name = f"contract_{random.Random().getrandbits(48):x}"
    server.sql(f"CREATE TABLE {name} (id UInt64, body String) ENGINE = MergeTree ORDER BY id")
    yield name
    server.sql(f"DROP TABLE {name}")


@pytest.fixture(scope="module")
def pages() -> list[list[Any]]:
    """2,000 rows of 30 KB that hardly compress: several blocks, so several frames."""
    return [[number, os.urandom(15_000).hex()] for number in range(2_000)]


def hashes(rows: list[list[Any]]) -> list[tuple[int, str]]:
    """Return (id, SHA-256 of the body) of rows that were sent."""
    return [(number, hashlib.sha256(body.encode()).hexdigest()) for number, body in rows]


def stored(server: Address, table: str) -> list[tuple[int, str]]:
    """Return (id, SHA-256 of the body) of the rows that are in the table."""
    text = server.sql(f"SELECT id, lower(hex(SHA256(body))) FROM {table} ORDER BY id")
    return [(int(line.split("\t")[0]), line.split("\t")[1]) for line in text.splitlines()]


def count(server: Address, table: str) -> int:
    """Return the number of rows in the table."""
    return int(server.sql(f"SELECT count() FROM {table}"))


# Inserts


@pytest.mark.parametrize("compress", [False, "lz4", "zstd"])
def test_a_sync_insert_of_many_frames_arrives_completely(
    server: Address, table: str, pages: list[list[Any]], compress: Any
) -> None:
    """2,000 rows of 30 KB through clickhouse-connect's client: none missing, none changed."""
    client = clickhouse_connect.get_client(**server.options, compress=compress)  # type: ignore[arg-type]
    try:
        summary = client.insert(table, pages, column_names=["id", "body"])
        assert summary.written_rows == len(pages)
        assert stored(server, table) == hashes(pages)
        if compress:
            assert client.query(f"SELECT id, body FROM {table} ORDER BY id").result_rows == [
                tuple(row) for row in pages
            ]
    finally:
        client.close()


async def test_an_async_insert_of_many_frames_arrives_completely(
    server: Address, table: str, pages: list[list[Any]]
) -> None:
    """The same through clickhouse-connect's asynchronous client, with its default compression."""
    client = await clickhouse_connect.get_async_client(**server.options)  # type: ignore[arg-type]
    try:
        summary = await client.insert(table, pages, column_names=["id", "body"])
        assert summary.written_rows == len(pages)
        assert stored(server, table) == hashes(pages)
        result = await client.query(f"SELECT id, body FROM {table} ORDER BY id")
        assert result.result_rows == [tuple(row) for row in pages]
    finally:
        await client.close()


@pytest.mark.parametrize("encoding", ENCODERS)
def test_concatenated_frames_are_all_read(server: Address, table: str, encoding: str) -> None:
    """Frame after frame, also when the statement is inside the first one."""
    lines = [json.dumps({"id": number, "body": "x" * number}).encode() + b"\n" for number in range(300)]
    first = f"INSERT INTO {table} FORMAT JSONEachRow\n".encode() + lines[0]
    body = b"".join(ENCODERS[encoding](part) for part in [first, *lines[1:]])
    reply = server.ask(body, headers={"Content-Encoding": encoding})
    assert reply.status == 200, reply.text
    assert stored(server, table) == hashes([[number, "x" * number] for number in range(300)])


@embedded_only
def test_concatenated_brotli_streams_are_all_read(server: Address, table: str) -> None:
    """The client sends a brotli stream per block; a real server reads only one."""
    lines = [f"{number}\t{'x' * number}\n".encode() for number in range(50)]
    body = b"".join(brotli.compress(line, quality=1) for line in lines)
    reply = server.ask(body, {"query": f"INSERT INTO {table} FORMAT TSV"}, {"Content-Encoding": "br"})
    assert reply.status == 200, reply.text
    assert count(server, table) == 50


FORMATS = {
    "JSONEachRow": b'{"id": 1, "body": "a"}\n{"id": 2, "body": "b"}\n',
    "CSV": b'1,"a"\n2,"b"\n',
    "TSV": b"1\ta\n2\tb\n",
    "RowBinary": b"\x01\0\0\0\0\0\0\0\x01a\x02\0\0\0\0\0\0\0\x01b",
    "Native": b"\x02\x02\x02id\x06UInt64\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x04body\x06String\x01a\x01b",
    "Values": b"(1, 'a'), (2, 'b')",
}


@pytest.mark.parametrize("where", ["parameter", "body", "both"])
@pytest.mark.parametrize("name", FORMATS)
def test_data_follow_the_statement_wherever_it_is(server: Address, table: str, name: str, where: str) -> None:
    """SQL in the query parameter, at the head of the body, or begun in one and ended in the other."""
    statement = f"INSERT INTO {table} (id, body) FORMAT {name}"
    if where == "parameter":
        reply = server.ask(FORMATS[name], {"query": statement})
    elif where == "body":
        reply = server.ask(statement.encode() + b"\n" + FORMATS[name])
    else:
        reply = server.ask(
            b"(id, body) SETTINGS max_threads = 1 FORMAT " + name.encode() + b"\n" + FORMATS[name],
            {"query": f"INSERT INTO {table}"},
        )
    assert reply.status == 200, reply.text
    assert server.sql(f"SELECT groupArray((id, body)) FROM {table}") == "[(1,'a'),(2,'b')]"


def test_values_may_be_expressions_and_parameters(server: Address, table: str) -> None:
    """INSERT … VALUES is more than data."""
    reply = server.ask(
        f"INSERT INTO {table} VALUES (1, upper('a')), (2, {{x:String}})".encode(), {"param_x": "it's"}
    )
    assert reply.status == 200, reply.text
    assert server.sql(f"SELECT groupArray(body) FROM {table}") == "['A','it\\'s']"


def test_an_insert_from_a_select_reports_its_rows(server: Address, table: str) -> None:
    """The summary counts the rows that were written."""
    reply = server.ask(f"INSERT INTO {table} SELECT number, 'x' FROM numbers(10)".encode())
    assert json.loads(reply.headers["X-ClickHouse-Summary"])["written_rows"] == "10"
    assert count(server, table) == 10


@pytest.mark.parametrize("rows", [3, 3_000])
def test_a_token_makes_a_repeated_insert_vanish(server: Address, rows: int) -> None:
    """The same block with the same insert_deduplication_token counts once, in one part or in many (O4)."""
    name = f"contract_token_{rows}"
    server.sql(
        f"CREATE TABLE {name} (id UInt64, body String) ENGINE = MergeTree ORDER BY id "
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    data = b"".join(b"%d\t%s\n" % (number, b"x" * 10_000) for number in range(rows))
    settings = {"min_insert_block_size_bytes": "5000000", "min_insert_block_size_rows": "400"}
    for token in ("one", "one", "two"):
        query = {"query": f"INSERT INTO {name} FORMAT TSV", "insert_deduplication_token": token}
        reply = server.ask(data, query | settings)
        assert reply.status == 200, reply.text
    assert count(server, name) == 2 * rows
    server.sql(f"DROP TABLE {name}")


# Bad inserts


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("JSONEachRow", b'{"id": "x"}', 27),
        ("CSV", b"x,y\n", 27),
        ("CSV", b"1,2,3,4\n", 117),
        ("TSV", b"1\n", 27),
        ("Values", b"('x', 'y')", 6),
        ("Native", b"\x02\x01\x02id\x06UInt64\x01\0", 33),
        ("Nonsense", b"1", 73),
    ],
)
def test_a_bad_row_is_refused_with_its_code(
    server: Address, table: str, name: str, data: bytes, code: int
) -> None:
    """The storer splits a batch by these codes, so they are the server's own (O5)."""
    reply = server.ask(data, {"query": f"INSERT INTO {table} (id, body) FORMAT {name}"})
    assert reply.code == code, reply.text
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "spool" not in reply.text
    assert count(server, table) == 0


def test_the_client_raises_database_error_with_the_code(server: Address, table: str) -> None:
    """clickhouse-connect finds the number and the name of the error."""
    client = clickhouse_connect.get_client(**server.options)  # type: ignore[arg-type]
    try:
        with pytest.raises(DatabaseError) as caught:
            client.raw_insert(table, ["id", "body"], b'{"id": "x"}', fmt="JSONEachRow")
        assert (caught.value.code, caught.value.name) == (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED")
        with pytest.raises(DatabaseError) as caught:
            client.query("SELECT * FROM there_is_no_such_table")
        assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    finally:
        client.close()


@pytest.mark.parametrize("compress", [False, "lz4", "zstd"])
def test_a_row_that_the_client_cannot_write_leaves_nothing(
    server: Address, table: str, compress: Any
) -> None:
    """The client breaks its own body on purpose then; no row of it may appear."""
    client = clickhouse_connect.get_client(**server.options, compress=compress)  # type: ignore[arg-type]
    try:
        rows: list[list[Any]] = [[number, "x"] for number in range(10)]
        rows[7][0] = "not a number"
        with pytest.raises(Exception, match=r"."):
            client.insert(table, rows, column_names=["id", "body"])
        assert count(server, table) == 0
    finally:
        client.close()


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_body_is_refused(server: Address, table: str, encoding: str, damage: str) -> None:
    """A body that ends inside a frame, or goes on as something else, stores nothing."""
    whole = ENCODERS[encoding](b"1\ta\n" * 1_000)
    second = ENCODERS[encoding](os.urandom(3_000).hex().encode())
    body = whole + (second[: len(second) // 2] if damage == "cut" else b"INTERNAL EXCEPTION")
    reply = server.ask(body, {"query": f"INSERT INTO {table} FORMAT TSV"}, {"Content-Encoding": encoding})
    assert reply.status >= 400
    assert reply.code > 0
    assert count(server, table) == 0


@embedded_only
def test_a_client_that_hangs_up_in_mid_body_stores_nothing(server: Address, table: str) -> None:
    """Half of the declared body is not a body."""
    line = b"1\ta\n"
    target = f"/?query=INSERT+INTO+{table}+FORMAT+TSV"
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n\r\n"
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(head.encode() + line * 500)
    assert count(server, table) == 0


# Questions


def test_get_and_post_answer_in_the_asked_format(server: Address) -> None:
    """SQL by GET, by POST, with a default format and with its own."""
    assert server.ask(method="GET", parameters={"query": "SELECT 1, 2"}).text == "1\t2"
    assert server.ask(b"SELECT 1, 2", {"default_format": "CSV"}).text == "1,2"
    reply = server.ask(b"SELECT 1 AS a FORMAT JSON", {"query_id": "contract-1"})
    assert json.loads(reply.body)["data"] == [{"a": 1}]
    assert reply.headers["X-ClickHouse-Format"] == "JSON"
    assert reply.headers["X-ClickHouse-Query-Id"] == "contract-1"
    assert reply.headers["X-ClickHouse-Timezone"]
    assert "X-ClickHouse-Format" not in server.ask(b"SYSTEM FLUSH LOGS").headers


def test_curl_asks_and_inserts(server: Address, table: str, tmp_path: Path) -> None:
    """The command lines of ClickHouse's own documentation."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    url = f"http://{server.user}:{server.password}@{server.host}:{server.port}/"
    data = tmp_path / "rows.csv"
    data.write_text('1,"a"\n2,"b"\n')

    def run(*arguments: str) -> str:
        done = subprocess.run([curl, "-sS", "--fail", *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    run(f"{url}?query=INSERT%20INTO%20{table}%20FORMAT%20CSV", "--data-binary", f"@{data}")
    assert run(url, "-d", f"SELECT sum(id) FROM {table}") == "3\n"
    assert run(f"{url}ping") == "Ok.\n"


@pytest.mark.parametrize("encoding", DECODERS)
def test_answers_are_compressed_when_asked(server: Address, encoding: str) -> None:
    """One frame, because clients read one; nothing compressed without the setting."""
    sql = b"SELECT number, repeat('x', 100) FROM numbers(20000) FORMAT TSV"
    plain = server.ask(sql, headers={"Accept-Encoding": encoding})
    assert "Content-Encoding" not in plain.headers
    packed = server.ask(sql, {"enable_http_compression": "1"}, {"Accept-Encoding": encoding})
    assert packed.headers["Content-Encoding"] == encoding
    assert len(packed.body) < len(plain.body) / 5
    assert DECODERS[encoding](packed.body) == plain.body


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", "br", "deflate"])
def test_the_client_reads_every_compression(server: Address, compress: str) -> None:
    """A result of several chunks, read by clickhouse-connect."""
    client = clickhouse_connect.get_client(**server.options, compress=compress)  # type: ignore[arg-type]
    try:
        rows = client.query("SELECT number, toString(number) FROM numbers(100000)").result_rows
        assert rows == [(number, str(number)) for number in range(100_000)]
    finally:
        client.close()


@pytest.mark.parametrize("name", ["JSON", "CSVWithNames", "Native", "TSV", "JSONEachRow", "Pretty"])
def test_totals_and_heads_of_formats_come_once(server: Address, name: str) -> None:
    """An answer of many blocks is one document: its head, rows, totals and foot."""
    sql = f"SELECT number % 3 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT {name}"
    body = server.ask(sql.encode()).body
    if name == "TSV":
        assert body == b"0\t4\n1\t3\n2\t3\n\n0\t10\n"
    elif name == "JSON":
        assert json.loads(body)["totals"] == {"k": 0, "count()": 10}
    elif name == "CSVWithNames":
        assert body.startswith(b'"k","count()"\n0,4\n')
        assert body.count(b"count()") == 1
    else:
        assert body


def test_parameters_come_through_unharmed(server: Address) -> None:
    """Quotes, line breaks, arrays, identifiers, and values too long for a URL."""
    client = clickhouse_connect.get_client(**server.options)  # type: ignore[arg-type]
    try:
        for text in ["it's", "a\nb\tc\\", "ü€😀", "", "x" * 50_000]:
            assert client.query("SELECT {x:String}", parameters={"x": text}).result_rows == [(text,)]
        answer = client.query("SELECT {a:Array(String)}", parameters={"a": ["1", "it's"]}).result_rows
        assert answer == [(["1", "it's"],)]
    finally:
        client.close()
    assert server.ask(b"SELECT {x:UInt8}", {"param_x": "nonsense"}).code == 457
    assert server.ask(b"SELECT {x:UInt8}").code == 456


def test_settings_end_with_their_request(server: Address) -> None:
    """Neither URL settings nor SET nor USE reach the next request."""
    ask = "SELECT getSetting('max_block_size'), currentDatabase()"
    before = server.sql(ask)
    assert server.sql(ask, max_block_size="1234").split("\t")[0] == "1234"
    server.sql("SET max_block_size = 4321")
    server.sql("USE system")
    assert server.sql(ask, database="system").split("\t")[1] == "system"
    assert server.sql(ask) == before


@pytest.mark.parametrize(
    ("sql", "settings", "code", "status"),
    [
        ("SELECT * FROM there_is_no_such_table", {}, 60, 404),
        ("SELECT there_is_no_such_column", {}, 47, 404),
        ("SELEC 1", {}, 62, 400),
        ("SELECT 1; SELECT 2", {}, 62, 400),
        ("SELECT 1", {"no_such_setting": "1"}, 115, 404),
        ("SELECT 1", {"database": "there_is_none"}, 81, 404),
        ("SELECT throwIf(number = 90000) FROM numbers(100000)", {}, 395, 500),
        ("SELECT 1 INTO OUTFILE '/tmp/contract.tsv'", {}, 358, 500),
        ("INSERT INTO t FROM INFILE '/etc/hostname' FORMAT TSV", {}, 78, 404),
        ("SELECT toDateTime('nonsense')", {}, 41, 400),
    ],
)
def test_a_refused_statement_answers_with_code_and_status(
    server: Address, sql: str, settings: dict[str, str], code: int, status: int
) -> None:
    """The codes and the statuses of ClickHouse, also when the error comes after the first rows."""
    reply = server.ask(sql.encode(), settings | {"wait_end_of_query": "1"})
    assert reply.code == code, reply.text
    if not REAL_URL:
        assert reply.status == status
    assert f"Code: {code}. DB::Exception: " in reply.text


def test_get_changes_nothing(server: Address, table: str) -> None:
    """A GET is read-only, as on every ClickHouse."""
    reply = server.ask(method="GET", parameters={"query": f"INSERT INTO {table} VALUES (1, 'a')"})
    assert reply.code == 164
    assert count(server, table) == 0


@embedded_only
def test_statements_that_would_end_the_process_are_refused(server: Address) -> None:
    """SYSTEM SHUTDOWN in an embedded engine kills the whole process group."""
    assert server.ask(b"/* now */ SYSTEM SHUTDOWN").code == 48
    assert server.sql("SELECT 1") == "1"


@embedded_only
@pytest.mark.parametrize("headers", [{"Origin": "http://example.org"}, {"Host": "example.org"}])
def test_web_pages_cannot_ask(server: Address, headers: dict[str, str]) -> None:
    """A page in a local browser can reach loopback; the engine can read files."""
    assert server.ask(b"SELECT 1", headers=headers).code == 497


# Many at once


def test_ping_answers_while_a_statement_runs(server: Address) -> None:
    """A long statement does not hold the event loop."""
    thread = threading.Thread(target=server.sql, args=("SELECT sleep(3) FORMAT Null",))
    thread.start()
    time.sleep(0.3)
    assert server.ask(method="GET", path="/ping").body == b"Ok.\n"
    assert thread.is_alive(), "the ping waited for the statement"
    thread.join()


async def test_concurrent_clients_lose_nothing(server: Address, table: str) -> None:
    """Eight clients, forty inserts and as many questions at once."""
    client = await clickhouse_connect.get_async_client(**server.options, autogenerate_session_id=False)  # type: ignore[arg-type]

    async def work(worker: int) -> None:
        for turn in range(5):
            rows = [[worker * 1_000 + turn * 100 + number, "x"] for number in range(100)]
            await client.insert(table, rows, column_names=["id", "body"])
            result = await client.query(f"SELECT count() FROM {table} WHERE intDiv(id, 1000) = {worker}")
            assert result.result_rows == [((turn + 1) * 100,)]

    try:
        async with asyncio.TaskGroup() as group:
            for worker in range(8):
                group.create_task(work(worker))
    finally:
        await client.close()
    assert server.sql(f"SELECT count(), uniqExact(id) FROM {table}") == "4000\t4000"


# The process


@embedded_only
def test_bounds_and_access_are_kept(tmp_path: Path) -> None:
    """A body beyond the limit, a request beyond the queue, a stranger: each refused with its code."""
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    process = Process(
        tmp_path / "data",
        *["--max-body-mb", "1", "--max-requests", "2", "--user", "tide", "--password-file", str(secret)],
    )
    try:
        assert process.ask(b"SELECT 1").code == 516
        process.user, process.password = "tide", "right"
        assert process.sql("SELECT 1") == "1"
        process.sql("CREATE TABLE t (a String) ENGINE = Memory")
        insert = {"query": "INSERT INTO t FORMAT TSV"}
        assert process.ask(b"x" * (1 << 20), insert).status == 200
        assert process.ask(b"x" * (3 << 20), insert).code == 307
        bomb = process.ask(zstd.compress(b"x" * (64 << 20)), insert, {"Content-Encoding": "zstd"})
        assert (bomb.code, bomb.status) == (307, 413)
        # Three at once, whichever comes last: each of them takes so long that they meet.
        with ThreadPoolExecutor(3) as threads:
            replies = [*threads.map(process.ask, [b"SELECT sleep(2) FORMAT Null"] * 3)]
        (full,) = [reply for reply in replies if reply.status != 200]
        assert (full.code, full.status, full.headers["Retry-After"]) == (202, 503, "1")
        assert process.sql("SELECT 1") == "1"
        assert list((tmp_path / "data" / "spool").iterdir()) == []
    finally:
        assert process.stop() == 0


@embedded_only
def test_a_clean_stop_finishes_the_running_insert_and_keeps_the_data(tmp_path: Path) -> None:
    """SIGTERM in mid-statement: the client gets its answer, the next start has its rows."""
    process = Process(tmp_path, "--ready-file", str(tmp_path / "ready"))
    assert json.loads((tmp_path / "ready").read_text()) == {"port": process.port}
    process.sql("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    slow = b"INSERT INTO t SELECT number + sleepEachRow(0.1) FROM numbers(10)"
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(process.ask(slow).status))
    thread.start()
    time.sleep(0.4)
    with pytest.raises(AssertionError, match="in use by process"):
        Process(tmp_path)
    assert process.stop() == 0
    thread.join()
    assert answers == [200]
    again = Process(tmp_path)
    try:
        assert again.sql("SELECT count() FROM t") == "10"
    finally:
        assert again.stop() == 0


@embedded_only
def test_acknowledged_inserts_survive_a_kill(tmp_path: Path) -> None:
    """SIGKILL in the middle of inserts: what was answered is there, and nothing is there twice."""
    chance = random.Random(7)
    acknowledged: set[int] = set()
    for life in range(2):
        process = Process(tmp_path)
        process.sql("CREATE TABLE IF NOT EXISTS t (id UInt64, body String) ENGINE = MergeTree ORDER BY id")
        timer = threading.Timer(0.3 + chance.random() * 0.5, process.child.send_signal, [signal.SIGKILL])
        turn = 0
        try:
            while True:
                if turn == 2:  # on a busy machine, too, something was acknowledged before
                    timer.start()
                ids = [life * 1_000_000 + turn * 100 + number for number in range(100)]
                data = b"".join(b"%d\t%s\n" % (number, b"x" * 2_000) for number in ids)
                if process.ask(data, {"query": "INSERT INTO t FORMAT TSV"}).status == 200:
                    acknowledged.update(ids)
                turn += 1
        except (OSError, EOFError, ValueError):
            pass
        except Exception as error:  # noqa: BLE001 -- http.client's own kinds of a broken connection
            assert type(error).__module__ == "http.client"  # noqa: PT017
        timer.join()
        assert process.stop() == -signal.SIGKILL
    process = Process(tmp_path)
    try:
        found = [int(line) for line in process.sql("SELECT id FROM t").split()]
        assert len(acknowledged) > 100
        assert acknowledged <= set(found)
        assert len(found) == len(set(found))
    finally:
        assert process.stop() == 0
