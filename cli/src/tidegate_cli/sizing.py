"""What a rate of pages needs: partitions, pods, brokers, ClickHouse, with the arithmetic. Pure.

What: unit costs, as `make bench` measures them, times the rate, divided by how full things may be. Every
result carries the sum that it came from, so that a reader can put his own figures in.
Why so: a table of sizes without the arithmetic cannot be corrected, and every site and cluster differs.
"""

import math

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.topics import declare

# What fills up is planned to be this full: the rest is for bursts, rebalances and lost machines.
_FULL = 0.6
_WINDOW_FULL = 0.8
_DAY_S = 86_400
# Windows that are tried, from the fetcher's own on.
_WINDOWS = (128, 256, 512, 1024)
_CONCURRENCIES = (50, 200, 500, 2000)
# Kafka's own advice is some thousand partition replicas a broker; ours stays below it.
_REPLICAS_A_BROKER = 4000
_PARTITION_MBPS = 5.0
# Beyond any load, and near enough that no sum runs over.
_MOST = 1e9


class UnitCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one thing costs; CPU times in microseconds of one core, sizes in KiB.

    Rates are planned on the slower side of what was measured: `make bench` says what your machine does.
    """

    fetcher_us: float = 850.0
    storer_us: float = 1100.0
    clickhouse_us: float = 700.0
    solver_us: float = 1400.0
    intake_kib: float = 0.3
    meta_kib: float = 1.5
    solving_kib: float = 8.0
    row_kib: float = 0.5
    broker_mbps: float = 50.0
    runtime_mib: float = 100.0
    in_hand_kib: float = 120.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Raises ConfigurationError where it makes no sense.

    ``page_kib`` is a body after zstd; ``challenged`` the share of pages that meet a challenge; ``answer_s``
    and ``solve_s`` how long a site and a solving service take; retention in days.
    """

    pages_per_second: float
    page_kib: float = 8.0
    challenged: float = 0.02
    answer_s: float = 1.0
    solve_s: float = 15.0
    outage_days: float = 14.0
    kept_days: float = 90.0
    replication: int = 3

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive = (self.pages_per_second, self.page_kib, self.answer_s, self.solve_s, self.outage_days)
        if not all(0 < each <= _MOST for each in positive) or not 0 <= self.kept_days <= _MOST:
            raise ConfigurationError(f"rates, sizes and times must be above 0 and at most {_MOST:,.0f}")
        if not 0 <= self.challenged < 1 or not 1 <= self.replication <= 9:
            raise ConfigurationError("the share of challenges must be in 0 … 1, the replication in 1 … 9")


class Need(msgspec.Struct, frozen=True):
    """One figure of the answer: what, how much, and the sum that gives it."""

    what: str
    amount: str
    sum: str


def size(load: Load, costs: UnitCosts = UnitCosts()) -> tuple[Need, ...]:  # noqa: B008 -- frozen
    """Return what a load needs, from the pods to the disks."""
    window, fetchers, fetcher_sum = _fetchers(load, costs)
    concurrency, solvers, solver_sum = _solvers(load, costs)
    storers = _pods(load.pages_per_second, costs.storer_us)
    most = max(fetchers, solvers, storers)
    partitions = max(12, 12 * math.ceil(max(3 * most, _stream_mbps(load, costs) / _PARTITION_MBPS) / 12))
    memory = 2 ** math.ceil(math.log2(1.5 * (costs.runtime_mib + window * costs.in_hand_kib / 1024)))
    rate = _number(load.pages_per_second)
    return (
        Need("fetcher pods", _number(fetchers), fetcher_sum),
        Need(
            "RUNTIME__WINDOW of the fetcher",
            _number(window),
            f"the least of {', '.join(map(str, _WINDOWS))} with which CPU is the limit, or the last",
        ),
        Need(
            "memory limit of a fetcher",
            f"{memory} MiB",
            f"1.5 * ({costs.runtime_mib:g} MiB + {window} in hand * {costs.in_hand_kib:g} KiB), rounded up",
        ),
        Need("solver pods", _number(solvers), solver_sum),
        Need(
            "CONCURRENCY of a solver",
            _number(concurrency),
            f"the least of {', '.join(map(str, _CONCURRENCIES))} with which one pod is enough, or the last",
        ),
        Need("storer pods", _number(storers), f"{rate}/s * {costs.storer_us:g} µs ÷ {_FULL:.0%} of a core"),
        Need(
            "partitions",
            _number(partitions),
            f"3 * {most} pods of the largest group, so that it may grow threefold, in twelves",
        ),
        *_brokers(load, costs, partitions),
        *_clickhouse(load, costs),
    )


def _pods(rate: float, cost_us: float) -> int:
    return max(1, math.ceil(round(rate * cost_us / 1e6 / _FULL, 6)))


