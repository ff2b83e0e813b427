"""A local bound with hysteresis. Pure.

What: full from ``most`` on, free again at ``free`` or less. In between it stays what it was.
Why so: a bound that is free again at the first byte given back is full again at the next record. Whoever
waits for it would be woken up for each, and ask for little every time.
"""

from tidegate.errors import ConfigurationError


class Bound:
    """Begins free."""

    def __init__(self, most: int, free: int) -> None:
        """Take the marks. Raises ConfigurationError where there is nothing between them."""
        if not 0 <= free < most:
            raise ConfigurationError(f"a bound of {most} is free again at {free}: that must lie below it")
        self.most = most
        self._free = free
        self._full = False

    @property
    def full(self) -> bool:
        """Whether nothing more is taken in."""
        return self._full

    def note(self, used: int) -> bool:
        """Take note of how much is used; return True where that made it full, or free again."""
        was = self._full
        self._full = used >= self.most or (was and used > self._free)
        return self._full is not was
