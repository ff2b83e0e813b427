"""The done set in commit metadata comes back as it went in, or not at all."""

from hypothesis import given
from hypothesis import strategies as st
from tidegate.consume.done_set import MAX_METADATA_BYTES, pack, unpack


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
    unpack(text, committed)
    unpack(f"1:{committed}:{text}", committed)
