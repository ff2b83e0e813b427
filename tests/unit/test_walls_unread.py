"""The wall on answers that nobody reads."""

import pytest
from tidegate.errors import ConfigurationError, IllegalTransitionError
from tidegate.flow.unread import UnreadChange, UnreadPolicy, UnreadWall


def test_it_shuts_by_partition_and_opens_well_below_its_mark() -> None:
    """Only for the partition whose oldest answer is too old."""
    wall = UnreadWall()
    assert wall.observe({1: 59.0, 2: 10.0}, 0.0) == ()
    assert wall.observe({1: 61.0, 2: 12.0}, 2.0) == (UnreadChange(partition=1, shut=True, age_s=61.0),)
    assert [wall.is_shut(partition, 2.0) for partition in (1, 2, 3)] == [True, False, False]
    assert wall.observe({1: 31.0, 2: 14.0}, 4.0) == ()
    assert wall.observe({1: 29.0}, 6.0) == (UnreadChange(partition=1, shut=False, age_s=29.0, seconds=4.0),)
    assert not wall.is_shut(1, 6.0)


def test_a_partition_that_is_read_to_its_end_opens() -> None:
    """Nothing unread has no age."""
    wall = UnreadWall()
    wall.observe({1: 100.0}, 0.0)
    (change,) = wall.observe({}, 2.0)
    assert (change.shut, change.age_s) == (False, 0.0)


def test_nothing_is_bought_while_nothing_is_known() -> None:
    """Before the first reading, and from half a minute after the last one."""
    wall = UnreadWall()
    assert wall.is_shut(1, 0.0)
    wall.observe({}, 5.0)
    assert not wall.is_shut(1, 35.0)
    assert wall.is_shut(1, 35.1)
    wall.observe({}, 40.0)
    assert not wall.is_shut(1, 40.0)


def test_time_does_not_run_backwards() -> None:
    """A reading that is older than the last one changes nothing."""
    wall = UnreadWall()
    wall.observe({}, 5.0)
    with pytest.raises(IllegalTransitionError):
        wall.observe({1: 100.0}, 4.0)
    assert not wall.is_shut(1, 5.0)


@pytest.mark.parametrize("fields", [{"open_s": 60.0}, {"mark_s": 0.0}, {"stale_s": 0.0}])
def test_a_policy_out_of_range_is_refused(fields: dict[str, float]) -> None:
    """It checks itself when it is made."""
    with pytest.raises(ConfigurationError):
        UnreadPolicy(**fields)
