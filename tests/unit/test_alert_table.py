"""The alerts as data."""

import msgspec
import pytest
from tidegate.alert_rules import Rule, changed, load
from tidegate.errors import ConfigurationError
from tidegate.settings import load as load_settings
from tidegate_monitor.settings import Settings

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


def test_an_installation_may_have_numbers_of_its_own() -> None:
    """What it names changes, by one variable; everything else is as shipped."""
    own = '{"captcha_rate": {"above": 0.6, "least": 10}, "queue_growing": {"for_s": 60}}'
    rules = load_settings(Settings, {"TIDEGATE_MONITOR__ALERTS": own}).monitor.rules()
    found = {rule.name: rule for rule in rules}
    assert found["captcha_rate"] == msgspec.structs.replace(RULE["captcha_rate"], above=0.6, least=10)
    assert found["queue_growing"].for_s == 60
    assert [rule for rule in rules if rule.name not in {"captcha_rate", "queue_growing"}] == [
        rule for rule in load() if rule.name not in {"captcha_rate", "queue_growing"}
    ]
    assert load_settings(Settings, {"TIDEGATE_MONITOR__ALERTS": ""}).monitor.rules() == load()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"captcha_rates": {"above": 0.5}}, "there is no alert captcha_rates"),
        ({"captcha_rate": {"severity": 1.0}}, "severity cannot be set"),
        ({"captcha_rate": {"above": 0.3}}, "what clears it would fire it"),
        ({"captcha_rate": {"at_least": 0.5}}, "one mark to fire at"),
        ({"captcha_rate": {"window_s": 3600.0}}, "10 to 900 s"),
        ({"loop_lag": {"window_s": 60.0}}, "0: it looks at the latest value"),
        ({"captcha_rate": {"least": -1.0}}, "each number must be"),
        ({"captcha_rate": {"least": float("nan")}}, "each number must be"),
    ],
)
def test_numbers_that_make_no_rule_are_refused_by_name(
    changes: dict[str, dict[str, float]], why: str
) -> None:
    """A misspelt alert must not stay silent, nor one that can neither fire nor clear."""
    with pytest.raises(ValueError, match=why):
        changed(load(), changes)


def test_a_variable_that_makes_no_rule_ends_the_start_with_its_name() -> None:
    """It is said which variable it was, and what of it."""
    for own in ('{"captcha_rate": {"above": 0.3}}', "{"):
        with pytest.raises(ConfigurationError, match="TIDEGATE_MONITOR__ALERTS"):
            load_settings(Settings, {"TIDEGATE_MONITOR__ALERTS": own})


@pytest.mark.parametrize("text", ["a.example, b.example", '["a.example", "b.example"]'])
def test_the_names_of_the_page_come_from_the_environment(text: str) -> None:
    """Between commas, or as JSON."""
    found = load_settings(Settings, {"TIDEGATE_MONITOR__HOSTS": text}).monitor.hosts
    assert found == ("a.example", "b.example")
