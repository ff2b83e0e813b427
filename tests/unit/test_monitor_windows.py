"""The board: windows, latest values, and their bounds."""

from collections.abc import Mapping

from support.monitor import START_MS, Bench
from tidegate.stats import Part, StatsDelta
from tidegate_monitor.windows import HORIZON_MS, Board, Series


def test_two_boards_that_read_the_same_know_the_same() -> None:
    """A monitor that starts anew rebuilds its numbers from the records."""
    one, two = Bench(), Bench()
    for bench in (one, two):
        for number in range(100):
            bench.tell("fetcher", sums={"fetch:page": number})
            bench.wait(3)
    totals = [bench.board.total("service", "fetcher", 60, bench.now_ms) for bench in (one, two)]
    assert totals[0] == totals[1]
    assert totals[0].sums["fetch:page"] == sum(range(82, 100))


def test_a_record_that_comes_late_counts_as_of_now() -> None:
    """Append times of several partitions' leaders may lie a little apart."""
    series = Series()
    series.add(Part(sums={"x": 1.0}), START_MS)
    series.add(Part(sums={"x": 1.0}), START_MS - 60_000)
    assert series.total(10, START_MS).sums == {"x": 2.0}


def test_a_series_forgets_what_is_older_than_its_horizon() -> None:
    """Memory is bounded by time."""
    series = Series()
    for second in range(0, 3 * HORIZON_MS // 1000, 5):
        series.add(Part(sums={"x": 1.0}), START_MS + second * 1000)
    assert len(series._buckets) == HORIZON_MS // 5000


def tell_sites(bench: Bench, sites: Mapping[str, Mapping[str, float]]) -> None:
    """Let a fetcher tell of many sites in one record."""
    parts = {"site": {site: Part(sums=dict(sums)) for site, sums in sites.items()}}
    delta = StatsDelta(service="fetcher", instance="f", seconds=1.0, parts=parts)
    bench.board.take(delta, bench.now_ms)


def test_the_board_forgets_the_sites_with_the_least_to_tell() -> None:
    """Services and topics stay, however many sites there are; so do the busy ones and the newest."""
    bench = Bench()
    bench.board = Board(most_series=100)
    bench.tell("fetcher")
    for number in range(200):
        tell_sites(bench, {"busy": {"fetch:page": 2.0}, f"site-{number}": {"fetch:page": 1.0}})
        bench.wait(1)
    board = bench.board
    assert len(board._series) <= 100
    assert {"busy", "site-199"} <= set(board.subjects("site", 60, bench.now_ms))
    assert ("service", "fetcher") in board._series


def test_a_site_that_is_idle_goes_before_one_that_works() -> None:
    """What it had to tell is out of its window."""
    bench = Bench()
    bench.board = Board(most_series=10)
    tell_sites(bench, {f"old-{number}": {"fetch:page": 9.0} for number in range(2)})
    bench.wait(301)
    tell_sites(bench, {f"new-{number}": {"fetch:page": 1.0} for number in range(10)})
    assert len([key for key in bench.board._series if key[1].startswith("new")]) == 10


def test_a_bad_site_among_hundreds_of_active_ones_fires() -> None:
    """All of them tell something in every bucket: none may push another one out."""
    bench = Bench("captcha_rate_site")
    good = {f"site-{number}": {"fetch:page": 1.0} for number in range(450)}
    worst = {"challenges": 5.0, "fetch:challenge": 5.0, "fetch:page": 3.0}
    for _ in range(3):
        tell_sites(bench, {"bad": worst, **good})
        bench.wait(5)
    bench.look()
    assert [alert.subject for alert in bench.book.firing()] == ["bad"]


def test_the_latest_values_of_an_instance_that_is_gone_are_forgotten() -> None:
    """What it said of itself is not so any more; the others' stays."""
    bench = Bench()
    bench.tell("fetcher", instance="a", last={"in_hand": 3.0})
    bench.wait(14)
    bench.tell("fetcher", instance="b", last={"in_hand": 4.0})
    assert sorted(bench.board.last("service", "in_hand", bench.now_ms)["fetcher"]) == [3.0, 4.0]
    bench.wait(1)
    assert bench.board.last("service", "in_hand", bench.now_ms) == {"fetcher": [4.0]}
    assert bench.board.instances("fetcher", bench.now_ms) == ["b"]


def test_points_are_of_full_buckets_oldest_first() -> None:
    """A chart's last point does not sink because its bucket is still filling."""
    series = Series()
    for second in range(0, 40, 5):
        series.add(Part(sums={"x": 1.0}), START_MS + second * 1000)
    points = series.points(lambda part: part.sums.get("x", 0.0), 3, 2, START_MS + 39_000)
    assert points == [2.0, 2.0, 2.0]
    assert Board().series("site", "none").points(lambda _: 1.0, 2, 1, START_MS) == [1.0, 1.0]
