"""The alerts as data."""

import msgspec
import pytest
from tidegate.alert_rules import Rule, load

RULE = {each.name: each for each in load()}


def test_the_numbers_are_the_agreed_ones() -> None:
    """Whoever changes one of these changes what people were told."""
    assert RULE["captcha_rate"].above == 0.40
    assert RULE["proxies_not_workers"].above == 0.30
    assert RULE["solve_success_low"].above == pytest.approx(1 - 0.95)
    assert RULE["solve_success_critical"].above == pytest.approx(1 - 0.90)
    assert RULE["solve_time"].above == 30.0
    assert RULE["queue_growing"].for_s == 600
    assert RULE["dead_letters"].above == 0.05
    assert [RULE[f"budget_{percent}"].at_least for percent in (50, 80, 100)] == [0.5, 0.8, 1.0]


@pytest.mark.parametrize("rule", load(), ids=lambda rule: str(rule.name))
def test_each_says_what_it_means_and_what_to_do(rule: Rule) -> None:
    """A sentence each, and the denominator; a share has a least sample."""
    assert rule.summary.endswith(".")
    assert rule.action.endswith(".")
    assert rule.denominator
    assert rule.least > 0 or rule.window_s == 0


@pytest.mark.parametrize(
    "change", [{"above": None}, {"at_least": 1.0}, {"clear_below": 0.5}, {"clear_at_most": 0.1}]
)
def test_a_rule_that_contradicts_itself_is_refused(change: dict[str, float | None]) -> None:
    """One mark to fire, one to clear, the second not beyond the first."""
    with pytest.raises(ValueError, match="captcha_rate"):
        msgspec.structs.replace(RULE["captcha_rate"], **change)


def test_between_the_marks_it_is_neither_bad_nor_well() -> None:
    """That is the hysteresis."""
    rule = RULE["captcha_rate"]
    assert [rule.is_bad(value) for value in (0.40, 0.401)] == [False, True]
    assert [rule.is_well(value) for value in (0.35, 0.349)] == [False, True]


def test_a_queue_that_does_not_grow_is_well() -> None:
    """Its two marks are one: a growth of nothing clears."""
    rule = RULE["queue_growing"]
    assert (rule.is_bad(1), rule.is_bad(0), rule.is_well(0), rule.is_well(1)) == (True, False, True, False)