def _fetchers(load: Load, costs: UnitCosts) -> tuple[int, int, str]:
    by_cpu = _pods(load.pages_per_second, costs.fetcher_us)
    in_hand = load.pages_per_second * load.answer_s
    rate = _number(load.pages_per_second)

    def by_window(window: int) -> int:
        return max(1, math.ceil(round(in_hand / (window * _WINDOW_FULL), 6)))

    window = next((each for each in _WINDOWS if by_window(each) <= by_cpu), _WINDOWS[-1])
    if by_window(window) > by_cpu:
        sum_ = f"{rate}/s * {load.answer_s:g} s in hand ÷ {_WINDOW_FULL:.0%} of a window of {window}"
        return window, by_window(window), sum_
    return window, by_cpu, f"{rate}/s * {costs.fetcher_us:g} µs ÷ {_FULL:.0%} of a core"


def _solvers(load: Load, costs: UnitCosts) -> tuple[int, int, str]:
    solves = load.pages_per_second * load.challenged
    at_once = solves * load.solve_s
    concurrency = next(
        (each for each in _CONCURRENCIES if at_once <= each * _WINDOW_FULL), _CONCURRENCIES[-1]
    )
    by_places = max(1, math.ceil(round(at_once / (concurrency * _WINDOW_FULL), 6)))
    pods = max(by_places, _pods(solves, costs.solver_us))
    return (
        concurrency,
        pods,
        f"{_number(solves)} solves/s * {load.solve_s:g} s ÷ {_WINDOW_FULL:.0%} of {concurrency} at once",
    )


def _stream_mbps(load: Load, costs: UnitCosts) -> float:
    """Return MB/s that are produced, replicas not counted."""
    return load.pages_per_second * _record_kib(load, costs) * 1024 / 1e6


def _record_kib(load: Load, costs: UnitCosts) -> float:
    return costs.intake_kib + load.page_kib + costs.meta_kib + load.challenged * costs.solving_kib


def _brokers(load: Load, costs: UnitCosts, partitions: int) -> tuple[Need, ...]:
    produced = _stream_mbps(load, costs)
    topics = sum(1 for spec in declare() if spec.site_keyed)
    replicas = partitions * topics * load.replication
    by_stream = math.ceil(round(produced * load.replication / costs.broker_mbps, 6))
    by_replicas = math.ceil(replicas / _REPLICAS_A_BROKER)
    brokers = max(load.replication, by_stream, by_replicas)
    disk = produced * 1e6 * _DAY_S * load.outage_days * load.replication / brokers / _FULL / 1e12
    return (
        Need(
            "produced to Kafka",
            f"{_number(produced)} MB/s",
            f"{_number(load.pages_per_second)}/s * ({costs.intake_kib:g} KiB intake + {load.page_kib:g} KiB "
            f"body + {costs.meta_kib:g} KiB about it + {load.challenged:.0%} * "
            f"{costs.solving_kib:g} KiB solving)",
        ),
        Need(
            "brokers",
            _number(brokers),
            f"the most of {load.replication} replicas, {_number(produced)} MB/s * {load.replication} ÷ "
            f"{costs.broker_mbps:g} MB/s, {_number(replicas)} partition replicas ÷ "
            f"{_number(_REPLICAS_A_BROKER)}",
        ),
        Need(
            "disk of a broker",
            f"{_number(disk)} TB",
            f"{_number(produced)} MB/s * {load.outage_days:g} days * {load.replication} replicas ÷ "
            f"{brokers} brokers ÷ {_FULL:.0%} full",
        ),
    )


def _clickhouse(load: Load, costs: UnitCosts) -> tuple[Need, ...]:
    # Merges write what was inserted a few times again.
    cores = max(2, math.ceil(round(load.pages_per_second * costs.clickhouse_us * 2 / 1e6 / _FULL, 6)))
    daily = load.pages_per_second * (load.page_kib + costs.row_kib) * 1024 * _DAY_S / 1e12
    return (
        Need(
            "ClickHouse cores",
            _number(cores),
            f"{_number(load.pages_per_second)}/s * {costs.clickhouse_us:g} µs * 2 for merges ÷ {_FULL:.0%}, "
            "at least 2",
        ),
        Need(
            "ClickHouse, a day",
            f"{_number(daily)} TB",
            f"{_number(load.pages_per_second)}/s * ({load.page_kib:g} KiB body + {costs.row_kib:g} KiB row)",
        ),
        Need(
            "ClickHouse disk",
            f"{_number(daily * load.kept_days / _FULL)} TB",
            f"{_number(daily)} TB * {load.kept_days:g} days ÷ {_FULL:.0%} full, for each replica",
        ),
    )


def _number(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def lines(needs: tuple[Need, ...]) -> list[str]:
    """Return the answer as aligned text."""
    widths = max(len(need.what) for need in needs), max(len(need.amount) for need in needs)
    return [f"{need.what:<{widths[0]}}  {need.amount:>{widths[1]}}  = {need.sum}" for need in needs]
