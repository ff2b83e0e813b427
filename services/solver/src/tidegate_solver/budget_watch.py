"""Tells every few seconds how the budgets stand, for the monitor: the levels alone say nothing in between."""

from collections.abc import Mapping

from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.ledger.entries import Scope
from tidegate.money import MICROS

from tidegate_solver.events import BudgetRead
from tidegate_solver.ledger_log import LedgerLog

_EVERY_S = 2.0
_MOST = 50


class LatestBudgets:
    """Which budgets changed last: what runs that ended have spent must not hide those that spend. Pure."""

    def __init__(self) -> None:
        self._seen: dict[Scope, tuple[int, int]] = {}

    def of(self, standing: Mapping[Scope, tuple[int, int]]) -> list[Scope]:
        """Return the latest by how all stand: used and limit. What is seen first counts by its share."""
        for gone in self._seen.keys() - standing.keys():
            del self._seen[gone]
        changed = [scope for scope, now in standing.items() if self._seen.get(scope) != now]
        for scope in sorted(changed, key=lambda each: _share(*standing[each])):
            self._seen.pop(scope, None)
            self._seen[scope] = standing[scope]
        return list(self._seen)[-_MOST:]


async def watch_budgets(log: LedgerLog, clock: Clock, emit: Emit) -> None:
    """Tell until cancelled; the sum over everything always, and of the limits those that changed last."""
    whole, latest = Scope(), LatestBudgets()
    while True:
        ledger = log.ledger
        limits = dict(ledger.limits)
        if whole not in limits:
            emit(BudgetRead(scope=str(whole), used=ledger.spent / MICROS, limit=None))
        standing = {scope: (ledger.used(scope), limit) for scope, limit in limits.items()}
        for scope in dict.fromkeys([*(standing.keys() & {whole}), *latest.of(standing)]):
            used, limit = standing[scope]
            emit(BudgetRead(scope=str(scope), used=used / MICROS, limit=limit / MICROS))
        await clock.sleep(_EVERY_S)


def _share(used: int, limit: int) -> float:
    return used / limit if limit else 1.0
