"""The chart's autoscaling over a simulated day of bursts, a storm of challenges and an outage."""

from itertools import pairwise

import msgspec
import pytest
from support.packaging import read
from support.scaling_days import (
    DRAINED,
    OUTAGE,
    SERVICES,
    STEADY,
    STORM,
    TARGET_S,
    at_rest,
    braked_spans,
    charts,
    drains,
    free_at,
    page,
    the_day,
)
from support.scaling_hpa import Autoscaler
from support.scaling_model import HOUR_S, Day, simulate, turns
from support.scaling_policy import compiled, policies


@pytest.mark.parametrize("load", STEADY)
def test_a_steady_load_comes_to_rest(load: float) -> None:
    """After the first hour no service's count changes any more, whatever lies between two whole replicas."""
    late = [each for each in at_rest(load) if each.at_s >= HOUR_S]
    for service in SERVICES:
        assert len({each.wanted[service] for each in late}) == 1, service
    assert max(each.lag["fetcher"] for each in late) < 10 * load


def test_the_simulation_can_tell_a_swing() -> None:
    """By lag alone the same load swings: the test above would be red."""
    late = [turn for turn in turns(list(at_rest(250.0, prometheus=False)), "fetcher") if turn[0] >= HOUR_S]
    assert len(late) > 10


def test_no_replica_goes_only_to_come_back() -> None:
    """Nobody is sent away and called back within five minutes, nor the other way round within ten."""
    for service in SERVICES:
        changes = turns(list(the_day()), service)
        for (at, change), (then, next_) in pairwise(changes):
            if change < 0 < next_:
                assert then - at > 300, (service, at)
            if next_ < 0 < change:
                assert then - at >= 600, (service, at)


def test_nothing_grows_while_the_brake_is_on() -> None:
    """Neither challenges nor a storer that stands still call for fetchers, whatever piles up meanwhile."""
    spans = [span for span in braked_spans(the_day()) if span[-1].at_s - span[0].at_s > 600]
    assert [int(span[0].at_s // HOUR_S) for span in spans] == [int(STORM[0]), int(OUTAGE[0])]
    for span in spans:
        counts = [each.wanted["fetcher"] for each in span]
        assert counts == sorted(counts, reverse=True)
        assert span[-1].lag["fetcher"] > 10 * counts[0] * policies()["fetcher"].threshold


def test_without_the_brake_it_would_grow() -> None:
    """The storm alone, with the formula's other branch: what the brake prevents happens."""
    fetcher = policies()["fetcher"]
    loose = msgspec.structs.replace(fetcher, formula=fetcher.formula.rpartition(" : ")[2])
    day = Day(steady=150.0, storms=((1.0, 60.0, 0.5),))
    samples = simulate(day, {**policies(), "fetcher": loose}, hours=2)
    assert max(each.wanted["fetcher"] for each in samples) == fetcher.maximum


def test_what_piled_up_is_drained_within_the_target() -> None:
    """A burst of ten times the load in a quarter of an hour, what a trouble left behind in three of them."""
    for hour, _, took in drains():
        assert took <= (3 if free_at(hour) > hour else 1) * TARGET_S, hour
    assert the_day()[-1].lag["fetcher"] < DRAINED


def test_none_are_kept_for_nothing_and_the_first_comes_with_the_work() -> None:
    """With a minimum of zero: the first within a poll, the last after the cool-down."""
    chosen = policies(fetcher={"minReplicas": 0})
    day = Day(steady=0.0, bursts=((1.0, 5.0, 150.0),))
    counts = {each.at_s: each.wanted["fetcher"] for each in simulate(day, chosen, hours=2)}
    assert counts[HOUR_S - 15] == 0
    assert counts[HOUR_S + chosen["fetcher"].polling_s] >= 1
    assert counts[2 * HOUR_S - 15] == 0


@pytest.mark.parametrize(
    ("wanted", "metric", "expected"),
    [
        (10, 10_900.0, 10),  # within the tolerance of a tenth
        (10, 11_100.0, 12),
        (3, 99_000.0, 5),  # two more a minute
        (10, 9_100.0, 10),
        (10, 0.0, 9),  # one less in two minutes
    ],
)
def test_the_autoscalers_arithmetic(wanted: int, metric: float, expected: int) -> None:
    """One sync, windows aside, by what Kubernetes does."""
    policy = policies()["fetcher"]
    for rule in ("up", "down"):
        policy = msgspec.structs.replace(
            policy, **{rule: msgspec.structs.replace(getattr(policy, rule), window_s=0.0)}
        )
    scaler = Autoscaler(msgspec.structs.replace(policy, maximum=20))
    scaler.wanted = wanted
    scaler.sync(0.0, metric)
    assert scaler.wanted == expected


def test_the_page_and_its_drawings_are_what_the_simulation_gives() -> None:
    """A change of the chart without `make docs` turns red."""
    assert read("docs/scaling.md") == page()
    for name, drawing in charts().items():
        assert read(f"docs/scaling/{name}") == drawing


def test_formulas_read_like_keda_reads_them() -> None:
    """One conditional, in the order of C."""
    assert compiled("a > 1 ? min(b, 2) : b")({"a": 2, "b": 5}) == 2
    assert compiled("max(a, b / 2 * 4)")({"a": 1, "b": 3}) == 6
