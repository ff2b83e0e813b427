"""Bounds the bytes of pages in hand: counting records is not enough when one may have 10 MB."""

import asyncio
from collections import deque


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

    def hold(self, size: int) -> "_Hold":
        """Return a context in which ``size`` bytes are held; entering it waits until they fit."""
        return _Hold(self, size)

    async def take(self, size: int) -> None:
        """Take ``size`` bytes; waits until they fit."""
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            else:
                self._admit()
            raise

    def give_back(self, size: int) -> None:
        """Give bytes back; whoever waits for them gets them."""
        self._used -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._total

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


class _Hold:
    """Written out, because a generator for each page costs more than all the counting."""

    __slots__ = ("_allowance", "_size")

    def __init__(self, allowance: Allowance, size: int) -> None:
        self._allowance = allowance
        self._size = size

    async def __aenter__(self) -> None:
        await self._allowance.take(self._size)

    async def __aexit__(self, *_: object) -> None:
        self._allowance.give_back(self._size)
