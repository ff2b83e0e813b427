"""What is known of a crawl while it runs: counts, rates, and whether anything still moves. Pure.

``now`` is monotonic seconds and a parameter everywhere.
"""

from collections import deque

import msgspec

_WINDOW_S = 10.0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What ClickHouse says of a run. ``cost`` in US dollars."""

    pages: int = 0
    dead_letters: int = 0
    captchas: int = 0
    solved: int = 0
    cost: float = 0.0

    @property
    def outcomes(self) -> int:
        """Jobs that have ended."""
        return self.pages + self.dead_letters


class Progress:
    """A crawl from its start: fed with what was submitted and what was counted."""

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self._changed_s = started_s
        self._finished_s: float | None = None
        self._samples: deque[tuple[float, int]] = deque([(started_s, 0)])
        self.counts = Counts()
        self.submitted = 0
        self.submission_done = False
        self.first_page_s: float | None = None

    def submit(self, now: float, total: int) -> None:
        """Take the number of jobs submitted so far; a growing one is movement, too."""
        if total != self.submitted:
            self.submitted = total
            self._changed_s = now

    def observe(self, now: float, counts: Counts) -> None:
        """Take what ClickHouse says."""
        if counts != self.counts:
            self._changed_s = now
        if counts.pages and self.first_page_s is None:
            self.first_page_s = now - self.started_s
        self.counts = counts
        self._samples.append((now, counts.pages))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_S:
            self._samples.popleft()
        if self.complete and self._finished_s is None:
            self._finished_s = now

    @property
    def complete(self) -> bool:
        """Every submitted job has ended, and nothing more will be submitted."""
        return self.submission_done and self.counts.outcomes >= self.submitted

    @property
    def in_flight(self) -> int:
        """Jobs submitted that have not ended."""
        return max(0, self.submitted - self.counts.outcomes)

    @property
    def pages_per_second(self) -> float:
        """The rate over the last ten seconds or so."""
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def seconds(self, now: float) -> float:
        """Seconds since the start, up to the last outcome."""
        return (now if self._finished_s is None else self._finished_s) - self.started_s

    def still_s(self, now: float) -> float:
        """Seconds since anything last changed."""
        return now - self._changed_s


def next_poll_s(query_s: float, *, first_page_seen: bool) -> float:
    """Return how long to wait between two looks at ClickHouse.

    At most once a second, and never more than a fifth of the time in queries; more often only until the
    first page is there, while the tables are as good as empty.
    """
    wait_s = max(1.0, 4 * query_s) if first_page_seen else max(0.2, query_s)
    return min(wait_s, 15.0)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """When a run that does not end is given up. Seconds; None for ``timeout_s`` means never."""

    timeout_s: float | None = None
    stall_timeout_s: float = 120.0

    def given_up(self, progress: Progress, now: float) -> str | None:
        """Return why the run is given up, as a sentence; None to go on."""
        while_submitting = "" if progress.submission_done else " while jobs were still being submitted"
        if self.timeout_s is not None and progress.seconds(now) >= self.timeout_s:
            return f"The time-out of {self.timeout_s:g} s (--timeout) was reached{while_submitting}."
        if progress.still_s(now) >= self.stall_timeout_s:
            return f"Nothing has moved for {self.stall_timeout_s:g} s (--stall-timeout){while_submitting}."
        return None
