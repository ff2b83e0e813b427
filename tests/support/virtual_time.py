"""Virtual time: an event loop that never waits, and a Clock that reads it."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_MS = 1_700_000_000_000


class _Jump:
    """A selector that never waits: it moves the loop's clock on instead."""

    def __init__(self, loop: "VirtualLoop", real: selectors.BaseSelector) -> None:
        self._loop = loop
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = self._real.select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("nothing is scheduled any more: everybody waits for somebody")
            self._loop.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number, so that minutes of polling take no time at all."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__()
        self._selector: Any = _Jump(self, self._selector)

    def time(self) -> float:
        """Return the virtual seconds."""
        return self.now_s


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class LoopClock:
    """A Clock that reads the running loop's time; its wall clock begins at ``EPOCH_MS``."""

    def monotonic(self) -> float:
        """Return the loop's seconds."""
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        """Return the epoch plus the loop's time."""
        return EPOCH_MS + round(self.monotonic() * 1000)

    async def sleep(self, seconds: float) -> None:
        """Wait in the loop's time."""
        await asyncio.sleep(seconds)  # noqa: TID251 -- this is the clock
