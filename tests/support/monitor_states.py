"""States of the monitor in which somebody looks at it, for its page and for the terminal."""

from collections.abc import Callable

from support.monitor import Bench
from tidegate.alert_rules import load
from tidegate_monitor.engine import Engine
from tidegate_monitor.view import View, view

HOSTILE = '<img src=x onerror="document.title=1">"><script>alert(1)</script>'


def idle(bench: Bench) -> None:
    """Everything runs, nothing is to do."""
    for service in ("fetcher", "solver", "storer"):
        bench.tell(service, last={"in_hand": 0.0, "stuck": 0.0, "loop_lag_s": 0.01})
    for topic in ("urls", "urls-high", "urls-low", "captcha-requests", "captcha-solutions", "pages"):
        bench.tell("monitor", instance=f"m-{topic}", scope="topic", subject=topic, last={"lag": 0.0})
    for wall in ("clean", "prone"):
        bench.tell("fetcher", instance=f"f-{wall}", scope="wall", subject=wall, last={"share": 1.0})
    bench.tell("solver", instance="s-b", scope="budget", subject="everything", last={"used": 0.0})


def busy(bench: Bench) -> None:
    """Ten minutes of work at several sites, one of which has a name that attacks."""
    for minute in range(60):
        pages, challenges = 900.0 + 40 * (minute % 7), 60.0 + 5 * (minute % 5)
        sums = {"fetch:page": pages, "challenges": challenges, "fetch:network": 9.0, "dead:blocked": 1.0}
        bench.tell("fetcher", sums=sums, seconds_of={"fetch_s": [0.2, 0.3, 1.4]}, last={"in_hand": 120.0})
        solved = {"solve:solved": challenges, "solve:failed": 1.0, "spent": challenges * 0.0011}
        bench.tell("solver", sums=solved, seconds_of={"solve_s": [14.0, 18.0, 26.0]}, last={"in_hand": 40.0})
        bench.tell("storer", sums={"stored_records": pages + challenges}, last={"in_hand": 900.0})
        for number, site in enumerate(("shop.example", "news.example:8443", HOSTILE)):
            counted = {"fetch:page": 300.0 - 90 * number, "challenges": 10.0 + 40 * number}
            bench.tell("fetcher", scope="site", subject=site, sums=counted)
        at_provider = {"solve:solved": challenges, "solve:failed": 1.0, "spent": 0.05}
        bench.tell(
            "solver",
            scope="provider",
            subject="capmonster",
            sums=at_provider,
            seconds_of={"solve_s": [14.0, 18.0]},
        )
        lag = {"lag": 40_000.0 - 400 * minute}
        bench.tell("monitor", instance="m-urls", scope="topic", subject="urls", last=lag)
        bench.wait(10)
    idle(bench)
    bench.tell("fetcher", last={"in_hand": 120.0})
    bench.tell("monitor", instance="m-urls", scope="topic", subject="urls", last={"lag": 16_000.0})
    provider = {"breaker": 0.0, "limit": 50.0, "balance": 12.4}
    bench.tell("solver", scope="provider", subject="capmonster", last=provider)
    bench.tell("solver", instance="s-b", scope="budget", subject="run june", last={"used": 2.2, "limit": 5.0})


def solver_down(bench: Bench) -> None:
    """The solving service fails: its last solve is a minute old, and it has been down for another."""
    busy(bench)
    for _ in range(140):
        bench.tell("solver", sums={"solve:failed": 30.0})
        bench.tell("fetcher")
        bench.tell("storer")
        bench.tell("solver", scope="provider", subject="capmonster", last={"breaker": 2.0})
        bench.look()
        bench.wait(1)
    bench.tell("solver", last={"in_hand": 0.0})
    bench.tell("solver", instance="s-p", scope="provider", subject="capmonster", last={"breaker": 2.0})
    bench.tell("solver", scope="provider", subject="capmonster", last={"breaker": 2.0, "limit": 2.0})
    bench.tell("fetcher", instance="f-prone", scope="wall", subject="prone", last={"share": 0.0})
    bench.tell("fetcher", instance="f-clean", scope="wall", subject="clean", last={"share": 1.0})
    lag = {"lag": 5_200.0}
    bench.tell("monitor", instance="m-c", scope="topic", subject="captcha-requests", last=lag)


def budget_spent(bench: Bench) -> None:
    """The run's money is gone; another one's is nearly."""
    busy(bench)
    bench.tell("solver", instance="s-b", scope="budget", subject="run june", last={"used": 5.0, "limit": 5.0})
    bench.tell("solver", instance="s-c", scope="budget", subject="run july", last={"used": 4.1, "limit": 5.0})


def shown(fill: Callable[[Bench], None]) -> View:
    """Return what the page shows in a state."""
    bench = Bench()
    fill(bench)
    bench.look()
    engine = Engine("m", load(), wall_ms=bench.now_ms)
    engine.board, engine.book, engine.caught_up = bench.board, bench.book, True
    list(engine.healths.step(engine.board, bench.now_ms))
    return view(engine, 0.0)
