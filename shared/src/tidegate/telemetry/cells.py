"""What one metric has come to, by the values of its labels. Pure.

Each page moves several metrics, and most time would go into naming labels again that are known. So an event's
values lead straight to what they move.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

_MOST_LABEL_SETS = 500

Labels = Mapping[str, str]


class Cell(Protocol):
    """Takes the amounts of one set of labels."""

    def take(self, amount: float) -> None:
        """Take an amount."""
        ...


class Sum(msgspec.Struct, gc=False):
    """Adds up."""

    amount: float = 0.0

    def take(self, amount: float) -> None:
        """Add an amount."""
        self.amount += amount


class Latest(msgspec.Struct, gc=False):
    """Keeps the latest."""

    amount: float = 0.0

    def take(self, amount: float) -> None:
        """Replace the amount."""
        self.amount = amount


C = TypeVar("C", bound=Cell)


class Cells(dict[object, C]):
    """One metric's cells: written by one thread, read by any through ``told``.

    A key is what an event has in the fields of the labels: the value of a single one, a tuple of several,
    ``()`` for none. A cell begins when it is first asked for; beyond a bound all values share one.
    """

    def __init__(self, labels: tuple[str, ...], new: Callable[[], C]) -> None:
        super().__init__()
        self.labels = labels
        self._new = new
        self._told: list[tuple[Labels, C]] = []
        self._others: C | None = None

    def __missing__(self, key: object) -> C:
        """Begin the cell of these values."""
        if len(self) >= _MOST_LABEL_SETS:
            if self._others is None:
                self._others = self._begin(dict.fromkeys(self.labels, "other"))
            return self._others
        values = key if isinstance(key, tuple) else (key,)
        named = zip(self.labels, values, strict=True)
        cell = self[key] = self._begin(
            {label: "none" if value is None else str(value) for label, value in named}
        )
        return cell

    def told(self) -> list[tuple[Labels, C]]:
        """Return all cells with their labels, named."""
        return self._told.copy()

    def _begin(self, labels: Labels) -> C:
        cell = self._new()
        self._told.append((labels, cell))
        return cell
