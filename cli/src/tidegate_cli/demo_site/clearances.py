"""Whom the site has cleared: a cookie that was verified once and is bound to an address and an agent.

Pure: ``now`` is a parameter in monotonic seconds. Bounded; the oldest go first.
"""

from collections import OrderedDict

import msgspec


class _Cleared(msgspec.Struct, frozen=True):
    address: str
    agent: str
    until: float


class Clearances:
    """Verified cookies by their values; at most ``limit`` of them."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._cleared: OrderedDict[str, _Cleared] = OrderedDict()

    def knows(self, value: str) -> bool:
        """Whether a cookie was verified before: the vendor says yes to it only once."""
        return value in self._cleared

    def clear(self, value: str, *, address: str, agent: str, until: float) -> None:
        """Enter a cookie that the vendor has just verified, as that of who brought it."""
        self._cleared[value] = _Cleared(address, agent, until)
        if len(self._cleared) > self._limit:
            self._cleared.popitem(last=False)

    def admits(self, value: str, *, address: str, agent: str, now: float) -> bool:
        """Whether a cookie lets this visitor in: in time, from the same address, as the same agent."""
        cleared = self._cleared.get(value)
        return (
            cleared is not None
            and cleared.until > now
            and (cleared.address, cleared.agent) == (address, agent)
        )
