"""Bounds the bytes of bodies in hand: counting records is not enough when one may have 10 MB."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Allowance:
    """So many bytes in hand at once, first come, first served; one alone may be larger."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """The bytes in hand."""
        return self._used

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes; waits until they fit."""
        if self._waiting or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release(size)
                else:
                    self._admit()
                raise
        else:
            self._used += size
        try:
            yield
        finally:
            self._release(size)

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._total

    def _release(self, size: int) -> None:
        self._used -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self._fits(size):
                self._waiting.popleft()
                self._used += size
                turn.set_result(None)
            else:
                return
