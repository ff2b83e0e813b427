"""What the live page shows, as plain values: one function of the engine and the time. Pure."""

from collections.abc import Mapping
from typing import Any

from tidegate.stats import BUDGET, OTHER, PROVIDER, SERVICE, SITE, TOPIC, Part, quantile

from tidegate_monitor.engine import Engine
from tidegate_monitor.readings import (
    FETCHER,
    MONITOR,
    SOLVER,
    STORER,
    captcha_share,
    dead_share,
    failed_share,
    providers_down,
    shut_walls,
    summed,
)
from tidegate_monitor.windows import BUCKET_MS, Board

SERVICES = (FETCHER, SOLVER, STORER)
WINDOW_S = 300.0
_NOW_S = 10.0
_POINTS, _POINT_BUCKETS = 60, 2
_MOST_SITES, _MOST_SAMPLES = 15, 8
_SEVERITIES = ("critical", "warning", "advice")
_FAILURES = ("network", "server_error", "blocked", "rate_limited")

View = dict[str, Any]


def view(engine: Engine, now_s: float) -> View:
    """Return everything that the page shows, ready for JSON."""
    board, now_ms = engine.board, engine.now_ms(now_s)
    lags = board.last(TOPIC, "lag", now_ms)
    parts = {service: board.total(SERVICE, service, WINDOW_S, now_ms) for service in SERVICES}
    brief = {service: board.total(SERVICE, service, _NOW_S, now_ms) for service in SERVICES}
    return {
        "now_ms": now_ms,
        "ready": engine.caught_up,
        "monitors": len(board.instances(MONITOR, now_ms)),
        "services": [_service(board, service, now_ms) for service in SERVICES],
        "lags": {topic: int(max(values)) for topic, values in sorted(lags.items())},
        "rates": _rates(brief),
        "shares": _shares(board, parts, now_ms),
        "times": _times(parts),
        "walls": [{"name": name, "shut": shut} for name, shut in sorted(shut_walls(board, now_ms).items())],
        "gates": _gates(board, now_ms),
        "providers": _providers(board, now_ms),
        "budgets": _budgets(board, now_ms),
        "spent": parts[SOLVER].sums.get("spent", 0.0),
        "sites": _sites(engine, now_ms),
        "dead": _dead(board, parts),
        "proxies": _proxies(board, now_ms),
        "alerts": _alerts(engine, now_ms),
        "charts": _charts(board, now_ms),
        "chart_s": _POINTS * _POINT_BUCKETS * BUCKET_MS // 1000,
    }


