"""Judges what a money campaign left: ledger, journal, charges, strikes. Pure, and knows no service's code.

The ledger's log is replayed by the state machine, whose correctness is another test's business; everything
else is counted here from what outsiders wrote: the simulated service's charge log and the gateway's strikes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from support.money_gateway import Strike
from tidegate.ledger.decisions import Verdict
from tidegate.ledger.entries import Entry, Reserve, Scope, Settle
from tidegate.ledger.machine import Ledger
from tidegate.money import format_usd


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What the service charged: for which task, on whose page, in millionths."""

    task_id: str
    page: str
    cost: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is left. ``log`` is the ledger's, as (offset, time, entry).

    ``page_of`` maps each request to its job's page; ``tasks`` the requests to the tasks that the journal or
    the solves know of them; ``outcomes`` counts each job's rows in the public views.
    """

    run: str
    budget: int
    log: Sequence[tuple[int, int, Entry]]
    page_of: Mapping[str, str]
    tasks: Mapping[str, frozenset[str]]
    charges: Sequence[Charge]
    strikes: Sequence[Strike]
    submitted: frozenset[str]
    outcomes: Mapping[str, int]


class Booked(msgspec.Struct, kw_only=True):
    """What the ledger booked for one request, in millionths."""

    certain: int = 0
    in_doubt: int = 0
    times_in_doubt: int = 0


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Sentences that say what is wrong, and who was charged twice because of what; figures in any case."""

    problems: tuple[str, ...]
    doubles: tuple[str, ...]
    figures: dict[str, Any]


