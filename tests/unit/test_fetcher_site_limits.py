"""A site has so many requests at once; the others wait a little, or come back at a slot of their own."""

import asyncio
import itertools

import pytest
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError
from tidegate.outcome import Dead, Defer, Reason
from tidegate.records import JobState, Lane, Origin, UrlJob
from tidegate.testing.manual_clock import ManualClock
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.site_limits import Go, SiteLimits, Wait
from tidegate_fetcher.site_slots import Claim, Later, Never, SiteRule
from tidegate_fetcher.turns import claim_of, missed

NEW = Claim()
BACK = Claim(came_before=1, age_s=100.0)


def limits(concurrency: int = 2, wait_s: float = 2.0, per_second: float | None = None) -> SiteLimits:
    """Return limits of no site yet."""
    rule = SiteRule(concurrency=concurrency, per_second=per_second)
    return SiteLimits(lambda _site: rule, wait_s=wait_s)


def booked(answers: list[Go | Wait | Later | Never]) -> list[float]:
    """Return the waits of those who were given a slot."""
    return [answer.delay_s for answer in answers if isinstance(answer, Later)]


def test_a_site_has_so_many_at_once_and_other_sites_are_free() -> None:
    """The third of a site waits; another site goes."""
    state = limits()
    answers = [state.ask("a", NEW, 0) for _ in range(3)]
    assert [type(answer) for answer in answers] == [Go, Go, Wait]
    assert isinstance(state.ask("b", NEW, 0), Go)


def test_who_would_wait_too_long_is_given_slots_one_after_the_other() -> None:
    """Deferred jobs get different slots, each later than the one before (T3)."""
    state = limits(wait_s=0.0)
    delays = booked([state.ask("a", NEW, 0) for _ in range(52)])
    assert len(delays) == 50
    assert all(earlier < later for earlier, later in itertools.pairwise(delays))


@pytest.mark.parametrize("per_second", [None, 1.0])
def test_who_is_turned_away_gets_the_slot_that_asking_would_have_given(per_second: float | None) -> None:
    """T3: and who is not has left nothing behind."""
    asked, turned = limits(per_second=per_second), limits(per_second=per_second)
    for number in range(200):
        claim = BACK if number % 5 == 4 else Claim(lane=list(Lane)[number % 3], left_s=100.0)
        answer = asked.ask("a", claim, number / 10)
        for _ in range(3):
            away = turned.turn_away("a", claim, number / 10)
            if away is not None:
                break
        assert (away or turned.ask("a", claim, number / 10)) == answer


@pytest.mark.parametrize(("per_second", "burst"), [(None, 1), (1.0, 1), (1.0, 2)])
def test_no_more_are_let_in_than_asking_would_let_in(per_second: float | None, burst: int) -> None:
    """T3: of many who are asked about before the first of them comes in; the others have their slots."""
    rule = SiteRule(concurrency=3, per_second=per_second, burst=burst)
    asked, turned = (SiteLimits(lambda _site: rule, wait_s=0.0) for _ in range(2))
    answers = [asked.ask("a", NEW, 0) for _ in range(50)]
    let_in, slots = 0, []
    for _ in range(50):
        away = turned.turn_away("a", NEW, 0, let_in)
        let_in += away is None
        slots += [] if away is None else [away.delay_s]
    assert let_in == sum(isinstance(answer, Go) for answer in answers)
    assert slots == pytest.approx(booked(answers), rel=0.1)


def test_a_limit_of_requests_a_second_spreads_them() -> None:
    """One goes, two wait in hand for their second, the others are given nine slots in ten seconds (T3)."""
    state = limits(per_second=1.0)
    answers = [state.ask("a", NEW, 0) for _ in range(103)]
    assert [type(answer) for answer in answers[:4]] == [Go, Wait, Wait, Later]
    delays = booked(answers)
    assert delays[0] == pytest.approx(3)
    assert delays[-1] - delays[0] == pytest.approx(99 / 0.9)


