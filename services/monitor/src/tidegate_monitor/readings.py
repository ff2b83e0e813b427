"""The values that the alerts look at: one function for each name in the table. Pure."""

from collections.abc import Callable, Mapping

import msgspec
from tidegate.alert_rules import Rule
from tidegate.stats import BUDGET, OTHER, PROVIDER, SERVICE, SITE, SUBNET, TOPIC, WALL, Part, quantile

from tidegate_monitor.windows import Board

FETCHER, SOLVER, STORER, MONITOR = "fetcher", "solver", "storer", "monitor"
BREAKER_CLOSED = 0.0
_SOLVED_WINDOW_S = 60.0


class Reading(msgspec.Struct, frozen=True):
    """One value: of whom, and of how many (the denominator)."""

    subject: str
    value: float
    sample: float


Read = Callable[[Board, float, int], list[Reading]]


def read(rule: Rule, board: Board, now_ms: int) -> list[Reading]:
    """Return the values that a rule looks at now."""
    return READINGS[rule.value](board, rule.window_s, now_ms)


def captcha_share(part: Part) -> tuple[float, float]:
    """Return the CAPTCHA rate of a part and the fetches that it is of."""
    challenges = part.sums.get("challenges", 0.0)
    fetches = challenges + part.sums.get("fetch:page", 0.0)
    return (challenges / fetches if fetches else 0.0), fetches


def failed_share(part: Part) -> tuple[float, float]:
    """Return the share of solves that failed and the solves that it is of."""
    failed = part.sums.get("solve:failed", 0.0)
    ended = failed + part.sums.get("solve:solved", 0.0)
    return (failed / ended if ended else 0.0), ended


def summed(part: Part, prefix: str) -> float:
    """Return the sum of all names that begin so."""
    return sum(amount for name, amount in part.sums.items() if name.startswith(prefix))


def dead_share(board: Board, window_s: float, now_ms: int) -> tuple[float, float]:
    """Return the share of dead letters among the jobs that ended, and how many did."""
    services = (board.total(SERVICE, service, window_s, now_ms) for service in (FETCHER, SOLVER, STORER))
    dead = sum(summed(part, "dead:") for part in services)
    ended = dead + board.total(SERVICE, FETCHER, window_s, now_ms).sums.get("fetch:page", 0.0)
    return (dead / ended if ended else 0.0), ended


def shut_walls(board: Board, now_ms: int) -> Mapping[str, bool]:
    """Return each wall and whether it holds work back."""
    walls: dict[str, bool] = {}
    for _, wall, names in board.last_of(WALL, now_ms):
        if "full" in names:
            continue  # a full window is a busy service and no wall
        shut = any(value > 0 for name, value in names.items() if name.startswith(("shut", "level")))
        named = f"gate of {wall} sites" if "share" in names else wall
        walls[named] = walls.get(named, False) or shut or names.get("share", 1.0) <= 0
    for service, held in board.last(SERVICE, "held", now_ms).items():
        if sum(held):
            walls[f"held partitions of the {service}"] = True
    return walls


def providers_down(board: Board, now_ms: int) -> Mapping[str, bool]:
    """Return each solving service and whether no solver can use it.

    A solver that never met a fault of it has told nothing of its breaker: it may be idle, and says nothing
    about the provider. Where it is not idle, what it had solved says that the provider is there.
    """
    downs: dict[str, list[bool]] = {}
    for _, provider, names in board.last_of(PROVIDER, now_ms):
        found = downs.setdefault(provider, [])
        if "breaker" in names or "out" in names:
            found.append(names.get("breaker", BREAKER_CLOSED) > BREAKER_CLOSED or names.get("out", 0.0) > 0)
    return {
        provider: bool(found) and all(found) and not _solved(board, provider, now_ms)
        for provider, found in downs.items()
    }


def _solved(board: Board, provider: str, now_ms: int) -> bool:
    return board.total(PROVIDER, provider, _SOLVED_WINDOW_S, now_ms).sums.get("solve:solved", 0.0) > 0


def _captcha_rate(board: Board, window_s: float, now_ms: int) -> list[Reading]:
    return [Reading("", *captcha_share(board.total(SERVICE, FETCHER, window_s, now_ms)))]


def _site_captcha_rate(board: Board, window_s: float, now_ms: int) -> list[Reading]:
    sites = (site for site in board.subjects(SITE, window_s, now_ms) if site != OTHER)
    return [Reading(site, *captcha_share(board.total(SITE, site, window_s, now_ms))) for site in sites]


def _solve_failures(board: Board, window_s: float, now_ms: int) -> list[Reading]:
    return [Reading("", *failed_share(board.total(SERVICE, SOLVER, window_s, now_ms)))]


def _solve_time(board: Board, window_s: float, now_ms: int) -> list[Reading]:
    counts = board.total(SERVICE, SOLVER, window_s, now_ms).times.get("solve_s", {})
    return [Reading("", quantile(counts, 0.5) or 0.0, float(sum(counts.values())))]


def _backlog_growth(board: Board, window_s: float, now_ms: int) -> list[Reading]:
    readings = []
    for topic, lags in board.last(TOPIC, "lag", now_ms).items():
        before = board.series(TOPIC, topic).last_before("lag", now_ms - int(window_s * 1000))
        if before is not None:
            readings.append(Reading(topic, max(lags) - before, max(lags)))
    return readings


def _dead_share(board: Board, window_s: float, now_ms: int) -> list[Reading]:
    return [Reading("", *dead_share(board, window_s, now_ms))]


def _stuck(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
    found = board.last(SERVICE, "stuck", now_ms)
    return [Reading(service, sum(values), len(values)) for service, values in found.items()]


def _walls(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
    return [Reading(wall, float(shut), 1.0) for wall, shut in shut_walls(board, now_ms).items()]


def _budgets(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
    limits = board.last(BUDGET, "limit", now_ms)
    used = board.last(BUDGET, "used", now_ms)
    return [
        Reading(scope, max(used[scope]) / limit if (limit := max(limits[scope])) else 1.0, limit)
        for scope in sorted(limits.keys() & used.keys())
    ]


def _providers(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
    return [Reading(name, float(down), 1.0) for name, down in providers_down(board, now_ms).items()]


def _no_proxy(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
    found = board.last(SERVICE, "proxies_none", now_ms).get(FETCHER, [])
    return [Reading("", max(found), len(found))] if found else []


def _silent(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
    silent = board.silent_s(now_ms)
    return [Reading(service, age_s, 1.0) for service, age_s in silent.items() if service != MONITOR]


def _worst(scope: str, name: str) -> Read:
    """Return a reading of the largest latest value of each subject."""

    def worst(board: Board, _window_s: float, now_ms: int) -> list[Reading]:
        found = board.last(scope, name, now_ms)
        return [Reading(subject, max(values), len(values)) for subject, values in found.items()]

    return worst


READINGS: Mapping[str, Read] = {
    "captcha_rate": _captcha_rate,
    "site_captcha_rate": _site_captcha_rate,
    "solve_failures": _solve_failures,
    "solve_time_p50": _solve_time,
    "backlog_growth": _backlog_growth,
    "dead_share": _dead_share,
    "stuck_partitions": _stuck,
    "wall_shut": _walls,
    "retention_near": _worst(TOPIC, "retention_near"),
    "budget_used": _budgets,
    "provider_down": _providers,
    "no_healthy_proxy": _no_proxy,
    "subnet_failing": _worst(SUBNET, "failing"),
    "loop_lag_s": _worst(SERVICE, "loop_lag_s"),
    "silent_s": _silent,
}
