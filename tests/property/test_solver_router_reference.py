"""The router against a brute-force reference that was written from the documented formulas."""

from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.routing_reference import Seen, close, expected, order
from tidegate.records import ChallengeKind, Route
from tidegate_solver.measures import Measures
from tidegate_solver.profiles import ErrorKind
from tidegate_solver.router import Candidate, Next, Visit, rank

KIND = ChallengeKind.TURNSTILE
NOW_S = 1_000_000.0

_ages = st.floats(0.0, 20_000.0)
_providers = st.lists(
    st.builds(
        Seen,
        name=st.sampled_from("abcdefgh"),
        price=st.sampled_from([0.0, 0.0006, 0.001, 0.0012, 0.003]),
        charges_failures=st.booleans(),
        assumed_s=st.sampled_from([5.0, 6.0, 13.0]),
        tasks=st.lists(st.tuples(_ages, st.booleans(), st.floats(1.0, 120.0)), max_size=12),
        verdicts=st.lists(st.tuples(_ages, st.booleans()), max_size=12),
        sold_before=st.integers(0, 2),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda seen: seen.name,
)


def candidate(seen: Seen) -> Candidate:
    """Return a provider as the router sees it, measured by what happened at it, the oldest first."""
    measures = Measures()
    for age_s, solved, took_s in sorted(seen.tasks, reverse=True):
        measures.task_ended(KIND, solved=solved, took_s=took_s, now_s=NOW_S - age_s)
    for age_s, accepted in sorted(seen.verdicts, reverse=True):
        measures.judged("a.test", KIND, accepted=accepted, now_s=NOW_S - age_s)
    estimate = measures.estimate("a.test", KIND, assumed_s=seen.assumed_s, now_s=NOW_S)
    return Candidate(
        name=seen.name,
        price=seen.price,
        charges_failures=seen.charges_failures,
        solve_rate=estimate.solve_rate,
        acceptance=estimate.acceptance,
        seconds=estimate.seconds,
        sold_before=seen.sold_before,
    )


@pytest.mark.parametrize("route", list(Route))
@settings(max_examples=60, deadline=None)
@given(providers=_providers)
def test_the_router_chooses_as_the_reference_does(route: Route, providers: list[Seen]) -> None:
    """Whatever was measured, each preset orders the providers as its formula does."""
    candidates = [candidate(seen) for seen in providers]
    worked_out = {each.name: each for each in map(expected, providers)}
    for one in candidates:
        by_hand = worked_out[one.name]
        assert close(one.opens, by_hand.chance)
        assert close(one.cost_to_open, by_hand.dollars)
        assert close(one.seconds_to_open, by_hand.seconds)
    top = max(each.chance for each in worked_out.values())
    assume(not any(close(each.chance, top / 2) for each in worked_out.values()))
    for left, right in combinations(worked_out.values(), 2):
        # Two sums that are equal but for their rounding have no right order.
        for mine, others in zip(left[2:], right[2:], strict=True):
            assume(mine == others or not close(mine, others))
    assert rank(candidates, route) == order(providers, route.value)


def test_each_preset_finds_its_own_in_a_plain_case() -> None:
    """A dear and certain one, a quick one, a cheap one that a site half refuses."""
    many = [(10.0, True)] * 400
    quick = Seen("quick", 0.002, False, 5.0, [(10.0, True, 4.0)] * 400, many, 0)
    sure = Seen("sure", 0.003, False, 5.0, [(10.0, True, 40.0)] * 400, many, 0)
    cheap = Seen("cheap", 0.0008, False, 5.0, [(10.0, True, 20.0)] * 400, many[:200], 0)
    half = cheap._replace(name="half", price=0.0005, verdicts=[*many[:200], *[(10.0, False)] * 200])
    quick = quick._replace(verdicts=[*many[:380], *[(10.0, False)] * 20])
    candidates = [candidate(seen) for seen in (quick, sure, cheap, half)]
    assert rank(candidates, Route.CHEAPEST)[0] == "cheap"
    assert rank(candidates, Route.FASTEST)[0] == "quick"
    assert rank(candidates, Route.RELIABLE)[0] == "sure"
    told = [candidate(seen._replace(sold_before=seen.name == "cheap")) for seen in (quick, sure, cheap, half)]
    assert rank(told, Route.CHEAPEST) == ["half", "quick", "sure", "cheap"]


@settings(max_examples=200, deadline=None)
@given(
    replies=st.lists(st.tuples(st.sampled_from(list(ErrorKind)), st.booleans()), min_size=1, max_size=30),
    retries=st.integers(0, 4),
)
def test_a_visit_ends_and_bothers_nobody_twice_for_nothing(
    replies: list[tuple[ErrorKind, bool]], retries: int
) -> None:
    """At most retries + 1 rounds; who refuses for good is asked once; what is of the page ends it."""
    visit, names, asked = Visit(retries), "abc", dict.fromkeys("abc", 0)
    hard: set[str] = set()
    for kind, of_the_page in replies:
        open_to_it = [name for name in names if not visit.excludes(name)]
        assert open_to_it, "a visit that goes on has somebody to go to"
        name = open_to_it[0]
        assert name not in hard
        asked[name] += 1
        others = len(open_to_it) > 1
        foretold = visit.next_after(kind, others=others, of_the_page=of_the_page)
        following = visit.refused(name, kind, others=others, of_the_page=of_the_page)
        assert following is foretold
        if kind not in (ErrorKind.BUSY, ErrorKind.RETRY):
            hard.add(name)
        if of_the_page:
            assert following is Next.END
        if following is Next.END:
            break
    assert all(times <= retries + 1 for times in asked.values())
