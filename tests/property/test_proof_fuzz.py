"""Whatever is produced onto a topic is read or becomes a dead letter; a short run of `make fuzz`."""

import pytest
from support.fuzz_run import SLOWEST_S, SUBJECTS, run

COUNT = 1_000


@pytest.mark.parametrize("service", SUBJECTS)
def test_malformed_records_crash_nothing_and_hold_no_partition(service: str) -> None:
    """C8, C10: every one is read or dead-lettered with what a row needs, and its offset is committed."""
    tally = run("ci", service, COUNT)
    assert tally.crashes == []
    assert tally.counts["records"] == COUNT
    # Both kinds are there, or it was not tried.
    assert min(tally.counts[f"{service}_read"], tally.counts[f"{service}_dead_letters"]) > COUNT // 100
    assert tally.slowest_s < SLOWEST_S
