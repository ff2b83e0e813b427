"""The deadline that all handlers of a service share."""

import asyncio
from collections.abc import Awaitable

import pytest
from tidegate.shared_deadline import SharedDeadline


async def under(deadline: SharedDeadline, work: Awaitable[str]) -> str:
    """Work under the deadline as the runtime does; say how it ended."""
    task = asyncio.current_task()
    assert task is not None
    deadline.begin(task)
    late = False
    try:
        try:
            return await work
        finally:
            late = deadline.end(task)
    except asyncio.CancelledError:
        return "late" if late and not task.cancelling() else "cancelled"


async def for_ever() -> str:
    """Never end."""
    await asyncio.Event().wait()
    return ""


async def deaf() -> str:
    """Take no notice of being cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "ended"
    return ""


async def at_once() -> str:
    """End."""
    return "ended"


async def test_whoever_is_late_is_cancelled_and_nobody_else() -> None:
    """The task itself is then as if nothing had been: a worker goes on with the next record (C10)."""
    deadline = SharedDeadline(0.003)

    async def worker() -> list[str]:
        said = [await under(deadline, work()) for work in (at_once, for_ever, at_once, deaf, at_once)]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return said

    for said in await asyncio.gather(worker(), worker()):
        assert said == ["ended", "late", "ended", "ended", "ended"]


async def test_each_has_its_own_time() -> None:
    """One timer for all of them: who began later is late later."""
    deadline = SharedDeadline(0.004)
    loop = asyncio.get_running_loop()
    took = []

    async def one() -> None:
        began = loop.time()
        assert await under(deadline, for_ever()) == "late"
        took.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            loop.call_later(0.001 * number, lambda: group.create_task(one()))
        group.create_task(one())
        await asyncio.sleep(0.003)  # noqa: TID251 -- the loop's own time, which the timer keeps to
    assert all(0.004 <= seconds < 5.0 for seconds in took), took


@pytest.mark.parametrize("seconds", [None, 60.0, 0.0])
async def test_a_cancellation_by_somebody_else_stays_one(seconds: float | None) -> None:
    """Also where it comes together with the deadline's own."""
    deadline = SharedDeadline(seconds)
    task = asyncio.ensure_future(under(deadline, for_ever()))
    asyncio.get_running_loop().call_soon(task.cancel)
    assert await task == "cancelled"
