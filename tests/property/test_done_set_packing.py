"""The done set in commit metadata comes back as it went in, or not at all."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.consume.done_set import (
    MAX_METADATA_BYTES,
    MAX_OFFSETS,
    count_runs,
    note_of,
    pack,
    unpack,
    worst_length,
)


@given(base=st.integers(0, 2**40), gaps=st.sets(st.integers(0, 5000), max_size=300))
def test_packed_offsets_are_read_back(base: int, gaps: set[int]) -> None:
    """What fits is restored exactly."""
    offsets = sorted(base + gap for gap in gaps)
    assert unpack(pack(base, offsets, MAX_METADATA_BYTES), base) == offsets


@given(offsets=st.sets(st.integers(0, 10**6), max_size=2000), limit=st.integers(8, 400))
def test_a_set_that_does_not_fit_is_cut_at_its_far_end(offsets: set[int], limit: int) -> None:
    """Within the limit, and a prefix: what is cut is only done again (C7)."""
    ordered = sorted(offsets)
    packed = pack(0, ordered, limit)
    assert len(packed) <= limit
    restored = unpack(packed, 0)
    assert restored == ordered[: len(restored)]


@given(base=st.integers(0, 1000), other=st.integers(0, 1000), done=st.sets(st.integers(1000, 1100)))
def test_a_set_of_another_base_is_thrown_away(base: int, other: int, done: set[int]) -> None:
    """A set belongs to its commit alone (C7)."""
    if base != other:
        assert unpack(pack(base, sorted(done), MAX_METADATA_BYTES), other) == []


@given(text=st.text(max_size=200), committed=st.integers(0, 100))
def test_foreign_metadata_is_no_done_set(text: str, committed: int) -> None:
    """Whatever another tool committed is ignored, never an error."""
    for metadata in (text, f"2:{committed}:{text}", f"2:{committed}:{text}:{text}", f"2:{text}:{text}"):
        assert len(unpack(metadata, committed)) <= MAX_OFFSETS
        note_of(metadata, committed)


@given(numbers=st.lists(st.integers(0, 2**70), max_size=40), committed=st.integers(0, 2**63))
def test_numbers_that_anybody_may_have_written_take_no_memory(numbers: list[int], committed: int) -> None:
    """The sum of all runs is bounded, however they are spread."""
    packed = b"".join(_varint(number) for number in numbers)
    offsets = unpack(f"2:{committed}:{urlsafe_b64encode(packed).decode()}:", committed)
    assert len(offsets) <= MAX_OFFSETS
    assert offsets == sorted(set(offsets))


@given(done=st.sets(st.integers(0, 50), max_size=20), note=st.from_regex(r"[a-z0-9.]{0,20}", fullmatch=True))
def test_a_note_travels_with_the_set_and_is_of_its_base_alone(done: set[int], note: str) -> None:
    """Both come back, or neither does."""
    packed = pack(7, [7 + offset for offset in sorted(done)], MAX_METADATA_BYTES, note)
    assert (unpack(packed, 7), note_of(packed, 7)) == ([7 + offset for offset in sorted(done)], note)
    assert (unpack(packed, 8), note_of(packed, 8)) == ([], "")
    assert bool(packed) == bool(done or note)


@given(base=st.integers(0, 2**62), done=st.sets(st.integers(0, 2**20), max_size=200))
def test_no_set_is_longer_than_was_foreseen(base: int, done: set[int]) -> None:
    """What admission reckons with is never too little (C7)."""
    offsets = [base + each for each in sorted(done)]
    distance = offsets[-1] + 1 - base if offsets else 0
    assert len(pack(base, offsets, 1 << 20)) <= worst_length(count_runs(offsets), distance)


@pytest.mark.parametrize("runs", range(1, 8))
def test_what_is_foreseen_is_what_the_longest_set_takes(runs: int) -> None:
    """Not a character more, or partitions would be held back that have room (C7)."""
    base = 2**63 - 100
    offsets = [base + 2 * each for each in range(runs)]
    assert len(pack(base, offsets, 1 << 20)) == worst_length(runs, 2 * runs - 1)


@given(base=st.integers(0, 2**40), gaps=st.sets(st.integers(0, 5000), min_size=1, max_size=300))
def test_a_set_that_fits_exactly_is_not_cut(base: int, gaps: set[int]) -> None:
    """Its own length is room enough."""
    offsets = sorted(base + gap for gap in gaps)
    packed = pack(base, offsets, 1 << 20)
    assert pack(base, offsets, len(packed)) == packed


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
