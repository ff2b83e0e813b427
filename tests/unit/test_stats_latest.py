"""Latest values that are told no more: they go, and make room for others."""

import pytest
from tidegate.ledger.entries import Scope
from tidegate.stats import BUDGET
from tidegate.telemetry.tally import Tallies
from tidegate_solver.budget_watch import LatestBudgets
from tidegate_solver.events import BudgetRead
from tidegate_solver.stats import STATS


def solver() -> Tallies:
    """Return a solver's tallies."""
    return Tallies("solver", "host:1", STATS)


def test_a_limit_that_is_taken_away_is_told_no_more() -> None:
    """Else the budget would be spent for ever."""
    counted = solver()
    counted.note(BudgetRead(scope="everything", used=5.0, limit=5.0))
    assert counted.take(1.0).parts[BUDGET]["everything"].last == {"used": 5.0, "limit": 5.0}
    counted.note(BudgetRead(scope="everything", used=5.0, limit=None))
    assert counted.take(1.0).parts[BUDGET]["everything"].last == {"used": 5.0}


def test_a_budget_that_is_told_no_more_makes_room() -> None:
    """A solver lives through more runs than a record has room for."""
    counted = solver()
    for number in range(100):
        counted.note(BudgetRead(scope=f"run {number}", used=1.0, limit=5.0))
    for _ in range(5):
        counted.note(BudgetRead(scope="run 0", used=1.0, limit=5.0))
        counted.take(2.1)
    counted.note(BudgetRead(scope="run new", used=1.0, limit=5.0))
    assert set(counted.take(1.0).parts[BUDGET]) == {"run 0", "run new"}


def test_a_value_that_is_forgotten_is_told_no_more() -> None:
    """A monitor that leads no more knows no lags."""
    counted = solver()
    counted.put("topic", "urls", "lag", 7.0)
    counted.forget("topic", "urls", "lag")
    counted.forget("topic", "urls", "lag")
    assert counted.take(1.0).parts == {}


def test_budgets_that_spend_come_before_those_that_are_spent() -> None:
    """Of two hundred finished runs none hides the one that runs."""
    latest = LatestBudgets()
    spent = {Scope(run=f"old-{number}"): (5, 5) for number in range(200)}
    live = Scope(run="live")
    assert live not in latest.of({live: (1, 5), **spent})
    told = latest.of({live: (2, 5), **spent})
    assert live in told
    assert len(told) == 50
    assert live not in latest.of(spent)


@pytest.mark.parametrize("limit", [0, 5])
def test_a_budget_of_nothing_is_spent(limit: int) -> None:
    """Nothing divides by it."""
    assert LatestBudgets().of({Scope(): (5, limit)}) == [Scope()]
