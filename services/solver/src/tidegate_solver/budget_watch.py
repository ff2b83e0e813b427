"""Tells every few seconds how the budgets stand, for the monitor: the levels alone say nothing in between."""

from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.ledger.entries import Scope
from tidegate.money import MICROS

from tidegate_solver.events import BudgetRead
from tidegate_solver.ledger_log import LedgerLog

_EVERY_S = 2.0
_MOST = 50


async def watch_budgets(log: LedgerLog, clock: Clock, emit: Emit) -> None:
    """Tell until cancelled; the sum over everything always, and of the limits those used most."""
    whole = Scope()
    while True:
        ledger = log.ledger
        limits = dict(ledger.limits)
        if whole not in limits:
            emit(BudgetRead(scope=str(whole), used=ledger.spent / MICROS, limit=None))
        shares = {scope: ledger.used(scope) / limit if limit else 1.0 for scope, limit in limits.items()}
        for scope in sorted(shares, key=lambda each: -shares[each])[:_MOST]:
            emit(BudgetRead(scope=str(scope), used=ledger.used(scope) / MICROS, limit=limits[scope] / MICROS))
        await clock.sleep(_EVERY_S)
