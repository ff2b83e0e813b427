"""What the autoscaler is to make of readings: one table for KEDA's formula and for the plain HPA's rules."""

import math
from typing import NamedTuple

THRESHOLD, WORK, LEAST, MOST = 500, 100, 0, 21


class Row(NamedTuple):
    """Readings of the fetchers, and the replicas they ask for. ``held`` counts fetchers before a wall."""

    lag: int
    work: int
    captcha: float
    held: int
    wanted: int
    expected: int


ROWS = (
    Row(0, 0, 0.0, 0, 2, 0),
    Row(499, 0, 0.0, 0, 1, 1),
    Row(1500, 0, 0.1, 0, 1, 3),
    Row(1500, 0, 0.3, 0, 1, 3),  # at the mark is not above it
    Row(1500, 0, 0.31, 0, 1, 1),  # the brake holds what is wanted
    Row(1500, 0, 0.31, 0, 2, 2),
    Row(400, 0, 0.5, 0, 3, 1),  # it never keeps more than the lag asks for
    Row(1500, 0, 0.0, 1, 2, 2),  # another wall holds the intake: more fetchers would not help
    Row(1500, 0, 0.9, 1, 0, 3),  # nobody says what is wanted: the brake is off, not the service
    Row(1_000_000, 0, 0.0, 0, 5, MOST),
    Row(1_000_000, 0, 0.9, 0, 5, 5),
    Row(0, 250, 0.0, 0, 5, 3),  # what is at hand keeps as many as it fills
    Row(1500, 120, 0.0, 0, 1, 3),  # the larger one counts
    Row(0, 900, 0.5, 0, 4, 4),  # the brake holds work, too
)


def replicas(metric: float, now: int) -> int:
    """Return what the autoscaler wants: rounded up, unchanged within its tolerance of a tenth."""
    if now and abs(metric / (THRESHOLD * now) - 1) <= 0.1:
        return now
    return max(LEAST, min(MOST, math.ceil(metric / THRESHOLD)))
