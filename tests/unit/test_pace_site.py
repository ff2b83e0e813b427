"""A site that refuses or becomes slow is asked less often, is held while it says so, and recovers slowly."""

import pytest
from support.virtual_time import LoopClock, virtually
from tidegate.events import Event
from tidegate_fetcher.events import SitePaceChanged
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.settings import FetcherSettings
from tidegate_fetcher.site_limits import Go, SiteLimits, Wait
from tidegate_fetcher.site_pace import Answered, Pace, PacePolicy, Why
from tidegate_fetcher.site_slots import Claim, Later, Never, SiteRule

POLICY = PacePolicy(slowest_s=30.0, hold_most_s=600.0)
NEW = Claim()
PAGE = Answered(200, 0.1)
REFUSED = Answered(429, 0.1)
OWN_S = 0.1


def limits(per_second: float | None = None) -> SiteLimits:
    """Return limits of no site yet, of eight requests at once."""
    rule = SiteRule(concurrency=8, per_second=per_second)
    return SiteLimits(lambda _site: rule, wait_s=2.0, pace=POLICY)


def told(pace: Pace, answer: Answered, now: float, own_s: float = OWN_S) -> tuple[str, float] | None:
    """Tell a pace of an answer; return what is told of it."""
    change = pace.answered(POLICY, answer, own_s, now)
    return None if change is None else (change.why, change.interval_s)


def test_a_refusal_doubles_the_time_once_for_all_that_were_under_way() -> None:
    """Eight refusals of one burst are one; the next one that was asked afterwards doubles it again."""
    pace = Pace()
    assert told(pace, REFUSED, 1.0) == (Why.TOO_MANY, 2 * OWN_S)
    assert [told(pace, REFUSED, 1.05) for _ in range(7)] == [None] * 7
    assert told(pace, REFUSED, 1.2) == (Why.TOO_MANY, 4 * OWN_S)


def test_a_site_is_down_by_three_503_in_a_row_and_not_by_one_in_twenty() -> None:
    """A broken section does not slow the whole site; a site that answers nothing else is slowed."""
    pace, down = Pace(), Answered(503, 0.1)
    answers = [down if number % 20 in (0, 1) else PAGE for number in range(400)]
    assert not any(told(pace, answer, float(now)) for now, answer in enumerate(answers))
    changes = [told(pace, down, 500.0 + each) for each in range(6)]
    doubled = [(Why.UNAVAILABLE, 2 * OWN_S), (Why.UNAVAILABLE, 4 * OWN_S)]
    assert changes == [None, None, doubled[0], None, None, doubled[1]]


def test_what_a_solution_is_answered_holds_the_site_and_tells_nothing_of_its_pace() -> None:
    """Solutions wait for no turn (C3): a slower pace would not spare the site one of them."""
    pace = Pace()
    for second in range(20):
        told(pace, Answered(429, 0.1, 5.0, in_turn=False), float(second))
    assert (pace.interval_s, pace.not_before) == (0.0, 24.0)


def test_a_slowed_site_never_gets_slower_than_the_slowest() -> None:
    """Refusals in a row end at half a minute, and are told of until then."""
    pace = Pace()
    changes = [told(pace, REFUSED, float(second)) for second in range(1, 30)]
    assert pace.interval_s == 30.0
    assert changes[-1] is None


def test_a_site_that_is_slower_by_its_rate_is_left_as_it_is() -> None:
    """With ten minutes between two requests there is nothing to slow down, and nothing to tell."""
    pace = Pace()
    assert told(pace, REFUSED, 1.0, own_s=600.0) is None
    assert pace.interval_s == 0.0


def test_a_slowed_site_recovers_by_a_tenth_every_ten_seconds_and_is_let_go() -> None:
    """Doubled once, it takes eight steps; pages within ten seconds count as one."""
    pace = Pace()
    told(pace, REFUSED, 0.0)
    changes = [(tenth / 10, told(pace, PAGE, tenth / 10)) for tenth in range(1, 900)]
    assert [(now, change) for now, change in changes if change] == [(80.0, (Why.RECOVERED, 0.0))]


@pytest.mark.parametrize("status", [403, 404, 407, 500, 502])
def test_other_answers_neither_slow_a_site_nor_let_it_go(status: int) -> None:
    """They tell nothing about how often it may be asked."""
    pace = Pace()
    told(pace, REFUSED, 0.0)
    assert all(told(pace, Answered(status, 0.1), 20.0 * count) is None for count in range(1, 50))
    assert pace.interval_s == 2 * OWN_S


def test_latency_slows_a_site_to_one_request_at_a_time_and_no_further() -> None:
    """Five slow answers in a row count, one does not; slow for good, it is let go in the end."""
    pace = Pace()
    for now in range(100):
        assert told(pace, PAGE, float(now)) is None
    slow = Answered(200, 4.0)
    assert [told(pace, slow, 200.0 + each) for each in range(4)] == [None] * 4
    assert told(pace, PAGE, 204.0) is None
    assert [told(pace, slow, 205.0 + each) for each in range(5)] == [None] * 4 + [(Why.LATENCY, 0.2)]
    most = 0.0
    for each in range(200):
        told(pace, slow, 220.0 + 5 * each, own_s=0.5)
        most = max(most, pace.interval_s)
    assert most == 4.0
    assert pace.interval_s == 0.0


