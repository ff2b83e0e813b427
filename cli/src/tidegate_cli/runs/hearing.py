"""What the ledger made of what was written, in sentences. Pure."""

from collections.abc import Iterable, Iterator

from tidegate.events import Event
from tidegate_solver.events import BudgetLevel, LedgerRecordIgnored


def sentences(heard: Iterable[Event]) -> Iterator[str]:
    """Yield what a person wants to know."""
    for event in heard:
        match event:
            case BudgetLevel():
                used = f"{event.used} of {event.limit} USD"
                yield f"{event.percent} % of the budget of {event.scope} are used: {used}."
            case LedgerRecordIgnored() if event.kind != "unreadable":
                yield f"Not done: {event.why}."
            case _:
                pass
