"""Frames: whatever is sent in whatever pieces, all of it arrives, or an error."""

import gzip
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import lz4.frame  # type: ignore[import-untyped]
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_cli.clickhouse.encoding import encoder
from tidegate_cli.clickhouse.errors import Fault
from tidegate_cli.clickhouse.frames import STEP_BYTES, decoder

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: bytes(brotli.compress(data, quality=1)),
}
PACKED = [name for name in PACK if name]
contents = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.builds(lambda unit, times: unit * times, st.binary(max_size=9), st.integers(0, 9_000)),
    ),
    max_size=6,
)


def unpack(encoding: str, data: bytes, cuts: list[int]) -> bytes:
    """Feed the data in the pieces that the cuts make."""
    machine = decoder(encoding)
    out: list[bytes] = []
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    at = 0
    for end in ends:
        out += machine.feed(data[at:end])
        at = end
    machine.finish()
    return b"".join(out)


@pytest.mark.parametrize("encoding", PACK)
@settings(max_examples=60, deadline=None)
@given(parts=contents, cuts=st.lists(st.integers(0, 1 << 20), max_size=8))
def test_every_frame_arrives(encoding: str, parts: list[bytes], cuts: list[int]) -> None:
    """Any number of concatenated frames, cut anywhere, gives the concatenated contents."""
    assert unpack(encoding, b"".join(map(PACK[encoding], parts)), cuts) == b"".join(parts)


@pytest.mark.parametrize("encoding", PACKED)
@settings(max_examples=40, deadline=None)
@given(parts=contents, last=st.binary(min_size=1, max_size=200), cut=st.integers(1, 1 << 20))
def test_a_frame_that_is_cut_is_an_error(encoding: str, parts: list[bytes], last: bytes, cut: int) -> None:
    """No end but a frame's end is accepted: rows would be missing without a word."""
    packed = PACK[encoding](last)
    broken = b"".join(map(PACK[encoding], parts)) + packed[: 1 + cut % (len(packed) - 1)]
    with pytest.raises(Fault):
        unpack(encoding, broken, [cut])


@pytest.mark.parametrize("encoding", PACKED)
def test_a_bomb_comes_in_bounded_pieces(encoding: str) -> None:
    """Memory does not depend on how well the input was compressed."""
    sizes = [len(piece) for piece in decoder(encoding).feed(PACK[encoding](bytes(STEP_BYTES * 8)))]
    assert sum(sizes) == STEP_BYTES * 8
    assert max(sizes) <= STEP_BYTES * 4


@pytest.mark.parametrize("encoding", PACKED)
@settings(max_examples=30, deadline=None)
@given(parts=contents)
def test_an_answer_is_one_frame(encoding: str, parts: list[bytes]) -> None:
    """What the encoder makes of any pieces is read by a decompressor that stops after one frame."""
    machine = encoder(encoding)
    packed = b"".join(machine.compress(part) for part in parts) + machine.flush()
    plain: dict[str, Callable[[bytes], bytes]] = {
        "lz4": lz4.frame.decompress,
        "zstd": lambda data: zstd.ZstdDecompressor().decompress(data),
        "gzip": lambda data: zlib.decompressobj(31).decompress(data),
        "deflate": lambda data: zlib.decompressobj(15).decompress(data),
        "br": brotli.decompress,
    }
    assert plain[encoding](packed) == b"".join(parts)


def test_an_unknown_encoding_is_refused() -> None:
    """89 is ClickHouse's UNKNOWN_COMPRESSION_METHOD."""
    with pytest.raises(Fault) as caught:
        decoder("snappy")
    assert caught.value.code == 89
