"""A site has so many requests at once; the others wait a little, or come back at a slot of their own."""

import asyncio
import itertools

from tidegate.testing.manual_clock import ManualClock
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.site_limits import Go, Later, SiteLimits, Wait


def limits(concurrency: int = 2, wait_s: float = 2.0) -> SiteLimits:
    """Return limits of no site yet."""
    return SiteLimits(concurrency=concurrency, wait_s=wait_s)


def test_a_site_has_so_many_at_once_and_other_sites_are_free() -> None:
    """The third of a site waits; another site goes."""
    state = limits()
    answers = [state.ask("a", 0, returning=False) for _ in range(3)]
    assert [type(answer) for answer in answers] == [Go, Go, Wait]
    assert isinstance(state.ask("b", 0, returning=False), Go)


def test_who_would_wait_too_long_is_given_slots_one_after_the_other() -> None:
    """Deferred jobs get different slots, each later than the one before (T3)."""
    state = limits(wait_s=0.0)
    for _ in range(2):
        state.ask("a", 0, returning=False)
    delays = [
        answer.delay_s for _ in range(50) if isinstance(answer := state.ask("a", 0, returning=False), Later)
    ]
    assert len(delays) == 50
    assert all(earlier < later for earlier, later in itertools.pairwise(delays))


def test_a_site_that_hangs_shows_at_once() -> None:
    """Requests that run long count by their age: nobody waits in hand behind them."""
    state = limits()
    for _ in range(2):
        state.ask("a", 0, returning=False)
    assert isinstance(state.ask("a", 1, returning=False), Wait)
    answer = state.ask("a", 30, returning=False)
    assert isinstance(answer, Later)
    assert answer.delay_s > 2


def test_who_comes_back_goes_before_who_is_new() -> None:
    """While slots are booked, a newcomer queues up behind them and a returning job waits in hand."""
    state = limits(wait_s=0.5)
    for _ in range(2):
        state.ask("a", 0, returning=False)
    while isinstance(state.ask("a", 0, returning=False), Wait):
        pass
    for _ in range(100):
        state.ask("a", 0, returning=False)
    state.give_up("a", 0)
    assert isinstance(state.ask("a", 0, returning=False), Later)
    assert isinstance(state.ask("a", 0, returning=True), Wait)


def test_a_deferral_is_never_longer_than_the_longest_class() -> None:
    """An hour at most, however many are before it."""
    state = limits(wait_s=0.0)
    state.ask("a", 0, returning=False)
    state.ask("a", 0, returning=False)
    answers = [state.ask("a", 600, returning=False) for _ in range(500)]
    assert max(answer.delay_s for answer in answers if isinstance(answer, Later)) <= 3600


def test_idle_sites_are_forgotten() -> None:
    """Memory is bounded by the number of sites remembered, running ones apart."""
    state = SiteLimits(concurrency=1, wait_s=1, remembered=10)
    for i in range(1000):
        assert isinstance(state.ask(f"s{i}", 0, returning=False), Go)
        state.leave(f"s{i}", 0, 1)
    assert len(state._sites) <= 11


async def test_slots_are_handed_on_in_order() -> None:
    """Who came first goes first."""
    clock = ManualClock()
    limiter = SiteLimiter(limits(1, 60.0), clock, 60.0)
    first = await limiter.enter("a", returning=False)
    assert isinstance(first, float)
    went: list[int] = []

    async def one(number: int) -> None:
        started = await limiter.enter("a", returning=False)
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


async def test_a_wait_in_hand_ends_with_a_slot() -> None:
    """After site_wait_s a job leaves the queue and comes back later."""
    limiter = SiteLimiter(limits(1, 1.0), ManualClock(), 0.001)
    first = await limiter.enter("a", returning=False)
    answer = await limiter.enter("a", returning=False)
    assert isinstance(answer, Later)
    assert isinstance(first, float)
    limiter.leave("a", first)
    assert isinstance(await limiter.enter("a", returning=False), float)


async def test_a_cancelled_job_leaves_no_trace() -> None:
    """Cancelling who waits frees his place; cancelling who was just called frees his slot."""
    limiter = SiteLimiter(limits(1, 60.0), ManualClock(), 60.0)
    first = await limiter.enter("a", returning=False)
    assert isinstance(first, float)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(limiter.enter("a", returning=False))
        called = group.create_task(limiter.enter("a", returning=False))
        await asyncio.sleep(0)  # noqa: TID251 -- lets the tasks begin
        waiting.cancel()
        await asyncio.sleep(0)  # noqa: TID251 -- lets the cancellation arrive
        limiter.leave("a", first)
        called.cancel()
    assert limiter._limits.running("a") == 0
    assert not limiter._queues
    assert isinstance(await limiter.enter("a", returning=False), float)
