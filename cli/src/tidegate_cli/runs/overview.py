"""How runs and budgets stand: ledger, topic ``runs`` and ClickHouse, put side by side. Pure."""

from collections.abc import Iterable, Mapping

import msgspec
from tidegate.ledger.entries import Scope
from tidegate.ledger.machine import Ledger
from tidegate.money import format_usd
from tidegate.runs import Runs, RunState


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has in ClickHouse; ``latest`` is the time of its last outcome, UTC."""

    pages: int = 0
    dead_letters: int = 0
    solves: int = 0
    latest: str | None = None


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Money is text in US dollars, ``left`` None without a budget; ``deadline_ms`` by the broker.

    ``spent`` is what solves have cost, ``in_flight`` what is reserved for those under way.
    """

    run: str
    state: str
    pages: int
    dead_letters: int
    solves: int
    spent: str
    in_flight: str
    budget: str | None
    left: str | None
    deadline_ms: int | None
    latest: str | None


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One limit and how it stands; ``used`` is spent or reserved, of a daily one today."""

    scope: str
    run: str | None
    site: str | None
    daily: bool
    limit: str
    used: str
    left: str


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger in a few figures; ``in_doubt`` is the part of ``spent`` that nobody can be sure of."""

    budgets: tuple[BudgetRow, ...]
    spent: str
    in_doubt: str
    open_reservations: int
    in_flight: str
    stopped: tuple[str, ...]
    providers_out: tuple[str, ...]


def run_rows(
    ledger: Ledger, runs: Runs, counts: Mapping[str, RunCounts], only: str | None = None
) -> tuple[RunRow, ...]:
    """Return every run that was created or has outcomes, the newest last; ``only`` one of them."""
    names = [*(name for name in counts if runs.get(name) is None), *(run.record.run for run in runs.all())]
    return tuple(_row(name, ledger, runs, counts) for name in names if only in (None, name))


def _row(name: str, ledger: Ledger, runs: Runs, counts: Mapping[str, RunCounts]) -> RunRow:
    run, count = runs.get(name), counts.get(name, RunCounts())
    scope = Scope(run=name)
    used, limit = ledger.used(scope), ledger.limits.get(scope)
    in_flight = sum(each.amount for each in ledger.open.values() if each.run == name)
    return RunRow(
        run=name,
        state=(RunState.RUNNING if run is None else run.record.state).value,
        pages=count.pages,
        dead_letters=count.dead_letters,
        solves=count.solves,
        spent=format_usd(used - in_flight),
        in_flight=format_usd(in_flight),
        budget=None if limit is None else format_usd(limit),
        left=None if limit is None else format_usd(max(0, limit - used)),
        deadline_ms=None if run is None else run.deadline_ms,
        latest=count.latest,
    )


def money(ledger: Ledger, day: int) -> Money:
    """Return the ledger's figures; ``day`` is today, in days since 1970 by UTC."""
    return Money(
        budgets=tuple(_budget(scope, limit, ledger, day) for scope, limit in _sorted(ledger.limits.items())),
        spent=format_usd(ledger.spent),
        in_doubt=format_usd(ledger.in_doubt),
        open_reservations=len(ledger.open),
        in_flight=format_usd(sum(each.amount for each in ledger.open.values())),
        stopped=tuple(f"{run} ({state.value})" for run, state in ledger.stopped.items()),
        providers_out=ledger.providers_out,
    )


def _sorted(limits: Iterable[tuple[Scope, int]]) -> list[tuple[Scope, int]]:
    return sorted(limits, key=lambda row: (row[0].run or "", row[0].site or "", row[0].daily))


def _budget(scope: Scope, limit: int, ledger: Ledger, day: int) -> BudgetRow:
    used = ledger.used(scope, day)
    return BudgetRow(
        scope=str(scope),
        run=scope.run,
        site=scope.site,
        daily=scope.daily,
        limit=format_usd(limit),
        used=format_usd(used),
        left=format_usd(max(0, limit - used)),
    )
