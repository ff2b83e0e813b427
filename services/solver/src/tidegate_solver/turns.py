"""How many polls begin in one turn of the event loop: so many, the others in the next ones, in order.

A solver that gets less of the machine than its polls take has all of them due at all times. Begun together
they make each turn of the loop as long as all of them take, seconds with 2,000 tasks, and whatever needs ten
turns needs ten times that: purchases, acknowledgements, and the reading of where the fetchers stand, without
which nothing is bought. With few a turn it is the polls that come late, and nothing else.
Rejected: a bound on the polls under way. A slow service answers in seconds, and would be asked less for it.
"""

import asyncio
from collections import deque

_A_TURN = 16


class Turns:
    """For one event loop; ``a_turn`` begin in each turn of it, first come first served."""

    def __init__(self, a_turn: int = _A_TURN) -> None:
        self._a_turn = a_turn
        self._left = a_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._armed = False

    async def mine(self) -> None:
        """Wait until one more may begin; at once where few do."""
        loop = asyncio.get_running_loop()
        if self._left > 0 and not self._waiting:
            self._left -= 1
            self._arm(loop)
            return
        place = loop.create_future()
        self._waiting.append(place)
        await place

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._armed:
            self._armed = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._armed, self._left = False, self._a_turn
        while self._waiting and self._left > 0:
            place = self._waiting.popleft()
            if not place.done():  # cancelled meanwhile
                place.set_result(None)
                self._left -= 1
        if self._left < self._a_turn:
            self._arm(loop)
