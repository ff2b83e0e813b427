"""What counts as a stall of a group."""

import pytest
from support.rolling_campaign import Reading, Rolled, longest_stall_s


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 0.0),
        ([(0, 0, False), (5, 0, False)], 0.0),  # nothing to do is no stall
        ([(0, 0, True), (1, 5, True), (2, 9, True)], 1.0),
        ([(0, 0, True), (1, 1, True), (4, 1, True), (7, 1, True), (8, 2, True)], 7.0),
        ([(0, 3, False), (5, 3, True), (9, 3, True), (10, 4, True)], 10.0),  # came at some time after 0
        ([(0, 0, True), (3, 1, False), (20, 1, True), (22, 2, True)], 19.0),
        ([(0, 0, True), (12, 0, True)], 12.0),  # never went on
    ],
)
def test_a_stall_is_time_without_an_advance_while_there_is_work(
    steps: list[tuple[float, int, bool]], expected: float
) -> None:
    """The longest one; work that came between two readings counts from the earlier one."""
    assert longest_stall_s([Reading(*step) for step in steps]) == expected


def test_a_lost_job_a_double_one_and_a_long_stall_are_bad() -> None:
    """Each of them alone."""
    good = {"submitted": 5, "jobs": 5, "rows": 5, "stalls_s": {"fetcher": 9.9}}

    def judged(**changes: object) -> bool:
        return Rolled(restarts=9, stalls_before_s={}, **{**good, **changes}).is_good  # type: ignore[arg-type]

    assert judged()
    assert not judged(jobs=4, rows=4)
    assert not judged(rows=6)
    assert not judged(stalls_s={"fetcher": 1.0, "storer": 10.0})
