"""Delay topics: which one a wait goes to, and when its head is due. Pure (delivery.md T2).

Every record of a delay topic waits the same time from its append, so the head is always the next due and
nothing has to be looked for behind it. A wait longer than a class goes through several, towards
``due_at_ms``, at no attempt. Never early, may be late.
"""

import zlib
from bisect import bisect_right

from tidegate.records import Inbound, JobState
from tidegate.topics import DELAYS, Topic

_ASCENDING = sorted(DELAYS, key=DELAYS.__getitem__)
_SECONDS = [DELAYS[topic] for topic in _ASCENDING]


def topic_for(wait_s: float) -> Topic:
    """Return the longest class that ends before the wait does, or else the shortest of all."""
    return _ASCENDING[max(bisect_right(_SECONDS, wait_s), 1) - 1]


def jitter_ms(job_id: str) -> int:
    """Return 0 to 999 ms, fixed for a job: spreads what failed at one moment."""
    return zlib.crc32(job_id.encode()) % 1000


def due_ms(record: Inbound, job_id: str) -> int:
    """Return the broker time at which a record of a delay topic is due."""
    return record.timestamp_ms + int(DELAYS[Topic(record.topic)] * 1000) + jitter_ms(job_id)


def remaining_s(state: JobState, now_ms: int) -> float:
    """Return how much longer a job must wait after its class has ended; 0 when it may run."""
    if state.due_at_ms is None:
        return 0.0
    left_s = (state.due_at_ms - now_ms) / 1000
    # Milliseconds lost in rounding are no reason for another round through a topic.
    return left_s if left_s > 0.05 else 0.0
