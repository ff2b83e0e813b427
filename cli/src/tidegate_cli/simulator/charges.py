"""Money at the solving service: what each key has left, and what each task was charged.

Amounts are whole micro-dollars, so that sums are exact.
"""

from collections import deque
from collections.abc import Callable

import msgspec

MICROS = 1_000_000


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One charge. ``order`` counts from 1 over the life of the log; ``time_ms`` is epoch milliseconds."""

    order: int
    task_id: str
    vendor: str
    kind: str
    sitekey: str
    url: str
    cost_micros: int
    time_ms: int


class ChargeLog:
    """All charges in order: the newest ``limit`` in memory, the count and the sum of all of them.

    ``write`` gets each new charge, so that a log on disk can hold what memory does not.
    """

    def __init__(
        self,
        earlier: tuple[Charge, ...] = (),
        write: Callable[[Charge], None] | None = None,
        limit: int = 100_000,
    ) -> None:
        self._rows: deque[Charge] = deque(earlier, maxlen=limit)
        self._write = write
        self.total = earlier[-1].order if earlier else 0
        self.total_micros = sum(row.cost_micros for row in earlier)

    def add(self, charge: Charge) -> None:
        """Append a charge; its ``order`` must be the next one."""
        if charge.order != self.total + 1:
            raise ValueError(f"charge {charge.order} does not follow {self.total}")
        self._rows.append(charge)
        self.total = charge.order
        self.total_micros += charge.cost_micros
        if self._write is not None:
            self._write(charge)

    def after(self, order: int, limit: int) -> list[Charge]:
        """Return up to ``limit`` charges that follow ``order``, oldest first."""
        if not self._rows:
            return []
        skip = max(0, order + 1 - self._rows[0].order)
        return [self._rows[i] for i in range(skip, min(len(self._rows), skip + limit))]


class Accounts:
    """Keys and their balances.

    Until a key is configured, any key is good and begins with ``opening_micros``; afterwards only
    configured ones are.
    """

    def __init__(self, opening_micros: int, limit: int = 1_000) -> None:
        self._opening_micros = opening_micros
        self._limit = limit
        self._configured = False
        self._balances: dict[str, int] = {}

    def configure(self, key: str, balance_micros: int) -> None:
        """Make ``key`` a configured one with this balance."""
        if not self._configured:
            self._balances.clear()
            self._configured = True
        self._balances[key] = balance_micros

    def balance(self, key: str) -> int | None:
        """Return what a key has left in micro-dollars, None for a key that is not good."""
        if key not in self._balances:
            if not key or self._configured or len(self._balances) >= self._limit:
                return None
            self._balances[key] = self._opening_micros
        return self._balances[key]

    def take(self, key: str, micros: int) -> None:
        """Take a charge off a good key's balance."""
        self._balances[key] -= micros
