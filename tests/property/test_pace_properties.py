"""Whatever a site answers, its pace stays within bounds, and nobody goes before his turn."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_fetcher.site_limits import Go, SiteLimits
from tidegate_fetcher.site_pace import Answered, PacePolicy
from tidegate_fetcher.site_slots import Claim, Later, SiteRule

POLICY = PacePolicy(slowest_s=20.0, hold_most_s=100.0)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([200, 200, 200, 304, 404, 429, 503, 500]),
        st.integers(0, 60),
        st.none() | st.integers(0, 10**12),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, rate=st.none() | st.sampled_from([0.1, 5.0]))
def test_a_site_is_never_asked_before_its_hold_ends_nor_held_for_longer_than_is_allowed(
    steps: list[tuple[int, int, int, int | None, int]], rate: float | None
) -> None:
    """Turns come after every hold that was asked for, up to its bound, and no sooner than the rate allows."""
    rule = SiteRule(concurrency=4, per_second=rate)
    limits = SiteLimits(lambda _site: rule, wait_s=0.0, pace=POLICY)
    now, open_at = 0.0, 0.0
    starts: list[float] = []
    for pause_s, status, took_s, after_s, came_before in steps:
        now += pause_s
        answer = limits.ask("a", Claim(came_before=came_before), now)
        if isinstance(answer, Go):
            starts.append(now)
            limits.leave("a", now, now + min(took_s, 1.0))
            assert now >= open_at - 1e-6
        else:
            assert isinstance(answer, Later)
            assert now + answer.delay_s >= open_at - 1e-6
        change = limits.answered("a", Answered(status, took_s, after_s), now)
        if status in (429, 503) and after_s is not None:
            open_at = max(open_at, now + min(after_s, POLICY.hold_most_s))
        assert change is None or 0.0 <= change.interval_s <= POLICY.slowest_s
        assert change is None or 0.0 <= change.hold_s <= POLICY.hold_most_s + 1e-6
    if rate is not None:
        assert all(after - before >= 1 / rate - 1e-6 for before, after in pairwise(starts))
    # However it behaved, it is asked again once that is over.
    assert isinstance(limits.ask("a", Claim(), now + POLICY.hold_most_s + POLICY.slowest_s + 20.0), Go)
