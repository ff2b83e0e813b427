"""What the benchmarks' report makes of figures."""

import msgspec
import pytest
from bench.report import (
    Figure,
    Machine,
    Row,
    RowSpec,
    Spec,
    change,
    compared,
    figures,
    merged,
    paced,
    page,
    shown,
)

LOWER = Spec("cost", "µs/page", "lower", must=100.0, aim=50.0)
HIGHER = Spec("rate", "pages/s", "higher", must=4.0, aim=6.0)
MACHINE = Machine(cores=2, memory_gib=8, python="3.11.0", system="Linux", load=0.2, reference_ms=10.0)


def row(*samples: float, spec: Spec = LOWER, name: str = "storer", broker: str = "Kafka") -> Row:
    """Return a row of one figure."""
    return Row(RowSpec(name, "a title", "How it is done.", (spec,)), broker, (Figure(spec, samples),))


@pytest.mark.parametrize(
    ("spec", "samples", "verdict"),
    [
        (LOWER, (49.0, 50.0, 900.0), "aim"),
        (LOWER, (51.0,), "must"),
        (LOWER, (99.0, 101.0, 102.0), "missed"),
        (HIGHER, (6.0, 6.0, 1.0), "aim"),
        (HIGHER, (4.0,), "must"),
        (HIGHER, (3.99,), "missed"),
        (Spec("peer", "µs", "lower"), (1.0,), ""),
    ],
)
def test_the_median_is_held_to_the_limits(spec: Spec, samples: tuple[float, ...], verdict: str) -> None:
    """One sample that is far off decides nothing."""
    assert Figure(spec, samples).verdict == verdict


@pytest.mark.parametrize(
    ("spec", "before", "after", "said"),
    [
        (LOWER, (100.0,), (109.0,), "same"),
        (LOWER, (100.0,), (120.0,), "worse by 20%"),
        (LOWER, (100.0,), (80.0,), "better by 20%"),
        (HIGHER, (100.0,), (80.0,), "worse by 20%"),
        (HIGHER, (100.0,), (150.0,), "better by 50%"),
        (LOWER, (90.0, 100.0, 115.0), (120.0,), "same"),
        (LOWER, (100.0,), (100.0, 120.0, 130.0), "same"),
        (LOWER, (0.0,), (5.0,), "same"),
    ],
)
def test_a_difference_within_the_noise_is_none(
    spec: Spec, before: tuple[float, ...], after: tuple[float, ...], said: str
) -> None:
    """Noise is a tenth, or as far as the samples lie apart; which way is better depends on the figure."""
    assert change(Figure(spec, before), Figure(spec, after)) == said


def test_a_run_is_compared_with_what_is_known_of_the_same_broker() -> None:
    """Figures on another broker say nothing of these."""
    before = merged(None, MACHINE, [row(80.0)])
    assert compared(before, [row(40.0)]) == ["storer: cost 40.0 µs/page, meets the aim, better by 50%"]
    assert compared(before, [row(160.0, broker="other")]) == ["storer: cost 160 µs/page, MISSES THE MUST"]
    assert compared(None, [row(60.0)]) == ["storer: cost 60.0 µs/page, meets the must"]


def test_rows_that_were_not_measured_stay() -> None:
    """`make bench BENCH=…` changes one row of the document."""
    before = merged(None, MACHINE, [row(80.0), row(5.0, name="runtime")])
    after = merged(before, MACHINE, [row(70.0)])
    assert after.rows["runtime"] == before.rows["runtime"]
    assert after.rows["storer"].figures[0].samples == (70.0,)


def test_the_page_shows_median_range_limits_and_how() -> None:
    """All that a reader needs to believe a figure or to doubt it."""
    text = page(merged(None, MACHINE, [row(80.0, 90.0, 120.0)]))
    assert "| storer | cost | 90.0 µs/page | 80.0 … 120 | ≤ 100 | ≤ 50 | must met |" in text
    assert "**storer: a title** (broker: Kafka). How it is done." in text
    assert "2 cores, 8 GiB, Linux, Python 3.11.0" in text
    assert "**missed**" in page(merged(None, MACHINE, [row(101.0)]))


def test_every_repetition_must_have_every_figure() -> None:
    """A figure that is missing once would make a median of what is left."""
    spec = RowSpec("r", "t", "h", (LOWER, HIGHER))
    found = figures(spec, [{"cost": 1.0, "rate": 2.0}, {"cost": 3.0, "rate": 4.0}])
    assert [figure.samples for figure in found] == [(1.0, 3.0), (2.0, 4.0)]
    with pytest.raises(KeyError):
        figures(spec, [{"cost": 1.0}])


def test_numbers_have_as_many_digits_as_mean_something() -> None:
    """Nobody believes the fourth."""
    assert [shown(value) for value in (12_345.6, 123.4, 45.67, 1.234, 0.5)] == [
        "12,346",
        "123",
        "45.7",
        "1.23",
        "0.50",
    ]


def test_a_busy_machine_is_told_of() -> None:
    """Its figures mislead whoever does not know, on the screen and in the document."""
    busy = msgspec.structs.replace(MACHINE, load=1.5)
    assert paced(None, MACHINE) == []
    assert "busy: 1.5 processes" in paced(None, busy)[0]
    assert "**busy" in page(merged(None, busy, [row(80.0)]))
    assert "idle enough" in page(merged(None, MACHINE, [row(80.0)]))


def test_a_machine_that_is_slower_than_it_was_is_told_of() -> None:
    """By what a fixed piece of work takes; a tenth is noise."""
    before = merged(None, MACHINE, [row(80.0)])
    assert paced(before, msgspec.structs.replace(MACHINE, reference_ms=10.9)) == []
    slower = paced(before, msgspec.structs.replace(MACHINE, reference_ms=13.0))
    assert slower == ["The machine is 30% slower than at the run before: compare ratios."]
