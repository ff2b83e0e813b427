"""Which answers a site does not take: a breaker for each (site, kind), and for each provider at one. Pure.

What: ``failures`` bad endings in a row open it, and for ``reset_s`` nothing is bought; then one answer is,
and what becomes of it decides. The breaker itself is ``tidegate.flow``'s.
Why so: an ending comes minutes after the purchase, perhaps by way of another process, so it cannot bring a
pass back; it is judged by the state that it finds. One that comes while nothing is bought was bought before,
and proves nothing.
"""

from collections import OrderedDict

from tidegate.flow.breaker import Breaker, BreakerPolicy, BreakerState, Pass

_MOST_KEYS = 10_000
# While the answer that was bought to find out is under way, or lost: seconds.
_PROBE_S = 180.0


class _Row:
    def __init__(self, policy: BreakerPolicy) -> None:
        self.breaker = Breaker(policy)
        self.probing_until_s = 0.0


class Refusals:
    """Rows by key, only where something went wrong lately; at most 10,000, the longest unused go first."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._rows: OrderedDict[tuple[str, ...], _Row] = OrderedDict()

    def blocks(self, key: tuple[str, ...], now_s: float) -> bool:
        """Say whether nothing is to be bought for it now."""
        row = self._rows.get(key)
        if row is None or row.breaker.state is BreakerState.CLOSED:
            return False
        return row.breaker.refusal(now_s) is not None or now_s < row.probing_until_s

    def bought(self, key: tuple[str, ...], now_s: float) -> None:
        """Take note that something is bought for it: where that is to find out, nothing else is meanwhile."""
        row = self._rows.get(key)
        if row is not None and row.breaker.state is not BreakerState.CLOSED:
            row.probing_until_s = now_s + _PROBE_S

    def ended(self, key: tuple[str, ...], now_s: float, *, well: bool) -> bool | None:
        """Take note of an ending. Return True where that opened the breaker, False where it closed it."""
        row = self._rows.get(key)
        if row is None:
            if well:
                return None
            row = self._rows[key] = _Row(self._policy)
            if len(self._rows) > _MOST_KEYS:
                self._rows.popitem(last=False)
        self._rows.move_to_end(key)
        leave = row.breaker.ask(now_s)
        if not isinstance(leave, Pass):
            return None
        if well:
            del self._rows[key]
            return False if row.breaker.succeed(leave) else None
        return True if row.breaker.fail(leave, now_s) else None
