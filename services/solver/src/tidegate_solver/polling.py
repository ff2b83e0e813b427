"""When a task is asked after. Pure: every time is in seconds since the task's creation.

Counting from the creation, and not from when this process began to poll, is what keeps a resumed task
within the vendor's limits (M5): they ban clients that ask too often or too many times.
"""

import math

import msgspec


class PollPlan(msgspec.Struct, frozen=True, kw_only=True):
    """First poll, time between polls, end of patience (seconds), and the vendor's cap on polls."""

    first_delay_s: float
    interval_s: float
    time_limit_s: float
    cap: int

    def made_by(self, elapsed_s: float) -> int:
        """Return how many polls may have been made that long after the creation, at most."""
        polling_s = min(elapsed_s, self.time_limit_s) - self.first_delay_s
        return 0 if polling_s < 0 else min(self.cap, 1 + math.floor(polling_s / self.interval_s))

    def next_after(self, last_s: float | None) -> float:
        """Return when the next poll is due, given when the last one began."""
        return self.first_delay_s if last_s is None else max(self.first_delay_s, last_s + self.interval_s)

    def may_poll(self, due_s: float, polls: int) -> bool:
        """Say whether a poll due then, after so many, is within the time limit and the vendor's cap."""
        return polls < self.cap and due_s <= self.time_limit_s
