"""What a piece of SQL asks of this server: pure reading, no parsing of ClickHouse's grammar.

Only as much is understood as HTTP needs: where an insert's data begins and in which format it is, in which
format the answer comes, and which statements must not reach an engine that lives in this process.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from tidegate_cli.clickhouse.errors import Fault

_TOKEN = re.compile(
    rb"""
      (?P<blank>\s++ | --[^\n]*+ | \#[\ !][^\n]*+ | /\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]++|\\.|'')*+' | `(?:[^`\\]++|\\.|``)*+` | "(?:[^"\\]++|\\.|"")*+"
                 | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
    | (?P<number>[0-9][A-Za-z0-9_.]*+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_RESULTS = frozenset(
    [b"SELECT", b"WITH", b"FROM", b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"EXISTS", b"CHECK", b"KILL"]
)
_STREAMS = frozenset([b"SELECT", b"WITH", b"FROM"])
_SELECTS = frozenset([b"SELECT", b"WITH", b"WATCH"])
_UNFINISHED = frozenset([b"'", b"`", b'"'])


class Insert(msgspec.Struct, frozen=True):
    """An insert whose data follows it.

    ``target`` is the text up to and with the column list, ``settings`` the SETTINGS clause or nothing,
    ``data_at`` the byte of the read text at which the data begins.
    """

    target: str
    settings: str
    format: str
    data_at: int

    def from_file(self, path: str) -> str:
        """Return the statement that reads the same data from a file of this machine."""
        source = f"FROM INFILE {_quoted(path)} COMPRESSION 'none'"
        return f"{self.target} {source} {self.settings} FORMAT {self.format}"


class Query(msgspec.Struct, frozen=True):
    """Any other statement.

    ``format`` is the one that its FORMAT clause names, if it has one; ``has_result`` tells whether it
    answers with rows at all; ``streams`` whether the engine can hand its rows out block by block.
    ``format_at`` is where the FORMAT clause begins, in characters of ``sql``; its end where there is none.
    """

    sql: str
    format: str | None
    has_result: bool
    streams: bool
    format_at: int

    def into_file(self, path: str, output_format: str) -> str:
        """Return the statement that writes its answer to a file, row group by row group.

        What follows a FORMAT clause, settings that is, goes before it: the engine takes both orders. APPEND,
        because TRUNCATE puts another file in the place of the one that is open.
        """
        head = self.sql[: self.format_at].rstrip().rstrip(";")
        settings = self.sql[self.format_at :].partition(self.format)[2].strip() if self.format else ""
        return f"{head}\n{settings.rstrip(';')}\nINTO OUTFILE {_quoted(path)} APPEND FORMAT {output_format}"


Statement = Insert | Query


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    @property
    def word(self) -> bytes:
        return self.text.upper() if self.kind == "word" else b""


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "tag":
            kind = "quoted"
        if kind == "blank":
            continue
        body = match[0]
        if body in (b")", b"]", b"}"):
            depth = max(0, depth - 1)
        yield _Token(kind, body, match.start(), match.end(), depth)
        if body in (b"(", b"[", b"{"):
            depth += 1


def read(text: bytes, *, complete: bool) -> Statement | None:
    """Read a request's text: SQL, and for an insert perhaps the beginning of its data.

    ``complete`` says that nothing follows ``text``. None means that more is needed to tell.

    Raises:
        Fault: for a statement that a server refuses (INTO OUTFILE, FROM INFILE, SYSTEM SHUTDOWN), and for
            SQL that is not UTF-8.
    """
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is None or (first.end == len(text) and not complete):
        return _query(text, []) if complete else None
    if first.word == b"INSERT":
        return _insert(text, tokens, complete=complete)
    return _query(text, [first, *tokens]) if complete else None


def _insert(text: bytes, tokens: Iterator[_Token], *, complete: bool) -> Statement | None:
    settings_at: int | None = None
    for token, keyword in _keywords(tokens):
        if not complete and (token.end == len(text) or token.text in _UNFINISHED):
            return None
        if keyword == b"FROM":
            raise Fault(78, "Query has infile and was send directly to server.")
        if keyword in _SELECTS:
            break
        if keyword == b"SETTINGS" and settings_at is None:
            settings_at = token.start
        elif keyword == b"VALUES":
            return _with_data(text, settings_at, token, "Values", token.end)
        elif keyword == b"FORMAT":
            named = next(tokens, None)
            if named is None or (not complete and _only_blank(text, named.end)):
                break
            return _with_data(text, settings_at, token, _text(named.text), _data_at(text, named.end))
    return _plain(text) if complete else None


def _keywords(tokens: Iterator[_Token]) -> Iterator[tuple[_Token, bytes]]:
    """Yield each token with its word in capitals, if it may be a keyword: outside brackets, no name."""
    named = False  # whether the table's name has been seen; a word before that may be the name
    for token in tokens:
        keyword = b""
        if token.depth == 0 and token.text == b".":
            named = False
        elif token.depth == 0 and not named:
            named = token.word not in (b"INTO", b"TABLE", b"FUNCTION")
        elif token.depth == 0:
            keyword = token.word
        yield token, keyword


def _only_blank(text: bytes, start: int) -> bool:
    return not text[start : start + 4096].strip(b" \t\f\r")


def _quoted(path: str) -> str:
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _plain(text: bytes) -> Query:
    sql = _text(text)
    return Query(sql, None, has_result=False, streams=False, format_at=len(sql))


def _with_data(text: bytes, settings_at: int | None, at: _Token, name: str, data_at: int) -> Insert:
    ends = at.start if settings_at is None else settings_at
    return Insert(_text(text[:ends]), _text(text[ends : at.start]), name, data_at)


def _data_at(text: bytes, start: int) -> int:
    """Data begins after the first line break, or after the blanks where there is none, as on a server."""
    at = start
    while text[at : at + 1] in (b" ", b"\t", b"\f"):
        at += 1
    if text[at : at + 1] == b";" and text[at + 1 :].strip():
        raise Fault(62, "You have excessive ';' symbol before data for INSERT.")
    at += text[at : at + 1] in (b"\r", b";")
    return at + (text[at : at + 1] == b"\n")


def _query(text: bytes, tokens: list[_Token]) -> Query:
    words = [token for token in tokens if token.text != b"("]
    verb = words[0].word if words else b""
    named: str | None = None
    format_at = len(text)
    for before, token in pairwise(tokens):
        if token.depth or before.depth:
            continue
        if before.word == b"FORMAT" and token.kind == "word":
            named, format_at = _text(token.text), before.start
        elif before.word == b"INTO" and token.word == b"OUTFILE":
            raise Fault(358, "INTO OUTFILE is not allowed")
        elif before is tokens[0] and before.word == b"SYSTEM" and token.word in (b"SHUTDOWN", b"KILL"):
            raise Fault(48, "SYSTEM SHUTDOWN would end the process that serves you; send it SIGTERM")
    sql = _text(text)
    return Query(sql, named, verb in _RESULTS, verb in _STREAMS, len(_text(text[:format_at])))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Fault(62, "Syntax error: the statement is not valid UTF-8.") from error
