"""The solver buys only while its consumer group certainly counts it in (M3)."""

import asyncio

from tidegate.testing.manual_clock import ManualClock
from tidegate_solver.heartbeat import Pulse


def test_a_group_that_was_not_heard_of_lately_forbids_buying() -> None:
    """The process runs well, but the broker or the network is away: others may own its work by now."""
    age_s = 0.0
    pulse = Pulse(ManualClock(), 10.0, lambda: age_s)
    assert pulse.is_trusted()
    age_s = 5.1
    assert not pulse.is_trusted()
    age_s = 4.9
    assert pulse.is_trusted()


async def test_it_waits_until_the_group_was_heard_of_again() -> None:
    """As long as nobody confirms its place, it holds."""
    ages = iter((501.0, 564.0, 627.0, 0.1))
    asked = []

    def age_s() -> float:
        asked.append(next(ages))
        return asked[-1]

    clock = ManualClock()
    pulse = Pulse(clock, 1000.0, age_s)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(pulse.wait_until_trusted())
        while not waiting.done():
            await asyncio.sleep(0)  # noqa: TID251 -- a turn of the loop
            clock.advance(63.0)
    assert asked == [501.0, 564.0, 627.0, 0.1]
