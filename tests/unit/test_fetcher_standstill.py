"""What a fetcher that stood still makes of its requests that failed meanwhile."""

import asyncio

import pytest
from tidegate.testing.manual_clock import ManualClock
from tidegate_fetcher.standstill import Standstill


async def blamed(steps: list[float]) -> bool:
    """Say whether the process is to blame after so many seconds, if it ran between the steps only."""
    clock = ManualClock()
    standstill = Standstill(clock)
    async with asyncio.TaskGroup() as owner:
        ticking = owner.create_task(standstill.run())
        await asyncio.sleep(0)  # noqa: TID251 -- lets the ticker run; no time passes
        begun = standstill.begin()
        for step in steps:
            clock.advance(step)
            await asyncio.sleep(0)  # noqa: TID251 -- the same
        ticking.cancel()
    return standstill.is_to_blame(begun)


@pytest.mark.parametrize(
    "steps", [[13.0], [*[0.5] * 4, 13.0], [13.0, *[0.5] * 4], [6.0, 6.0]], ids=["one", "last", "first", "two"]
)
async def test_a_process_that_stood_still_for_half_of_the_time_is_to_blame(steps: list[float]) -> None:
    """Whenever it stopped, and however often."""
    assert await blamed(steps)


@pytest.mark.parametrize(
    "steps", [[], [0.5] * 20, [0.5, 0.9, 0.5, 0.9], [*[0.5] * 20, 3.0]], ids=["at_once", "no", "busy", "late"]
)
async def test_a_site_is_to_blame_for_the_rest(steps: list[float]) -> None:
    """A loop that is a little late breaks no request, nor does a stop at the end of a long wait."""
    assert not await blamed(steps)


def test_a_stop_is_seen_before_the_ticker_has_its_turn() -> None:
    """Whoever wakes first asks at once; and what was before a request is not its own."""
    clock = ManualClock()
    standstill = Standstill(clock)
    begun = standstill.begin()
    clock.advance(13.0)
    assert standstill.is_to_blame(begun)
    assert not standstill.is_to_blame(standstill.begin())
