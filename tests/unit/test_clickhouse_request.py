"""Reading parameters and headers, and writing errors."""

from base64 import b64encode

import pytest
from multidict import CIMultiDict
from tidegate_cli.clickhouse.errors import Fault, from_engine
from tidegate_cli.clickhouse.request import Call, encoding_of, is_foreign, read, set_clause, use_clause


def call(*pairs: tuple[str, str], method: str = "POST", **headers: str) -> Call:
    """Read a request; underscores in header names stand for hyphens."""
    named = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    return read(method, pairs, named)


def test_parameters_settings_and_transport_are_told_apart() -> None:
    """What the engine gets is exactly what is not the transport's."""
    read_call = call(
        ("query", "SELECT {x:UInt8}"),
        ("param_x", "1"),
        ("max_threads", "3"),
        ("insert_deduplication_token", "t"),
        ("async_insert", "1"),
        ("wait_for_async_insert", "0"),
        ("wait_end_of_query", "1"),
        ("session_id", "s"),
        ("database", "d"),
        ("query_id", "q"),
        ("decompress", "0"),
    )
    assert read_call.sql == b"SELECT {x:UInt8}\n"
    assert read_call.parameters == {"x": "1"}
    assert read_call.settings == {"max_threads": "3", "insert_deduplication_token": "t"}
    assert (read_call.database, read_call.query_id, read_call.readonly) == ("d", "q", False)


@pytest.mark.parametrize(
    ("pairs", "code"),
    [((("decompress", "1"),), 48), ((("compress", "1"),), 48), ((("x = 1, y", "1"),), 115)],
)
def test_what_cannot_be_honoured_is_refused(pairs: tuple[tuple[str, str], ...], code: int) -> None:
    """Native block compression, and names that are no settings."""
    with pytest.raises(Fault) as caught:
        call(*pairs)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("pairs", "headers", "expected"),
    [
        ((), {}, ("default", "")),
        ((("user", "u"), ("password", "p")), {}, ("u", "p")),
        ((), {"X_ClickHouse_User": "u", "X_ClickHouse_Key": "p"}, ("u", "p")),
        ((), {"Authorization": "Basic " + b64encode(b"u:p:q").decode()}, ("u", "p:q")),
        ((), {"Authorization": "Bearer abc"}, ("default", "")),
    ],
)
def test_credentials_come_from_three_places(
    pairs: tuple[tuple[str, str], ...], headers: dict[str, str], expected: tuple[str, str]
) -> None:
    """URL, ClickHouse's headers, basic authentication: in this order."""
    read_call = call(*pairs, **headers)
    assert (read_call.user, read_call.password) == expected


def test_an_answer_is_compressed_only_by_setting_and_offer() -> None:
    """As on a server: enable_http_compression decides, Accept-Encoding chooses."""
    on = ("enable_http_compression", "1")
    assert call(Accept_Encoding="zstd").encoding is None
    assert call(on, Accept_Encoding="zstd, br").encoding == "zstd"
    assert call(on, Accept_Encoding="snappy").encoding is None
    assert encoding_of("gzip;q=0.5, lz4;q=0") == "gzip"


def test_values_are_quoted() -> None:
    """A value cannot end the statement that it is in."""
    assert set_clause({"a": "1", "b": r"it's \ "}) == r"SET a = '1', b = 'it\'s \\ '"
    assert use_clause("a`b") == r"USE `a\`b`"


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"Host": "127.0.0.1:8123"}, False),
        ({"Host": "localhost"}, False),
        ({"Host": "[::1]:8123"}, False),
        ({"Host": "example.org:8123"}, True),
        ({"Host": "127.0.0.1", "Origin": "http://localhost"}, True),
    ],
)
def test_pages_of_a_browser_are_told_apart(headers: dict[str, str], foreign: bool) -> None:
    """By their origin, or by a name that was pointed at this machine."""
    assert is_foreign(CIMultiDict(headers)) is foreign


@pytest.mark.parametrize(
    ("message", "code", "status", "text"),
    [
        ("Code: 60. DB::Exception: No table. (UNKNOWN_TABLE)", 60, 404, "No table. (UNKNOWN_TABLE)"),
        (
            "Code: 27. DB::Exception: Code: 27. DB::Exception: B\n: (in file/uri x): W. (N) (version 2). (N)",
            27,
            400,
            "B\n: W. (N)",
        ),
        ("Streaming query failed: Code: 395. DB::Exception: x. (Y)", 395, 500, "x. (Y)"),
        ("out of words", 1001, 500, "out of words (STD_EXCEPTION)"),
    ],
)
def test_the_engines_text_becomes_a_servers(message: str, code: int, status: int, text: str) -> None:
    """One prefix, one name, one version, and no path of a temporary file."""
    fault = from_engine(message)
    assert (fault.code, fault.status, fault.text) == (code, status, text)
    assert fault.render("26.9") == f"Code: {code}. DB::Exception: {text} (version 26.9)\n"