def test_a_burst_goes_at_once_after_a_rest() -> None:
    """Five at once, then one a second, then five again."""
    rule = SiteRule(concurrency=100, per_second=1.0, burst=5)
    state = SiteLimits(lambda _site: rule, wait_s=0.0)
    for now in (0.0, 10.0):
        assert [type(state.ask("a", NEW, now)) for _ in range(6)] == [Go] * 5 + [Later]


def test_a_site_that_hangs_shows_at_once() -> None:
    """Requests that run long count by their age: nobody waits in hand behind them."""
    state = limits()
    for _ in range(2):
        state.ask("a", NEW, 0)
    assert isinstance(state.ask("a", NEW, 1), Wait)
    answer = state.ask("a", NEW, 30)
    assert isinstance(answer, Later)
    assert answer.delay_s > 2


def test_who_comes_back_goes_before_who_is_new() -> None:
    """While slots are booked, a newcomer queues up behind them and a returning job waits in hand."""
    state = limits(wait_s=0.5)
    for _ in range(2):
        state.ask("a", NEW, 0)
    while isinstance(state.ask("a", NEW, 0), Wait):
        pass
    for _ in range(100):
        state.ask("a", NEW, 0)
    state.give_up("a", NEW, 0)
    assert isinstance(state.ask("a", NEW, 0), Later)
    assert isinstance(state.ask("a", BACK, 0), Wait)


def test_who_missed_his_turn_gets_one_of_those_kept_free() -> None:
    """With days booked, he comes back within seconds and not at the end of the queue (T3)."""
    state = limits(per_second=1.0, wait_s=0.5)
    state.ask("a", NEW, 0)
    state.learn("a", Lane.NORMAL, 100_000, 0)
    answers = [state.ask("a", BACK, 0) for _ in range(4)]
    assert booked(answers) == pytest.approx([2.5, 12.5, 22.5, 32.5])
    # Who was here only just now is not let before everybody else for as long as he likes.
    young = [state.ask("a", Claim(came_before=1, age_s=1.0), 0) for _ in range(100)]
    assert booked(young)[-1] > 100_000


def test_a_lane_has_a_queue_of_its_own() -> None:
    """Ten urgent jobs do not stand behind a hundred thousand others."""
    state = limits(per_second=1.0)
    state.learn("a", Lane.LOW, 100_000, 0)
    state.ask("a", BACK, 0)
    assert booked([state.ask("a", Claim(lane=Lane.LOW), 0)])[0] > 100_000
    urgent = booked([state.ask("a", Claim(lane=Lane.HIGH), 0) for _ in range(10)])
    assert urgent
    assert max(urgent) < 20


def test_who_has_no_turn_before_his_deadline_is_told_so_and_takes_none() -> None:
    """A slot by the limit of requests is certain; a day's worth of them is booked, no more (T3)."""
    state = limits(per_second=1.0)
    answers = [state.ask("a", Claim(left_s=360.0), 0) for _ in range(1000)]
    assert sum(isinstance(answer, Later) for answer in answers) == 360 * 0.9 - 2
    refused = [answer for answer in answers if isinstance(answer, Never)]
    assert {round(answer.delay_s) for answer in refused} == {361}
    assert isinstance(state.ask("a", Claim(left_s=720.0), 0), Later)


def test_a_guess_sends_nobody_away_for_long() -> None:
    """A site that is slow for a minute does not empty the queue for days."""
    state = limits(wait_s=0.0)
    for _ in range(2):
        state.ask("a", NEW, 0)
    for _ in range(200):
        state.ask("a", Claim(age_s=10_000.0), 60)
    assert booked([state.ask("a", Claim(age_s=age), 60) for age in (0, 59, 100, 500, 5000)]) == [
        *[60, 60, 180, 600, 3600]
    ]


def test_a_guess_leaves_time_before_the_deadline() -> None:
    """He asks again while it is still of use."""
    state = limits(wait_s=0.0)
    for _ in range(2):
        state.ask("a", NEW, 0)
    for _ in range(10):
        state.ask("a", NEW, 60)
    assert state.ask("a", Claim(left_s=50.0), 60) == Later(20.0)


