"""What was spent by whom: sums by run, site and both, bounded in number. Pure."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Key(NamedTuple):
    """Whose money: None stands for all."""

    run: str | None
    site: str | None


def keys_of(run: str, site: str) -> tuple[Key, ...]:
    """Return every sum that a purchase goes into, the narrowest first."""
    return (Key(run, site), Key(run, None), Key(None, site), Key(None, None))


class Totals:
    """Sums in millionths of a dollar. At most ``most`` are kept, the least recently used go first.

    Those that have a limit (``is_limited``) never go. The order of use is part of the state: two readers of
    one log forget the same.
    """

    def __init__(
        self, most: int, is_limited: Callable[[Key], bool], rows: Iterable[tuple[Key, int]] = ()
    ) -> None:
        self._most = most
        self._is_limited = is_limited
        self._sums: OrderedDict[Key, int] = OrderedDict(rows)

    def __len__(self) -> int:
        return len(self._sums)

    def __iter__(self) -> Iterator[tuple[Key, int]]:
        return iter(self._sums.items())

    def get(self, key: Key) -> int:
        """Return a sum; 0 where nothing was spent or it was forgotten."""
        return self._sums.get(key, 0)

    def add(self, key: Key, amount: int) -> None:
        """Add to a sum; never below 0, for a part of it may have been forgotten."""
        left = max(0, self._sums.get(key, 0) + amount)
        if left:
            self._sums[key] = left
            self._sums.move_to_end(key)
            if len(self._sums) > self._most:
                self._forget()
        else:
            self._sums.pop(key, None)

    def _forget(self) -> None:
        for _ in range(len(self._sums)):
            if len(self._sums) <= self._most:
                return
            oldest = next(iter(self._sums))
            if self._is_limited(oldest):
                self._sums.move_to_end(oldest)
            else:
                del self._sums[oldest]