def _alerts(engine: Engine, now_ms: int) -> list[View]:
    """Return what fires, the worst first; of several marks of one value only the worst that is passed."""
    rules = {rule.name: rule for rule in engine.book.rules}
    worst = {}
    for alert in sorted(engine.book.firing(), key=lambda each: -_SEVERITIES.index(each.severity)):
        worst[rules[alert.rule].value, alert.subject] = alert
    return [
        {
            "rule": alert.rule,
            "subject": alert.subject,
            "severity": alert.severity,
            "value": alert.value,
            "unit": rules[alert.rule].unit,
            "since_s": max(0, (now_ms - alert.since_ms) // 1000),
            "summary": alert.summary,
            "action": alert.action,
        }
        for alert in sorted(worst.values(), key=lambda each: _SEVERITIES.index(each.severity))
    ]


def _service(board: Board, service: str, now_ms: int) -> View:
    def of(name: str) -> list[float]:
        return list(board.last(SERVICE, name, now_ms).get(service, ()))

    return {
        "name": service,
        "instances": len(board.instances(service, now_ms)),
        "silent_s": board.silent_s(now_ms).get(service),
        "in_hand": int(sum(of("in_hand"))),
        "buffered": int(sum(of("buffered"))),
        "held": int(sum(of("held"))),
        "stuck": int(sum(of("stuck"))),
        "loop_lag_s": max(of("loop_lag_s"), default=0.0),
    }


def _rates(brief: Mapping[str, Part]) -> View:
    fetcher, solver, storer = (brief[service].sums for service in SERVICES)
    fetched = {
        name.partition(":")[2]: amount for name, amount in fetcher.items() if name.startswith("fetch:")
    }
    return {
        "pages": fetched.get("page", 0.0) / _NOW_S,
        "challenges": fetcher.get("challenges", 0.0) / _NOW_S,
        "failures": sum(fetched.get(name, 0.0) for name in _FAILURES) / _NOW_S,
        "bytes": fetcher.get("wire_bytes", 0.0) / _NOW_S,
        "solved": solver.get("solve:solved", 0.0) / _NOW_S,
        "unsolved": solver.get("solve:failed", 0.0) / _NOW_S,
        "stored": storer.get("stored_records", 0.0) / _NOW_S,
        "retried": summed(brief[FETCHER], "retried") / _NOW_S,
        "dead": sum(summed(part, "dead:") for part in brief.values()) / _NOW_S,
    }


def _shares(board: Board, parts: Mapping[str, Part], now_ms: int) -> View:
    captcha, fetches = captcha_share(parts[FETCHER])
    failed, solves = failed_share(parts[SOLVER])
    dead, ended = dead_share(board, WINDOW_S, now_ms)
    failures = sum(parts[FETCHER].sums.get(f"fetch:{name}", 0.0) for name in _FAILURES)
    return {
        "captcha": captcha if fetches else None,
        "solved": 1.0 - failed if solves else None,
        "dead": dead if ended else None,
        "errors": failures / (failures + fetches) if failures + fetches else None,
    }


def _times(parts: Mapping[str, Part]) -> View:
    solve, fetch = parts[SOLVER].times.get("solve_s", {}), parts[FETCHER].times.get("fetch_s", {})
    return {
        "solve_p50": quantile(solve, 0.5),
        "solve_p95": quantile(solve, 0.95),
        "fetch_p50": quantile(fetch, 0.5),
        "fetch_p95": quantile(fetch, 0.95),
    }


def _gates(board: Board, now_ms: int) -> View:
    """Return the share of the window that each class of sites may use, the least of all fetchers."""
    return {wall: min(shares) for wall, shares in sorted(board.last("wall", "share", now_ms).items())}


def _providers(board: Board, now_ms: int) -> list[View]:
    down = providers_down(board, now_ms)
    found = []
    for name in sorted({*down, *board.subjects(PROVIDER, WINDOW_S, now_ms)} - {"None", OTHER}):
        part = board.total(PROVIDER, name, WINDOW_S, now_ms)
        failed, solves = failed_share(part)
        times = part.times.get("solve_s", {})
        breaker = max(board.last(PROVIDER, "breaker", now_ms).get(name, [0.0]))
        out = max(board.last(PROVIDER, "out", now_ms).get(name, [0.0]))
        balances = board.last(PROVIDER, "balance", now_ms).get(name)
        found.append(
            {
                "name": name,
                "state": "out" if out else ("closed", "half-open", "open")[int(breaker)],
                "down": down.get(name, False),
                "solved": 1.0 - failed if solves else None,
                "solves": int(solves),
                "p50": quantile(times, 0.5),
                "p95": quantile(times, 0.95),
                "limit": sum(board.last(PROVIDER, "limit", now_ms).get(name, [])) or None,
                "balance": min(balances) if balances else None,
                "spent": part.sums.get("spent", 0.0),
            }
        )
    return found


def _budgets(board: Board, now_ms: int) -> list[View]:
    limits = board.last(BUDGET, "limit", now_ms)
    return [
        {"name": scope, "used": max(used), "limit": max(limits[scope]) if scope in limits else None}
        for scope, used in sorted(board.last(BUDGET, "used", now_ms).items())
    ]


def _sites(engine: Engine, now_ms: int) -> list[View]:
    board, slowed = engine.board, engine.healths.slowed
    found: list[View] = []
    for site in board.subjects(SITE, WINDOW_S, now_ms):
        part = board.total(SITE, site, WINDOW_S, now_ms)
        rate, fetches = captcha_share(part)
        failures = sum(part.sums.get(f"fetch:{name}", 0.0) for name in _FAILURES)
        found.append(
            {
                "name": site,
                "captcha": rate if fetches else None,
                "fetches": int(fetches),
                "failures": int(failures),
                "dead": int(part.sums.get("dead", 0.0)),
                "spent": part.sums.get("spent", 0.0),
                "factor": slowed.get(site, 1.0),
            }
        )
    found.sort(key=lambda each: (-(each["captcha"] or 0.0), -each["fetches"], each["name"]))
    return found[:_MOST_SITES]


def _dead(board: Board, parts: Mapping[str, Part]) -> View:
    reasons: dict[str, int] = {}
    for part in parts.values():
        for name, amount in part.sums.items():
            if name.startswith("dead:"):
                reason = name.removeprefix("dead:")
                reasons[reason] = reasons.get(reason, 0) + int(amount)
    samples = [
        {"reason": note.reason, "site": note.site, "job": note.job_id, "message": note.message}
        for note in list(board.dead)[-_MOST_SAMPLES:][::-1]
    ]
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return {"reasons": [{"name": name, "count": count} for name, count in ordered], "samples": samples}


def _proxies(board: Board, now_ms: int) -> View | None:
    every = board.last(SERVICE, "proxies", now_ms).get(FETCHER)
    healthy = board.last(SERVICE, "proxies_healthy", now_ms).get(FETCHER, [])
    return {"all": int(max(every)), "healthy": int(min(healthy, default=0))} if every else None


def _charts(board: Board, now_ms: int) -> View:
    span_s = _POINT_BUCKETS * BUCKET_MS / 1000

    def rate(service: str, name: str) -> list[float]:
        series = board.series(SERVICE, service)
        return series.points(
            lambda part: round(part.sums.get(name, 0.0) / span_s, 3), _POINTS, _POINT_BUCKETS, now_ms
        )

    def backlog() -> list[float]:
        topics = [board.series(TOPIC, topic) for topic in board.subjects(TOPIC, WINDOW_S, now_ms)]
        step_ms = _POINT_BUCKETS * BUCKET_MS
        times = [now_ms - (_POINTS - place) * step_ms for place in range(1, _POINTS + 1)]
        return [sum(series.last_before("lag", at_ms) or 0.0 for series in topics) for at_ms in times]

    return {
        "pages": rate(FETCHER, "fetch:page"),
        "challenges": rate(FETCHER, "challenges"),
        "solved": rate(SOLVER, "solve:solved"),
        "stored": rate(STORER, "stored_records"),
        "spent": rate(SOLVER, "spent"),
        "backlog": backlog(),
    }
