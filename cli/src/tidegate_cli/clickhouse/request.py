"""What a request says besides its SQL: pure reading of parameters and headers."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

import msgspec

from tidegate_cli.clickhouse.errors import Fault

# Consumed or dropped here; the table in the package's docstring says which and why.
_TRANSPORT = frozenset(
    [
        "async_insert",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_zlib_compression_level",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "user",
        "wait_end_of_query",
        "wait_for_async_insert",
    ]
)
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# Cheapest first: on loopback, time is dearer than bytes.
_ENCODINGS = ("lz4", "zstd", "gzip", "br", "deflate")
_REFUSED = re.compile(r";\s*q=0(\.0*)?\s*$")
_ON = frozenset(["1", "true"])


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read.

    ``sql`` is the text of the ``query`` parameter with a line break at its end, or nothing; the body's
    text follows it. ``parameters`` are the values of ``{name:Type}``, in ClickHouse's escaped form.
    ``settings`` go to the engine as they are. ``encoding`` is the compression of the answer, or None.
    """

    sql: bytes
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str | None
    default_format: str
    query_id: str | None
    user: str
    password: str
    encoding: str | None
    readonly: bool


def read(method: str, pairs: Iterable[tuple[str, str]], headers: Mapping[str, str]) -> Call:
    """Read a request's URL and form parameters (later ones win) and its headers.

    Raises:
        Fault: for a parameter that this server cannot honour, or a setting whose name is none.
    """
    values = dict(pairs)
    for block in ("compress", "decompress"):
        if values.get(block, "0") in _ON:
            raise Fault(48, f"{block}=1 (native block compression) is not supported here: use HTTP encodings")
    parameters: dict[str, str] = {}
    settings: dict[str, str] = {}
    for name, value in values.items():
        if name.startswith("param_"):
            parameters[name.removeprefix("param_")] = value
        elif name not in _TRANSPORT:
            if not _SETTING.fullmatch(name):
                raise Fault(115, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
            settings[name] = value
    user, password = _credentials(values, headers)
    sql = values.get("query", "")
    compressing = values.get("enable_http_compression", "0") in _ON
    return Call(
        sql=f"{sql}\n".encode() if sql else b"",
        parameters=parameters,
        settings=settings,
        database=values.get("database") or headers.get("X-ClickHouse-Database"),
        default_format=values.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
        query_id=values.get("query_id") or headers.get("X-ClickHouse-Query-Id"),
        user=user,
        password=password,
        encoding=encoding_of(headers.get("Accept-Encoding", "")) if compressing else None,
        readonly=method in ("GET", "HEAD"),
    )


def encoding_of(accepted: str) -> str | None:
    """Choose the answer's compression from an Accept-Encoding header; None when there is none we know."""
    offers = {part.split(";", 1)[0].strip() for part in accepted.split(",") if not _REFUSED.search(part)}
    return next((name for name in _ENCODINGS if name in offers), None)


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Tell whether a web page's script sent this: it names an origin, or a host that is not this machine.

    Any page in a local browser can post to a loopback port, and the engine reads and writes files.
    """
    host = headers.get("Host", "127.0.0.1")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return "Origin" in headers or name.lower() not in ("127.0.0.1", "localhost", "[::1]")


def set_clause(settings: Mapping[str, str]) -> str:
    """Return one SET statement; every value is quoted, ClickHouse converts it to the setting's type."""
    return "SET " + ", ".join(f"{name} = {_quote(value)}" for name, value in settings.items())


def use_clause(database: str) -> str:
    """Return the USE statement of a database, whatever its name holds."""
    escaped = database.replace("\\", "\\\\").replace("`", "\\`")
    return f"USE `{escaped}`"


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _credentials(values: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    if "user" in values or "password" in values:
        return values.get("user", "default"), values.get("password", "")
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Fault(516, "Invalid authentication: the Basic credentials cannot be read") from error
        return user or "default", password
    return "default", ""