def test_a_quick_site_that_takes_three_times_as_long_is_not_slow() -> None:
    """Below a second nobody suffers."""
    pace = Pace()
    told(pace, Answered(200, 0.02), 0.0)
    assert all(told(pace, Answered(200, 0.9), float(now)) is None for now in range(1, 100))


def test_the_whole_site_waits_for_its_retry_after_and_other_sites_do_not() -> None:
    """Who is new and who comes back, urgent or not: nobody is sent there before its end."""
    state = limits()
    state.ask("a", NEW, 0.0)
    state.leave("a", 0.0, 0.1)
    assert state.answered("a", Answered(429, 0.1, 300.0), 0.1) is not None
    claims = [NEW, Claim(came_before=1, age_s=1e6), Claim(came_before=3, left_s=1000.0)]
    for claim in claims:
        answer = state.ask("a", claim, 10.0)
        assert isinstance(answer, Later)
        assert answer.delay_s >= 290.1 - 1e-6
    assert isinstance(state.ask("b", NEW, 10.0), Go)
    assert isinstance(state.ask("a", NEW, 300.2), Go | Wait)


def test_a_quick_page_of_a_site_at_full_pace_is_looked_at_no_further() -> None:
    """It ends what came in a row; a slow one, a refusal, or one of a slowed site is looked at."""
    state, down = limits(), Answered(503, 0.1)
    for answer in (down, down, PAGE, down, down):
        assert state.answered("a", answer, 1.0) is None
    assert state.answered("a", down, 1.0) is not None
    assert Pace().is_quick_page(PAGE)
    assert not Pace().is_quick_page(Answered(200, 1.1))
    slowed = Pace()
    told(slowed, REFUSED, 0.0)
    assert not slowed.is_quick_page(PAGE)


def test_who_waits_in_hand_is_put_off_by_a_hold() -> None:
    """The hold came after he was let in to wait: he does not go, and his new slot is after it (T3)."""
    state = limits(per_second=1.0)
    state.ask("a", NEW, 0.0)
    assert isinstance(state.ask("a", NEW, 0.0), Wait)
    state.leave("a", 0.0, 0.1)
    state.answered("a", Answered(503, 0.1, 60.0), 0.1)
    assert state.promote("a", NEW, 1.5) == pytest.approx(58.6)
    answer = state.give_up("a", NEW, 2.0)
    assert isinstance(answer, Later)
    assert answer.delay_s >= 58.1 - 1e-6


def test_a_hold_beyond_the_jobs_deadline_ends_the_job() -> None:
    """It can have no turn before it (T3)."""
    state = limits()
    state.answered("a", Answered(429, 0.1, 300.0), 0.0)
    assert isinstance(state.ask("a", Claim(left_s=299.0), 0.5), Never)


def test_a_site_that_says_a_year_is_held_for_ten_minutes() -> None:
    """Nobody holds itself, or us, for ever."""
    pace = Pace()
    for second in range(60):
        pace.answered(POLICY, Answered(429, 0.1, 31_536_000.0), OWN_S, float(second))
        assert pace.not_before == second + 600.0


def test_a_slowed_site_ends_no_job_that_its_own_rate_would_serve() -> None:
    """The pace that it was slowed to is a guess: nobody is told that his turn is after his deadline (T3)."""
    state = limits(per_second=10.0)
    for second in range(20):
        state.answered("a", REFUSED, float(second))
    answers = [state.ask("a", Claim(left_s=3600.0), 20.0) for _ in range(1000)]
    assert not any(isinstance(answer, Never) for answer in answers)


async def _events(pace: PacePolicy | None) -> list[Event]:
    """Let a site refuse a request for five seconds; return what is told, after the next turn was given."""
    clock, events = LoopClock(), list[Event]()
    state = SiteLimits(lambda _site: SiteRule(concurrency=8), wait_s=10.0, pace=pace)
    limiter = SiteLimiter(state, clock, 10.0, events.append)
    started = await limiter.enter("a", NEW)
    assert isinstance(started, float)
    limiter.leave("a", started)
    limiter.answered("a", Answered(429, 0.0, 5.0))
    again = await limiter.enter("a", NEW)
    assert isinstance(again, float)
    assert again - started == pytest.approx(0.0 if pace is None else 5.0)
    return events


def test_what_slows_a_site_is_told_and_who_waits_in_hand_goes_at_its_end() -> None:
    """One event for it, with the site, the reason and both times."""
    [event] = virtually(_events(POLICY))
    assert isinstance(event, SitePaceChanged)
    assert (event.site, event.why, event.hold_s) == ("a", "429", 5.0)


def test_an_operator_may_turn_it_off() -> None:
    """Then nothing is slowed, held or told."""
    assert FetcherSettings(site_slowdown=False).pace() is None
    assert not virtually(_events(None))
