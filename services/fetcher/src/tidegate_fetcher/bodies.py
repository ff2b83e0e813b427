"""Bodies as they were meant: content codings undone, never beyond a limit. Pure.

A body is decoded in one piece, because what came over the wire is itself bounded; the output is asked
for up to the limit and no further, so that a bomb costs no more memory than a page of that size.
"""

import zlib
from typing import Protocol

import brotli  # type: ignore[import-untyped]
import zstandard

_BITE = 256
# Members of a gzip body and frames of a zstd one. Blocked gzip has one for every 64 KiB, 256 in the largest
# body; one of nothing but empty members costs the square of its length, for each hands back what is left.
_MAX_PIECES = 300
ACCEPT_ENCODING = "gzip, deflate, br, zstd"


class BodyTooLargeError(Exception):
    """The body is larger than the limit, or compressed more than once as only bombs are."""


class BodyBrokenError(Exception):
    """The body is not what its Content-Encoding says, or it ends too early."""


class _Inflater(Protocol):
    """A streaming decompressor of zlib's kind."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decoded(wire: bytes, content_encoding: str, limit: int) -> bytes:
    """Return the body behind ``wire``, at most ``limit`` bytes.

    A coding that nobody knows ("utf-8", "none": servers write such things) leaves the body as it is.
    Raises BodyTooLargeError and BodyBrokenError.
    """
    codings = [
        name for part in content_encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")
    ]
    known = [name for name in codings if name in _DECODERS]
    if len(known) > 1:
        raise BodyTooLargeError("The body is compressed more than once, which only bombs are.")
    if not known or not wire:
        return wire
    try:
        body = _DECODERS[known[0]](wire, limit)
    except (zlib.error, brotli.error, zstandard.ZstdError, EOFError) as error:
        raise BodyBrokenError(f"The body is not the {known[0]} that its header says.") from error
    if len(body) > limit:
        raise BodyTooLargeError(f"The body has more than {limit} bytes when decompressed.")
    return body


def _gzip(wire: bytes, limit: int) -> bytes:
    """Undo gzip, of one member or several; what follows the last member is ignored, as browsers do."""
    parts: list[bytes] = []
    room = limit + 1
    while wire[:2] == b"\x1f\x8b" or not parts:
        _check_pieces(len(parts))
        inflater = zlib.decompressobj(31)
        parts.append(_inflated(inflater, wire, room))
        room -= len(parts[-1])
        if room <= 0:
            break
        wire = inflater.unused_data
    return b"".join(parts)


def _check_pieces(count: int) -> None:
    if count >= _MAX_PIECES:
        raise BodyTooLargeError(
            f"The body has more than {_MAX_PIECES} compressed pieces, as only bombs have."
        )


def _deflate(wire: bytes, limit: int) -> bytes:
    """Undo zlib, or the bare deflate that some servers mean by the name."""
    try:
        return _inflated(zlib.decompressobj(), wire, limit + 1)
    except zlib.error:
        return _inflated(zlib.decompressobj(-15), wire, limit + 1)


def _inflated(inflater: _Inflater, wire: bytes, room: int) -> bytes:
    body = inflater.decompress(wire, room)
    if not inflater.eof and len(body) < room:
        raise EOFError
    return body


def _brotli(wire: bytes, limit: int) -> bytes:
    inflater = brotli.Decompressor()
    parts = [inflater.process(wire, output_buffer_limit=limit + 1)]
    size = len(parts[0])
    while not inflater.is_finished() and size <= limit:
        if inflater.can_accept_more_data():
            raise EOFError
        parts.append(inflater.process(b"", output_buffer_limit=limit + 1 - size))
        size += len(parts[-1])
    return b"".join(parts)


def _zstd(wire: bytes, limit: int) -> bytes:
    """Undo zstd, of one frame or several.

    The decompressor cannot be told where to stop, so it is fed in small bites: the worst of them, 64 blocks
    of 128 KiB from 4 bytes each, is 8 MiB. The window is bounded as well (8 MiB, RFC 8878's advice).
    """
    parts: list[bytes] = []
    size = frames = 0
    rest = wire
    while rest:
        _check_pieces(frames)
        frames += 1
        inflater = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompressobj()
        for start in range(0, len(rest), _BITE):
            parts.append(inflater.decompress(rest[start : start + _BITE]))
            size += len(parts[-1])
            if size > limit:
                return b"".join(parts)
            if inflater.eof:
                rest = inflater.unused_data + rest[start + _BITE :]
                break
        else:
            raise EOFError
    return b"".join(parts)


_DECODERS = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