def test_slots_that_nobody_claims_are_forgotten() -> None:
    """Where the jobs have ended elsewhere, newcomers are not sent behind them for ever."""
    state = limits(per_second=1.0, wait_s=0.0)
    state.learn("a", Lane.NORMAL, 100_000, 0)
    now = 100.0
    assert isinstance(state.ask("a", BACK, 0), Go)
    state.leave("a", 0, 0.1)
    assert isinstance(state.ask("a", Claim(left_s=86_400.0), 0.5), Never)
    # Nobody came for his slot for more than a minute: it is no certainty any more.
    while isinstance(state.ask("a", NEW, now), Go):
        assert isinstance(state.ask("a", Claim(left_s=86_400.0), now), Later)
        state.leave("a", now, now + 0.1)
        now += 1
        if now > 140:
            break
    answer = state.ask("a", NEW, now - 0.5)
    assert isinstance(answer, Later)
    assert answer.delay_s < 60


def test_while_slots_are_claimed_newcomers_do_not_undo_them() -> None:
    """The gate may have held everybody back for an hour: who is due comes then, and all stays as it was."""
    state = limits(per_second=1.0, wait_s=0.0)
    state.learn("a", Lane.NORMAL, 200_000, 0)
    now = 3600.0
    for turn in range(200):
        state.ask("a", BACK if turn % 20 == 0 else NEW, now)
        state.leave("a", now, now + 0.1)
        now += 1
    answer = state.ask("a", NEW, now - 0.5)
    assert isinstance(answer, Later)
    assert answer.delay_s > 100_000


def test_slots_booked_by_somebody_before_us_are_respected() -> None:
    """After a rebalance newcomers queue up behind what the delay topics hold."""
    state = limits(per_second=1.0)
    state.learn("a", Lane.NORMAL, 500.0, 0)
    assert isinstance(state.ask("a", NEW, 0), Go)
    # As long as nobody has claimed his turn it is no certainty: no job is ended on its account.
    assert state.ask("a", Claim(left_s=400.0), 0) == Later(60.0)
    assert isinstance(state.ask("a", BACK, 0), Wait)
    assert booked([state.ask("a", NEW, 0)]) == pytest.approx([500 + 1 / 0.9])
    assert isinstance(state.ask("a", Claim(left_s=400.0), 0), Never)


def test_a_rule_must_make_sense() -> None:
    """No rate of zero, no concurrency of zero."""
    for wrong in ({"concurrency": 0}, {"burst": 0}, {"per_second": 0.0}, {"per_second": float("inf")}):
        with pytest.raises(ConfigurationError):
            SiteRule(**{"concurrency": 1, **wrong})  # type: ignore[arg-type]


def test_idle_sites_are_forgotten() -> None:
    """Memory is bounded by the number of sites remembered, running ones apart."""
    rule = SiteRule(concurrency=1)
    state = SiteLimits(lambda _site: rule, wait_s=1, remembered=10)
    for i in range(1000):
        assert isinstance(state.ask(f"s{i}", NEW, 0), Go)
        state.leave(f"s{i}", 0, 1)
    assert len(state._sites) <= 11


def test_a_missed_turn_is_a_deferral_or_the_end() -> None:
    """The dead letter's sentence says when the turn would have been."""
    origin = Origin(topic="urls", partition=0, offset=0, timestamp_ms=0)
    state = JobState(run="r", id="i", site="s", origin=origin, accepted_at_ms=0, attempts={"network": 2})
    job = UrlJob(url="https://s/", deadline=86_400)
    claim = claim_of(state, job, 400)
    assert (claim.came_before, claim.left_s, claim.lane) == (2, 86_000, Lane.NORMAL)
    assert isinstance(missed(Later(5.0), job, state), Defer)
    dead = missed(Never(360_000.0), job, state)
    assert isinstance(dead, Dead)
    assert dead.reason is Reason.DEFERRED_TOO_LONG
    assert "in 100.0 h, and the job's deadline is 24.0 h" in dead.message


