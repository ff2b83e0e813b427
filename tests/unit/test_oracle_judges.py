"""The oracle finds each fault that it is there to find."""

import pytest
from support.oracle import Outcome, judge

SERVED = {"a": {"x"}, "b": {"y"}}
GOOD = [Outcome("pages", "a", "x"), Outcome("dead_letters", "b")]


def test_a_good_run_is_good() -> None:
    """One outcome each."""
    verdict = judge(["a", "b"], GOOD, SERVED)
    assert verdict.good
    assert (verdict.pages, verdict.dead_letters) == (1, 1)


@pytest.mark.parametrize(
    ("submitted", "rows", "fault"),
    [
        (["a", "b", "c"], GOOD, "lost"),
        (["a", "b"], [*GOOD, Outcome("pages", "b", "y")], "duplicates"),
        (["a"], GOOD, "invented"),
        (["a", "b"], [Outcome("pages", "a", "z"), GOOD[1]], "altered"),
    ],
)
def test_each_fault_is_named(submitted: list[str], rows: list[Outcome], fault: str) -> None:
    """Lost, doubled, invented, altered."""
    verdict = judge(submitted, rows, SERVED)
    assert not verdict.good
    assert getattr(verdict, fault)
