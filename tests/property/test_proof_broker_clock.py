"""The estimate of the broker's clock, whatever the host's own says."""

from hypothesis import given
from hypothesis import strategies as st
from tidegate.clock import BrokerClock
from tidegate.testing.manual_clock import ManualClock

_DAY_MS = 86_400_000


@given(
    ahead_ms=st.integers(-_DAY_MS, _DAY_MS),
    delays_ms=st.lists(st.integers(0, 5_000), min_size=1, max_size=50),
    later_s=st.integers(0, 240),
)
def test_a_hosts_clock_decides_nothing_once_something_was_produced(
    ahead_ms: int, delays_ms: list[int], later_s: int
) -> None:
    """T1: never behind the broker's clock, ahead by no more than the quickest acknowledgement took."""
    host = ManualClock(wall_ms=1_700_000_000_000 + ahead_ms)
    clock = BrokerClock(host)
    for delay_ms in delays_ms:
        clock.observe(host.wall_ms(), host.wall_ms() - ahead_ms + delay_ms)
    host.advance(later_s)
    assert 0 <= clock.now_ms() - (host.wall_ms() - ahead_ms) <= min(delays_ms)