async def test_slots_are_handed_on_in_order() -> None:
    """Who came first goes first."""
    clock = ManualClock()
    limiter = SiteLimiter(limits(1, 60.0), clock, 60.0)
    first = await limiter.enter("a", NEW)
    assert isinstance(first, float)
    went: list[int] = []

    async def one(number: int) -> None:
        started = await limiter.enter("a", NEW)
        assert isinstance(started, float)
        went.append(number)
        limiter.leave("a", started)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(one(number))
            await asyncio.sleep(0)  # noqa: TID251 -- lets the task begin
        limiter.leave("a", first)
    assert went == [0, 1, 2, 3, 4]
    assert not limiter._queues


async def test_a_free_turn_is_offered_once_in_a_turn_of_the_loop() -> None:
    """T3: and again in the next one, where whoever was let in did not come."""
    limiter = SiteLimiter(limits(per_second=1.0, wait_s=0.0), ManualClock(), wait_s=0.0)
    for _ in range(2):
        assert [limiter.turn_away("a", NEW) is None for _ in range(3)] == [True, False, False]
        assert limiter.turn_away("b", NEW) is None
        await asyncio.sleep(0)  # noqa: TID251 -- one turn of the loop


async def test_a_wait_in_hand_ends_with_a_slot() -> None:
    """After site_wait_s a job leaves the queue and comes back later."""
    limiter = SiteLimiter(limits(1, 1.0), ManualClock(), 0.001)
    first = await limiter.enter("a", NEW)
    answer = await limiter.enter("a", NEW)
    assert isinstance(answer, Later)
    assert isinstance(first, float)
    limiter.leave("a", first)
    assert isinstance(await limiter.enter("a", NEW), float)


async def test_a_cancelled_job_leaves_no_trace() -> None:
    """Cancelling who waits frees his place; cancelling who was just called frees his slot."""
    limiter = SiteLimiter(limits(1, 60.0), ManualClock(), 60.0)
    first = await limiter.enter("a", NEW)
    assert isinstance(first, float)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(limiter.enter("a", NEW))
        called = group.create_task(limiter.enter("a", NEW))
        await asyncio.sleep(0)  # noqa: TID251 -- lets the tasks begin
        waiting.cancel()
        await asyncio.sleep(0)  # noqa: TID251 -- lets the cancellation arrive
        limiter.leave("a", first)
        called.cancel()
    assert limiter._limits.running("a") == 0
    assert not limiter._queues
    assert isinstance(await limiter.enter("a", NEW), float)


async def test_who_came_twice_in_vain_goes_first() -> None:
    """Then the lanes in their order."""
    clock = ManualClock()
    limiter = SiteLimiter(limits(1, 60.0), clock, 60.0)
    first = await limiter.enter("a", NEW)
    assert isinstance(first, float)
    went: list[str] = []

    async def one(name: str, claim: Claim) -> None:
        started = await limiter.enter("a", claim)
        assert isinstance(started, float)
        went.append(name)
        limiter.leave("a", started)

    claims = {
        "low": Claim(lane=Lane.LOW),
        "normal": NEW,
        "high": Claim(lane=Lane.HIGH),
        "twice": Claim(lane=Lane.LOW, came_before=2),
    }
    async with asyncio.TaskGroup() as group:
        for name, claim in claims.items():
            group.create_task(one(name, claim))
            await asyncio.sleep(0)  # noqa: TID251 -- lets the task begin
        limiter.leave("a", first)
    assert went == ["twice", "high", "normal", "low"]


async def test_who_waits_in_hand_goes_at_his_turn() -> None:
    """By the limit of requests a second, though all places are free."""
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    limiter = SiteLimiter(limits(8, 2.0, per_second=1000.0), clock, 2.0)
    began = loop.time()
    started = [await limiter.enter("a", NEW) for _ in range(6)]
    assert loop.time() - began >= 0.0045
    assert all(isinstance(each, float) for each in started)
    assert not limiter._alarms
    assert not limiter._queues
