"""No solve is bought for what another one opens: whole sites in simulated time, in any order."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.visitors import World
from tidegate.records import ChallengeKind

TOKEN, CLEARANCE = ChallengeKind.RECAPTCHA_V2, ChallengeKind.AWS_WAF


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    jobs=st.integers(1, 40),
    protected=st.sampled_from([0.2, 0.6, 1.0]),
    grace=st.integers(1, 6),
    concurrency=st.integers(1, 12),
)
def test_a_site_with_a_grace_is_solved_as_often_as_its_pages_need(
    seed: int, jobs: int, protected: float, grace: int, concurrency: int
) -> None:
    """Solves = pages ÷ what one opens, rounded up (M7); every page is there, one solve at a time."""
    world = World(seed, jobs=jobs, protected=protected, kind=TOKEN, grace=grace, concurrency=concurrency)
    world.run()
    assert len(world.pages) == jobs
    assert world.views == len(world.protected)
    assert world.solves == world.fair_solves
    assert world.most_solving <= 1


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    jobs=st.integers(1, 40),
    protected=st.sampled_from([0.3, 1.0]),
    concurrency=st.integers(1, 12),
    kills=st.lists(st.integers(0, 40_000), max_size=3),
)
def test_a_clearance_is_bought_once_whoever_is_killed(
    seed: int, jobs: int, protected: float, concurrency: int, kills: list[int]
) -> None:
    """One solve a site and identity, although owners die and know nothing but the topic (M6, M7)."""
    world = World(
        seed, jobs=jobs, protected=protected, kind=CLEARANCE, grace=math.inf, concurrency=concurrency
    )
    world.run(tuple(kills))
    assert len(world.pages) == jobs
    assert world.solves == min(1, len(world.protected))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    jobs=st.integers(1, 30),
    grace=st.integers(1, 5),
    concurrency=st.integers(1, 8),
    kills=st.lists(st.integers(0, 60_000), min_size=1, max_size=3),
)
def test_kills_cost_no_more_solves_than_the_pages_that_are_asked_for_again(
    seed: int, jobs: int, grace: int, concurrency: int, kills: list[int]
) -> None:
    """A page that a dead fetcher had in hand uses up the grace once more; nothing else does (M6, M7)."""
    world = World(seed, jobs=jobs, protected=1.0, kind=TOKEN, grace=grace, concurrency=concurrency)
    world.run(tuple(kills))
    assert len(world.pages) == jobs
    assert world.solves <= world.fair_solves + len(kills)


@pytest.mark.parametrize("seed", range(3))
def test_where_a_solve_opens_one_page_nobody_waits_for_another_ones(seed: int) -> None:
    """After one trial each buys his own, side by side."""
    world = World(seed, jobs=60, protected=1.0, kind=TOKEN, grace=0, concurrency=12)
    world.run()
    assert (len(world.pages), world.solves) == (60, 60)
    assert world.most_solving > 30
    assert world.now_ms < 1_000_000 + 90_000
