"""A site that is limited to one request a second and has far more jobs than that, in simulated time (T3).

The million is `make slots-model`; here are fewer jobs at the same pace, and the count of records for every
wait that the million can meet.
"""

import itertools

import pytest
from support.slots_model import Job, Outcome, SlotsModel, hops
from tidegate.records import Lane
from tidegate_fetcher.site_slots import SiteRule

RULE = SiteRule(concurrency=8, per_second=1.0)
JOBS = 5_000
MOST = 30
THIRTEEN_DAYS_S = 13 * 86_400


def at_once(count: int = JOBS, lane: Lane = Lane.NORMAL) -> list[Job]:
    """Return jobs that were all accepted at the start."""
    return [Job(number, 0.0, lane) for number in range(count)]


def rate_between(outcome: Outcome, start: float, end: float) -> float:
    """Return the requests a second in a span."""
    return sum(start <= at < end for at in outcome.served) / (end - start)


def test_every_wait_of_the_million_takes_few_records() -> None:
    """A million slots at nine in ten seconds end before the thirteenth day; up to there no wait takes 28."""
    assert max(hops(wait_s) for wait_s in range(2, THIRTEEN_DAYS_S, 19)) <= 27


def test_a_flooded_site_is_asked_at_its_limit_and_jobs_come_round_seldom() -> None:
    """Each job has one slot and comes to it; the site is never asked faster than it may be (T3)."""
    outcome = SlotsModel(RULE).run(at_once())
    assert len(outcome.served) == JOBS
    assert not outcome.dead
    assert outcome.most <= 16
    assert outcome.mean <= 8
    assert sum(job.bookings > 1 for job in outcome.jobs) <= JOBS / 200
    assert rate_between(outcome, 60, 5000) == pytest.approx(0.9, abs=0.01)
    assert min(after - before for before, after in itertools.pairwise(outcome.served)) >= 1 - 1e-6


def test_who_came_first_goes_first() -> None:
    """Nobody starves: with all accepted in order, nobody is served long before who came before him."""
    outcome = SlotsModel(RULE).run(at_once())
    order = [job.number for job in sorted(outcome.jobs, key=lambda job: job.started)]
    assert max(abs(place - number) for place, number in enumerate(order[40:], 40)) <= 40


def test_a_restart_in_the_middle_of_the_flood_books_no_turn_twice() -> None:
    """The next fetcher reads from the ends of the delay topics what is booked (T3)."""
    outcome = SlotsModel(RULE, restarts=((0.8, 20.0), (2500.0, 2504.0))).run(at_once())
    assert len(outcome.served) == JOBS
    assert outcome.most <= MOST - 10
    assert sum(job.bookings > 1 for job in outcome.jobs) <= JOBS / 50


def test_a_fetcher_that_does_not_look_books_turns_twice() -> None:
    """What the reading back is for: without it the same restart makes jobs come round again and again."""
    outcome = SlotsModel(RULE, restarts=((0.8, 20.0),), read_back=0).run(at_once(3000))
    assert sum(job.bookings > 1 for job in outcome.jobs) > 1000


def test_an_outage_of_ten_minutes_is_caught_up_with_what_was_kept_free() -> None:
    """Six hundred overdue jobs get the free tenth, not the end of the queue, and the limit holds (T3)."""
    outcome = SlotsModel(RULE, restarts=((1000.0, 1600.0),)).run(at_once())
    overdue = [job for job in outcome.jobs if 900 <= job.number < 1350]
    assert outcome.most <= MOST - 8
    assert rate_between(outcome, 1700, 5000) >= 0.94
    assert max(job.started for job in overdue) < 1600 + 11 * 600
    assert sum(job.bookings > 2 for job in outcome.jobs) <= JOBS / 100


def test_a_site_that_is_slower_than_its_limit_for_a_while_loses_nobody() -> None:
    """Twelve seconds a request for ten minutes: those who missed their turns go first when they are back."""
    outcome = SlotsModel(RULE, service_s=lambda now: 12.0 if 1000 < now < 1600 else 0.1).run(at_once())
    assert len(outcome.served) == JOBS
    assert outcome.most <= MOST - 8
    assert outcome.ended < JOBS / 0.9 * 1.1


def test_with_a_deadline_as_many_as_can_are_served_and_the_others_know_at_once() -> None:
    """At one a second an hour takes 3,240 booked turns; the rest ends as soon as it is read (T3)."""
    outcome = SlotsModel(RULE, deadline_s=3600.0).run(at_once())
    assert len(outcome.served) == pytest.approx(3240, rel=0.02)
    assert len(outcome.served) + len(outcome.dead) == JOBS
    assert all(job.produced == 0 for job in outcome.dead)
    assert max(outcome.served) <= 3600 + 2


def test_urgent_jobs_do_not_stand_behind_the_flood() -> None:
    """Ten jobs of the high lane, after the flood was read, are served within a minute."""
    urgent = [Job(JOBS + number, 100.0, lane=Lane.HIGH) for number in range(10)]
    SlotsModel(RULE).run([*at_once(2000, Lane.LOW), *urgent])
    assert max(job.started for job in urgent) <= 160


def test_a_site_with_no_limit_but_its_own_speed_is_kept_busy() -> None:
    """Two at once, half a second each: four a second, though every slot is a guess."""
    rule = SiteRule(concurrency=2)
    outcome = SlotsModel(rule, service_s=lambda _now: 0.5).run(at_once(4000))
    assert len(outcome.served) == 4000
    assert outcome.ended <= 4000 / 4 / 0.8
    assert outcome.most <= MOST
