"""Polls that are all due at once leave room for the rest of the solver."""

import asyncio

from tidegate_solver.turns import Turns


async def _two_turns() -> None:
    """Let the loop turn twice: for the callback, and for whoever it wakes."""
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


async def _begin(turns: Turns, begun: list[int], number: int) -> None:
    await turns.mine()
    begun.append(number)


async def test_few_begin_in_each_turn_and_in_order() -> None:
    """What needs twenty turns sees twenty turns' polls go by, not all that are due."""
    turns, begun = Turns(4), list[int]()
    async with asyncio.TaskGroup() as group:
        for number in range(400):
            group.create_task(_begin(turns, begun, number))
        for _ in range(10):
            before = len(begun)
            await _two_turns()
            assert len(begun) - before <= 2 * 4
        assert 0 < len(begun) <= 21 * 4
    assert begun == list(range(400))


async def test_who_is_alone_begins_at_once() -> None:
    """Nothing waits where few are due."""
    turns = Turns(1)
    async with asyncio.timeout(0):
        await turns.mine()


async def test_who_was_cancelled_takes_no_place() -> None:
    """Those behind a cancelled one begin all the same."""
    turns, begun = Turns(1), list[int]()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_begin(turns, begun, number)) for number in range(5)]
        await _two_turns()
        tasks[2].cancel()
    assert begun == [0, 1, 3, 4]
