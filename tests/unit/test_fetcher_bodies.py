"""Content codings are undone up to a limit."""

import gzip
import zlib

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from tidegate_fetcher.bodies import BodyBrokenError, BodyTooLargeError, decoded

TEXT = b"<p>tide</p>" * 500
LIMIT = 100_000
DEFLATED = zlib.compressobj(wbits=-15)
RAW_DEFLATE = DEFLATED.compress(TEXT) + DEFLATED.flush()
CODED = {
    "gzip": gzip.compress(TEXT),
    "X-GZIP": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    " br ": brotli.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
    "identity": TEXT,
    "": TEXT,
    "utf-8": TEXT,
    "gzip, identity": gzip.compress(TEXT),
}
BOMBS = {
    "gzip": gzip.compress(bytes(LIMIT * 50)),
    "deflate": zlib.compress(bytes(LIMIT * 50)),
    "br": brotli.compress(bytes(LIMIT * 50)),
    "zstd": zstandard.compress(bytes(LIMIT * 50)),
}


@pytest.mark.parametrize("coding", CODED)
def test_each_coding_is_undone(coding: str) -> None:
    """gzip, deflate, br and zstd; what nobody knows is left as it is."""
    assert decoded(CODED[coding], coding, LIMIT) == TEXT


def test_bare_deflate_and_several_members_are_understood() -> None:
    """Servers mean two things by deflate, and gzip may come in pieces; trailing bytes are ignored."""
    assert decoded(RAW_DEFLATE, "deflate", LIMIT) == TEXT
    assert decoded(gzip.compress(TEXT) + gzip.compress(b"more") + b"\0\0", "gzip", LIMIT) == TEXT + b"more"
    assert decoded(zstandard.compress(TEXT) + zstandard.compress(b"more"), "zstd", LIMIT) == TEXT + b"more"


def test_an_empty_body_has_no_coding() -> None:
    """Servers send the header with a body of nothing."""
    assert decoded(b"", "gzip", LIMIT) == b""


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_ends_at_the_limit(coding: str) -> None:
    """A body that grows beyond the limit is refused."""
    assert len(BOMBS[coding]) < LIMIT
    with pytest.raises(BodyTooLargeError):
        decoded(BOMBS[coding], coding, LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_of_exactly_the_limit_passes(coding: str) -> None:
    """The limit is inclusive."""
    body = bytes(LIMIT)
    coded = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
    }
    assert decoded(coded[coding](body), coding, LIMIT) == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_cut_or_garbage_is_broken(coding: str) -> None:
    """Half a page is never stored as a page."""
    with pytest.raises(BodyBrokenError):
        decoded(CODED.get(coding, CODED[" br "])[:-5], coding, LIMIT)
    with pytest.raises(BodyBrokenError):
        decoded(b"\x07garbage, not compressed", coding, LIMIT)


def test_nested_codings_are_refused() -> None:
    """Compressed twice is what bombs are."""
    with pytest.raises(BodyTooLargeError):
        decoded(gzip.compress(gzip.compress(TEXT)), "gzip, gzip", LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_of_countless_empty_pieces_is_refused_at_once(coding: str) -> None:
    """Each piece costs a copy of what is left: ten megabytes of empty ones would take minutes (C10)."""
    piece = {"gzip": gzip.compress(b""), "zstd": zstandard.compress(b"")}[coding]
    with pytest.raises(BodyTooLargeError):
        decoded(piece * 2000, coding, LIMIT)
