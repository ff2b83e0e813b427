"""Compression of answers: exactly one frame, because clients read one and stop."""

import zlib
from typing import Any, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd


class Encoder(Protocol):
    """Compresses an answer piece by piece."""

    def compress(self, data: bytes) -> bytes:
        """Return what is ready to be sent."""
        ...

    def flush(self) -> bytes:
        """Return the rest, with the frame's end."""
        ...


class _Lz4:
    def __init__(self) -> None:
        self._inner: Any = lz4.frame.LZ4FrameCompressor()
        self._head = bytes(self._inner.begin())

    def compress(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._inner.compress(data))

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._inner.flush())


class _Brotli:
    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # noqa: PLC0415 -- few clients ask for it

        self._inner = brotli.Compressor(quality=1)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._inner.process(data))

    def flush(self) -> bytes:
        return bytes(self._inner.finish())


def encoder(encoding: str) -> Encoder:
    """Return a fresh encoder; ``encoding`` is one that ``request.encoding_of`` chose."""
    match encoding:
        case "lz4":
            return _Lz4()
        case "zstd":
            return zstd.ZstdCompressor(level=1)
        case "gzip":
            return zlib.compressobj(1, zlib.DEFLATED, 31)
        case "deflate":
            return zlib.compressobj(1, zlib.DEFLATED, 15)
        case "br":
            return _Brotli()
        case _:
            raise ValueError(encoding)
