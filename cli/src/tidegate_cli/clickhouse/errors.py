"""Errors as ClickHouse says them: a number, a name, a text, and the HTTP status that goes with the number."""

import re

_FIRST = re.compile(r"Code: (\d+)\. DB::Exception: ")
_TRAILER = re.compile(r"\s*\(version [^()]*(?:\([^()]*\))?\)\.?(?:\s*\([A-Z0-9_]+\))?\s*$")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*$")
_SPOOLED = re.compile(r": \(in file/uri [^)]*\)")

# What ClickHouse's own HTTP handler answers; every other code is a 500.
_BAD_REQUEST_CODES = """
    6 8 15 25 26 27 33 36 37 38 41 43 44 53 62 72 117 123 167 168 223 321 376 427 441 456 457 467 675 676 691
"""
_BAD_REQUEST = frozenset(map(int, _BAD_REQUEST_CODES.split()))
_NOT_FOUND = frozenset([46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 139, 152, 336])
_STATUS = (
    dict.fromkeys(_BAD_REQUEST, 400)
    | dict.fromkeys(_NOT_FOUND, 404)
    | {
        48: 501,
        159: 408,
        164: 403,
        192: 403,
        193: 403,
        194: 401,
        202: 503,
        209: 408,
        229: 413,
        236: 503,
        307: 413,
    }
    | {497: 403, 516: 403}
)

# The codes that this server raises by itself.
_NAMES = {
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    78: "UNKNOWN_TYPE_OF_QUERY",
    89: "UNKNOWN_COMPRESSION_METHOD",
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    229: "QUERY_IS_TOO_LARGE",
    236: "ABORTED",
    243: "NOT_ENOUGH_SPACE",
    271: "CANNOT_DECOMPRESS",
    307: "TOO_MANY_BYTES",
    354: "ZLIB_INFLATE_FAILED",
    358: "INTO_OUTFILE_NOT_ALLOWED",
    394: "QUERY_WAS_CANCELLED",
    448: "BROTLI_READ_FAILED",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    561: "ZSTD_DECODER_FAILED",
    618: "LZ4_DECODER_FAILED",
    1001: "STD_EXCEPTION",
}


class Fault(Exception):  # noqa: N818 -- "error" would read as ours; this is an answer to a client
    """A request that ends in an error answer.

    ``code`` is ClickHouse's number, ``text`` its message without the ``Code:`` prefix and without a
    version, ending in the error's name in parentheses.
    """

    def __init__(self, code: int, text: str) -> None:
        name = _NAMES.get(code)
        if name and not _NAME.search(text):
            text = f"{text} ({name})"
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """HTTP status, as ClickHouse's own handler chooses it."""
        return _STATUS.get(self.code, 500)

    def render(self, version: str) -> str:
        """Return the body of the error answer, one line with a newline at its end."""
        return f"Code: {self.code}. DB::Exception: {self.text} (version {version})\n"


def from_engine(message: str) -> Fault:
    """Read the engine's exception text.

    It may repeat its prefix and its trailer, and it names the temporary file of an insert's data;
    neither helps a client. A text that is not ClickHouse's becomes 1001 (STD_EXCEPTION).
    """
    first = _FIRST.search(message)
    if first is None:
        return Fault(1001, message.strip() or "The engine failed without a word")
    code = int(first[1])
    text = message[first.end() :]
    while nested := _FIRST.match(text):
        text = text[nested.end() :]
    text = _SPOOLED.sub("", text)
    while trailer := _TRAILER.search(text):
        text = text[: trailer.start()]
    return Fault(code, text.strip())
