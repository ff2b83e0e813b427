"""`tidegate size`: sums that a reader can follow, and a document that says the same."""

import importlib.util
import json
import re
import statistics
from types import ModuleType

import pytest
from support.packaging import ROOT, read
from tidegate.errors import ConfigurationError
from tidegate_cli.main import app
from tidegate_cli.sizing import Load, Need, UnitCosts, lines, size
from typer.testing import CliRunner


def sizing_docs() -> ModuleType:
    """Return the module that writes the page; it is a script, not part of a package."""
    spec = importlib.util.spec_from_file_location("sizing_docs", ROOT / "tools/sizing_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of(needs: tuple[Need, ...]) -> dict[str, float]:
    """Return the amounts as numbers."""
    return {need.what: float(re.sub(r"[^\d.]", "", need.amount)) for need in needs}


def test_the_page_is_what_the_command_prints() -> None:
    """A change of a cost or a sum without `make docs` turns red."""
    page = read("docs/sizing.md")
    assert page == sizing_docs().render()
    for rate in (10, 1_000, 10_000):
        printed = CliRunner().invoke(app, ["size", "--pages-per-second", str(rate)]).output
        shown = page.split(f"$ tidegate size --pages-per-second {rate}\n")[1].split("\n\n")[0]
        assert [line.strip() for line in shown.splitlines()] == printed.splitlines()


def test_ten_times_the_rate_needs_ten_times_the_pods_and_disks() -> None:
    """But for what is rounded up, and for what has a least."""
    small, large = (of(size(Load(pages_per_second=rate))) for rate in (10_000, 100_000))
    for what in ("fetcher pods", "storer pods", "produced to Kafka", "brokers", "ClickHouse cores"):
        assert large[what] == pytest.approx(10 * small[what], rel=0.2), what


@pytest.mark.parametrize("rate", [0.1, 10, 1_000, 10_000])
def test_what_is_said_is_enough(rate: float) -> None:
    """Pods have the CPU and the places for the rate, and every member of a group a partition."""
    load, costs = Load(pages_per_second=rate), UnitCosts()
    needs = of(size(load))
    assert needs["fetcher pods"] * 1e6 / costs.fetcher_us >= rate / 0.61
    assert needs["fetcher pods"] * needs["RUNTIME__WINDOW of the fetcher"] >= rate * load.answer_s
    assert needs["solver pods"] * needs["CONCURRENCY of a solver"] >= rate * load.challenged * load.solve_s
    assert needs["partitions"] >= 3 * max(needs[f"{name} pods"] for name in ("fetcher", "solver", "storer"))
    assert needs["brokers"] * costs.broker_mbps >= needs["produced to Kafka"] * load.replication
    assert needs["brokers"] >= load.replication


def test_slow_sites_need_windows_before_pods() -> None:
    """What waits for an answer costs memory and no CPU."""
    quick, slow = (of(size(Load(pages_per_second=100, answer_s=answer_s))) for answer_s in (1.0, 7.0))
    assert slow["fetcher pods"] == quick["fetcher pods"]
    assert slow["RUNTIME__WINDOW of the fetcher"] > quick["RUNTIME__WINDOW of the fetcher"]


def test_every_figure_has_its_sum_and_json_says_the_same() -> None:
    """A reader can put his own figures in."""
    needs = size(Load(pages_per_second=50))
    assert all(re.search(r"\d", need.sum) for need in needs)
    printed = CliRunner().invoke(app, ["size", "--pages-per-second", "50", "--json"]).output
    assert [each["amount"] for each in json.loads(printed)] == [need.amount for need in needs]
    assert len({line.index(" = ") for line in lines(needs)}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"pages_per_second": 0},
        {"pages_per_second": 1e300},
        {"page_kib": 1e305},
        {"answer_s": float("inf")},
        {"kept_days": float("nan")},
        {"kept_days": float("inf")},
        {"kept_days": -1.0},
        {"challenged": float("nan")},
        {"challenged": 1.0},
        {"replication": 0},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    """With a sentence."""
    with pytest.raises(ConfigurationError):
        Load(**{"pages_per_second": 1.0, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("figure", [1e-9, 1e9])
def test_the_smallest_and_the_largest_figures_have_an_answer(figure: float) -> None:
    """No sum runs over where every figure is as far out as it may be."""
    load = Load(
        pages_per_second=figure,
        page_kib=figure,
        answer_s=figure,
        solve_s=figure,
        outage_days=figure,
        kept_days=figure,
        replication=9,
    )
    assert lines(size(load))


@pytest.mark.parametrize(
    ("cost", "row", "figure"),
    [
        ("fetcher_us", "fetcher", "fetcher, here"),
        ("storer_us", "storer", "storer, CPU with its parsers"),
        ("clickhouse_us", "storer", "ClickHouse, CPU for the storer"),
        ("solver_us", "solver", "CPU to buy, journal included"),
        ("runtime_mib", "fetcher", "fetcher, most memory"),
    ],
)
def test_a_unit_cost_is_what_was_measured_rounded_up(cost: str, row: str, figure: str) -> None:
    """The kept benchmarks may be another machine's: so somewhat less is no fault, much less is."""
    kept = json.loads(read("docs/benchmarks.json"))["rows"][row]["figures"]
    (samples,) = [each["samples"] for each in kept if each["spec"]["name"] == figure]
    assert 0.9 * statistics.median(samples) <= getattr(UnitCosts(), cost) <= 2.5 * statistics.median(samples)