def judged(evidence: Evidence) -> Judgement:
    """Judge it."""
    problems: list[str] = []
    ledger, booked, verdicts, highest = _replayed(evidence, problems)
    charged = Counter[str]()
    for charge in evidence.charges:
        charged[charge.page] += 1
    total_charged = sum(charge.cost for charge in evidence.charges)
    doubt_charged = _per_request(evidence, booked, problems)
    in_doubt = sum(each.in_doubt for each in booked.values())
    if ledger.spent - total_charged != in_doubt - doubt_charged:
        problems.append(
            f"ledger {ledger.spent} - charges {total_charged} is not what is in doubt and was not charged: "
            f"{in_doubt} - {doubt_charged}"
        )
    if ledger.spent < total_charged:
        problems.append(f"the ledger knows of {ledger.spent}, charged were {total_charged}")
    doubles = {page: count - 1 for page, count in charged.items() if count > 1}
    named = _named(evidence, booked, doubles, problems)
    problems += _outcomes(evidence)
    forced = [each for each in evidence.strikes if each.is_forced]
    figures = {
        "requests": len(booked),
        "solves_charged": len(evidence.charges),
        "budget_usd": format_usd(evidence.budget),
        "ledger_usd": format_usd(ledger.spent),
        "highest_usd": format_usd(highest),
        "charged_usd": format_usd(total_charged),
        "in_doubt_usd": format_usd(in_doubt),
        "in_doubt_charged_usd": format_usd(doubt_charged),
        "in_doubt_uncharged_usd": format_usd(in_doubt - doubt_charged),
        "refused": verdicts[Verdict.EXHAUSTED],
        "verdicts": {verdict.value: count for verdict, count in sorted(verdicts.items())},
        "double_charges": sum(doubles.values()),
        "strikes": dict(Counter(f"{each.target.split('-')[0]} {each.kind}" for each in evidence.strikes)),
        "kills_in_window": len(forced),
        "kills_after_the_charge": sum(each.position == "after" for each in forced),
        "usd_lost_per_kill_in_window": (format_usd(doubt_charged // len(forced)) if forced else None),
        "jobs": len(evidence.submitted),
    }
    return Judgement(problems=tuple(problems), doubles=named, figures=figures)


def _replayed(
    evidence: Evidence, problems: list[str]
) -> tuple[Ledger, dict[str, Booked], Counter[Verdict], int]:
    """Replay the log: within the budget at every offset, nothing open at its end."""
    ledger, scope, highest = Ledger(), Scope(run=evidence.run), 0
    booked: dict[str, Booked] = defaultdict(Booked)
    verdicts = Counter[Verdict]()
    for offset, at_ms, entry in evidence.log:
        spent, in_doubt = ledger.spent, ledger.in_doubt
        decision = ledger.apply(offset, at_ms, entry).decision
        if isinstance(entry, Reserve) and decision is not None:
            verdicts[decision.verdict] += 1
        if isinstance(entry, Settle) and (ledger.spent != spent or ledger.in_doubt != in_doubt):
            row = booked[entry.request_id]
            row.in_doubt += ledger.in_doubt - in_doubt
            row.certain += (ledger.spent - spent) - (ledger.in_doubt - in_doubt)
            row.times_in_doubt += ledger.in_doubt > in_doubt
        highest = max(highest, ledger.used(scope))
    if highest > evidence.budget:
        problems.append(f"{highest} were spent or reserved, the budget is {evidence.budget}")
    if ledger.open:
        problems.append(f"reservations are open: {sorted(ledger.open)[:5]}")
    return ledger, booked, verdicts, highest


def _per_request(evidence: Evidence, booked: Mapping[str, Booked], problems: list[str]) -> int:
    """Compare each request with its charges; return how much of what is in doubt was charged.

    A task that the journal knows is its request's. Of the others the service only says the page, so they
    are taken for the requests of that page that are in doubt.
    """
    request_of = {task: request for request, tasks in evidence.tasks.items() for task in tasks}
    named: dict[str, int] = defaultdict(int)
    unnamed: dict[str, list[Charge]] = defaultdict(list)
    for charge in evidence.charges:
        request = request_of.get(charge.task_id)
        if request is None:
            unnamed[charge.page].append(charge)
        else:
            named[request] += charge.cost
    for request, tasks in evidence.tasks.items():
        if len(tasks) > 1:
            problems.append(f"request {request} was bought {len(tasks)} times: {sorted(tasks)}")
    in_doubt_charged = 0
    left: dict[str, int] = defaultdict(int)
    for request in {*booked, *named}:
        row, paid = booked.get(request, Booked()), named.get(request, 0)
        if not row.certain <= paid <= row.certain + row.in_doubt:
            problems.append(f"request {request}: charged {paid}, booked {row.certain} + {row.in_doubt}")
        in_doubt_charged += max(0, paid - row.certain)
        left[evidence.page_of.get(request, "unknown")] += row.in_doubt - max(0, paid - row.certain)
    for page, charges in unnamed.items():
        cost = sum(charge.cost for charge in charges)
        if cost > left[page]:
            problems.append(f"{page}: {cost} charged for nobody, {left[page]} in doubt")
        in_doubt_charged += cost
    return in_doubt_charged


def _named(
    evidence: Evidence, booked: Mapping[str, Booked], doubles: Mapping[str, int], problems: list[str]
) -> tuple[str, ...]:
    """Name every double charge with the strikes that hit purchases of its page.

    A killed solver leaves a purchase in doubt. One that was only stopped may come back and end its own, while
    another has answered the request as failed: nothing is in doubt then, and the job is solved again.
    """
    doubts = Counter[str]()
    for request, row in booked.items():
        doubts[evidence.page_of.get(request, "unknown")] += row.times_in_doubt
    hits: dict[str, list[Strike]] = defaultdict(list)
    for strike in evidence.strikes:
        for page in strike.pages:
            hits[page].append(strike)
    named = []
    for page, count in doubles.items():
        said = ", ".join(f"{hit.kind} {hit.position} of {hit.target} at {hit.at_s} s" for hit in hits[page])
        stops = sum(hit.kind == "stop" for hit in hits[page])
        if not hits[page]:
            problems.append(f"{page} was charged {count + 1} times, and no strike hit its purchase")
        elif count > min(len(hits[page]), doubts[page] + stops):
            problems.append(f"{page} was charged {count} times too often, {doubts[page]} in doubt, by {said}")
        named.append(f"{page} was charged {count + 1} times: {said or 'nobody knows why'}")
    return tuple(named)


def _outcomes(evidence: Evidence) -> Iterable[str]:
    missing = evidence.submitted - evidence.outcomes.keys()
    if missing:
        yield f"{len(missing)} jobs have no outcome, such as {sorted(missing)[:5]}"
    several = [job for job, count in evidence.outcomes.items() if count != 1]
    if several:
        yield f"{len(several)} jobs have several outcomes, such as {sorted(several)[:5]}"
    invented = evidence.outcomes.keys() - evidence.submitted
    if invented:
        yield f"{len(invented)} outcomes of nobody, such as {sorted(invented)[:5]}"
