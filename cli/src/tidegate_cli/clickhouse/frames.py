"""Compressed request bodies, frame after frame.

Clients send one frame per block of rows and put the frames one behind the other. Most decompressors stop
after the first frame without a word, which loses rows silently; here the next frame is begun until nothing
is left, and a body that ends inside a frame is an error.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from tidegate_cli.clickhouse.errors import Fault

STEP_BYTES = 1 << 20
"""A decoder hands out at most about this much at a time, however well the input was compressed."""

_BROTLI_SLICE_BYTES = 1 << 14
_BROTLI_FRAME_BYTES = 64 << 20


class Decoder(Protocol):
    """Turns a body's bytes into its content, in bounded pieces."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content that ``data`` completes; raises Fault for bytes that are not the encoding's."""
        ...

    def finish(self) -> None:
        """Say that the body has ended; raises Fault when that is inside a frame."""
        ...


class Identity:
    """No compression."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data itself."""
        yield data

    def finish(self) -> None:
        """Every end is a good end."""


class _Frame(Protocol):
    """One frame in the making: the protocol that bz2, lz4.frame and zstd share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Frames:
    """Any number of concatenated frames of one kind."""

    def __init__(self, begin: Callable[[], _Frame], code: int, errors: tuple[type[Exception], ...]) -> None:
        self._begin = begin
        self._code = code
        self._errors = errors
        self._frame: _Frame | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content that ``data`` completes, in pieces of at most STEP_BYTES."""
        while data or self._frame is not None:
            frame = self._frame = self._frame or self._begin()
            try:
                piece = frame.decompress(data, STEP_BYTES)
            except self._errors as error:
                raise Fault(self._code, f"The body cannot be decompressed: {error}") from error
            if piece:
                yield piece
            data = b""
            if frame.eof:
                data = frame.unused_data or b""
                self._frame = None
            elif frame.needs_input:
                return

    def finish(self) -> None:
        """Raise Fault if a frame was begun and not ended."""
        if self._frame is not None:
            raise Fault(self._code, "The body ends inside a compressed frame")


class _Inflate:
    """zlib in the shape of a frame; ``wbits`` chooses gzip or zlib."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))
        # A full piece may mean that more is waiting inside, even with nothing left to put in.
        self.needs_input = not self._inner.unconsumed_tail and len(piece) < max_length
        return piece


class BrotliFrames:
    """Concatenated brotli streams.

    The library neither says where a stream ended nor survives the bytes behind it. So input goes in by
    slices; the slice that breaks is tried again from the stream's start, byte by byte, to find the end.
    The compressed bytes of the stream in hand are kept for that, at most 64 MiB.
    """

    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # noqa: PLC0415 -- few clients ask for it

        self._brotli = brotli
        self._fresh()

    def _fresh(self) -> None:
        self._inner = self._brotli.Decompressor()
        self._taken = bytearray()
        self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content that ``data`` completes."""
        view = memoryview(data)
        while view:
            piece = bytes(view[:_BROTLI_SLICE_BYTES])
            view = view[len(piece) :]
            before = len(self._taken)
            try:
                yield from self._put(piece)
            except self._brotli.error:
                del self._taken[before:]
                yield from self._retry(piece)

    def finish(self) -> None:
        """Raise Fault if a stream was begun and not ended."""
        if self._taken:
            raise Fault(448, "The body ends inside a compressed frame")

    def _put(self, piece: bytes) -> Iterator[bytes]:
        content = self._inner.process(piece, output_buffer_limit=STEP_BYTES)
        self._taken += piece
        if len(self._taken) > _BROTLI_FRAME_BYTES:
            raise Fault(448, "A brotli frame is larger than 64 MiB: use lz4 or zstd")
        while True:
            self._given += len(content)
            if content:
                yield content
            if self._inner.is_finished():
                self._fresh()
                return
            if self._inner.can_accept_more_data() and not content:
                return
            content = self._inner.process(b"", output_buffer_limit=STEP_BYTES)

    def _retry(self, piece: bytes) -> Iterator[bytes]:
        taken, given = bytes(self._taken), self._given
        self._fresh()
        skip = given
        rest = [taken] if taken else []
        rest += [piece[at : at + 1] for at in range(len(piece))]
        try:
            for part in rest:
                for content in self._put(part):
                    skipped = min(skip, len(content))
                    skip -= skipped
                    if len(content) > skipped:
                        yield content[skipped:]
        except self._brotli.error as error:
            raise Fault(448, "The body cannot be decompressed: brotli decode error") from error


def decoder(encoding: str) -> Decoder:
    """Return a fresh decoder for a Content-Encoding.

    Raises:
        Fault: for an encoding that this server does not know.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return Identity()
        case "lz4":
            return Frames(lz4.frame.LZ4FrameDecompressor, 618, (RuntimeError, EOFError))
        case "zstd":
            return Frames(zstd.ZstdDecompressor, 561, (zstd.ZstdError, EOFError))
        case "gzip" | "x-gzip":
            return Frames(lambda: _Inflate(31), 354, (zlib.error,))
        case "deflate":
            return Frames(lambda: _Inflate(15), 354, (zlib.error,))
        case "br":
            return BrotliFrames()
        case _:
            raise Fault(89, f"Unknown compression method '{encoding}' in Content-Encoding")
