"""How the recovery after an outage is judged."""

import pytest
from support.outages_campaign import Counts, Plan, judge

PLAN = Plan(before_s=20.0)


def counted(*pieces: tuple[float, float]) -> Counts:
    """Return counts four times a second: pieces of (seconds, pages a second)."""
    counts = Counts()
    at_s, pages = 0.0, 0.0
    for seconds, per_second in pieces:
        for _ in range(int(seconds * 4)):
            counts.add(at_s, int(pages))
            at_s += 0.25
            pages += per_second / 4
    return counts


def test_a_recovery_is_counted_from_the_return() -> None:
    """Seven seconds of nothing, then the backlog and the usual rate: recovered when it began."""
    counts = counted((50, 20), (60, 0), (7, 0), (30, 60), (60, 20))
    found = judge("broker", counts, gone_s=50, back_s=110, end_s=200, plan=PLAN)
    assert found.before_per_s == pytest.approx(20, abs=0.2)
    assert found.recovered_s is not None
    assert 5 <= found.recovered_s <= 7.5
    assert found.is_good
    assert found.during_per_s == 0
    assert found.least_after >= 0.9


def test_who_never_recovers_is_found_out() -> None:
    """Half the rate is not full throughput."""
    found = judge(
        "broker", counted((50, 20), (60, 0), (120, 10)), gone_s=50, back_s=110, end_s=220, plan=PLAN
    )
    assert found.recovered_s is None
    assert not found.is_good


def test_a_recovery_that_comes_late_is_none() -> None:
    """Twenty seconds are more than fifteen; for the solving service they are not."""
    counts = counted((50, 20), (60, 0), (25, 0), (120, 20))
    for subject, good in (("clickhouse", False), ("solving", True)):
        found = judge(subject, counts, gone_s=50, back_s=110, end_s=220, plan=PLAN)
        assert found.is_good is good


def test_a_relapse_shows() -> None:
    """A recovery that does not last is in the figures."""
    counts = counted((50, 20), (60, 0), (20, 20), (20, 0), (60, 20))
    assert judge("broker", counts, gone_s=50, back_s=110, end_s=200, plan=PLAN).least_after < 0.1


def test_an_outage_that_was_none_shows() -> None:
    """What goes on being stored was not away."""
    found = judge("broker", counted((220, 20)), gone_s=50, back_s=110, end_s=200, plan=PLAN)
    assert found.during_per_s == pytest.approx(20, abs=0.3)


def test_counts_are_joined_by_straight_lines() -> None:
    """What came while nobody could count is spread over that time."""
    counts = Counts()
    counts.add(0.0, 0)
    counts.add(10.0, 100)
    assert counts.per_second(2.0, 4.0) == pytest.approx(10.0)
    assert counts.per_second(-5.0, 0.0) == 0
    assert counts.per_second(10.0, 20.0) == 0
