"""Waiting for a broker that is away: as long as it takes, or until the process is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tidegate.clock import Clock
from tidegate.consume.runtime_events import BrokerAway
from tidegate.errors import BrokerError
from tidegate.events import Emit

T = TypeVar("T")

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0


async def until_reached(ask: Callable[[], Awaitable[T]], clock: Clock, emit: Emit) -> T:
    """Ask again and again, with growing pauses, while a broker is away. Other errors are the caller's."""
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            return await ask()
        except BrokerError as error:
            emit(BrokerAway(error=str(error), wait_s=wait_s))
        await clock.sleep(wait_s)
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the work's result; None where ``stop`` was set before it was done: it is cancelled then.

    What the work raises comes in an exception group.
    """
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        watching = group.create_task(_cancel_at(stop, working))
        await asyncio.wait([working])
        watching.cancel()
    return None if working.cancelled() else working.result()


async def _cancel_at(stop: asyncio.Event, task: "asyncio.Task[Any]") -> None:
    await stop.wait()
    task.cancel()
