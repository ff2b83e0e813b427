"""The judge of money campaigns turns red for what must not be, and stays green for what may."""

from typing import Any

import msgspec
import pytest
from support.money_gateway import Strike
from support.money_verdict import Charge, Evidence, judged
from tidegate.ledger.entries import Entry, Limit, Reserve, Scope, Settle, Void

NOW_MS = 1_700_000_000_000
PRICE = 1300


def reserve(request: str, number: int) -> Reserve:
    """Return a reservation of the one price."""
    return Reserve(
        by="p",
        id=f"p-{number}",
        request_id=request,
        run="money",
        site="s",
        provider="one",
        amount=PRICE,
        sent_at_ms=NOW_MS,
    )


def settle(request: str, number: int, *, in_doubt: bool = False) -> Settle:
    """Return how it ended."""
    return Settle(by="p", id=f"p-{number}", request_id=request, cost=PRICE, in_doubt=in_doubt)


def charge(task: str, page: str) -> Charge:
    """Return a charge of the one price."""
    return Charge(task_id=task, page=page, cost=PRICE)


STRIKE = Strike(at_s=1.0, target="solver", kind="kill", position="after", pages=("/b",))


def evidence(entries: list[Entry] | None = None, **changes: Any) -> Evidence:
    """Return a good campaign: two jobs, one of them bought twice because of a kill."""
    log: list[Entry] = entries or [
        Limit(by="cli", scope=Scope(run="money"), amount=4 * PRICE),
        reserve("a0", 1),
        settle("a0", 1),
        reserve("b0", 2),
        settle("b0", 2, in_doubt=True),
        reserve("b1", 3),
        settle("b1", 3),
        reserve("c0", 4),
        Void(by="p", id="p-4", request_id="c0"),
    ]
    good = Evidence(
        run="money",
        budget=4 * PRICE,
        log=[(offset, NOW_MS, entry) for offset, entry in enumerate(log)],
        page_of={"a0": "/a", "b0": "/b", "b1": "/b", "c0": "/c"},
        tasks={"a0": frozenset({"1"}), "b1": frozenset({"3"})},
        charges=[charge("1", "/a"), charge("2", "/b"), charge("3", "/b")],
        strikes=[STRIKE],
        submitted=frozenset({"a", "b", "c"}),
        outcomes={"a": 1, "b": 1, "c": 1},
    )
    return msgspec.structs.replace(good, **changes)


def test_a_double_charge_that_a_kill_explains_is_named_and_allowed() -> None:
    """M3: the one window; what it cost is told."""
    judgement = judged(evidence())
    assert judgement.problems == ()
    assert judgement.figures["double_charges"] == 1
    assert judgement.figures["in_doubt_charged_usd"] == "0.0013"
    assert judgement.figures["kills_in_window"] == 1


def test_what_is_in_doubt_and_was_not_charged_is_the_whole_difference() -> None:
    """M9: the kill came before the service had the task."""
    judgement = judged(evidence(charges=[charge("1", "/a"), charge("3", "/b")]))
    assert judgement.problems == ()
    assert judgement.figures["in_doubt_uncharged_usd"] == "0.0013"


AGAIN: list[Entry] = [
    Limit(by="cli", scope=Scope(run="money"), amount=4 * PRICE),
    reserve("b0", 1),
    settle("b0", 1),
    reserve("b1", 2),
    settle("b1", 2),
]
BOTH_KNOWN: dict[str, Any] = {
    "tasks": {"b0": frozenset({"2"}), "b1": frozenset({"3"})},
    "charges": [charge("2", "/b"), charge("3", "/b")],
}


def test_a_stop_may_cost_a_second_solve_without_a_doubt() -> None:
    """M3: who was only stopped ends its own purchase, while another has answered the request as failed."""
    stopped = msgspec.structs.replace(STRIKE, kind="stop")
    judgement = judged(evidence(AGAIN, strikes=[stopped], **BOTH_KNOWN))
    assert judgement.problems == ()
    (named,) = judgement.doubles
    assert "stop after of solver" in named


OPEN: list[Entry] = [Limit(by="cli", scope=Scope(run="money"), amount=4 * PRICE), reserve("a0", 1)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strikes": []}, "no strike hit"),
        ({"entries": AGAIN, **BOTH_KNOWN}, "0 in doubt"),
        ({"charges": [charge("1", "/a"), charge("2", "/a"), charge("3", "/b")]}, "charged for nobody"),
        ({"charges": [charge(str(n), "/b") for n in range(2, 5)]}, "charged"),
        ({"charges": []}, "is not what is in doubt"),
        ({"tasks": {"a0": frozenset({"1", "2"}), "b1": frozenset({"3"})}}, "was bought 2 times"),
        ({"budget": PRICE}, "the budget is"),
        ({"entries": OPEN}, "reservations are open"),
        ({"outcomes": {"a": 1, "b": 2, "c": 1}}, "several outcomes"),
        ({"outcomes": {"a": 1, "b": 1}}, "no outcome"),
        ({"outcomes": {"a": 1, "b": 1, "c": 1, "d": 1}}, "of nobody"),
    ],
)
def test_what_must_not_be_is_said(changes: dict[str, Any], says: str) -> None:
    """Each fault by itself turns the judgement red."""
    others = {name: value for name, value in changes.items() if name != "entries"}
    judgement = judged(evidence(changes.get("entries"), **others))
    assert any(says in problem for problem in judgement.problems)
