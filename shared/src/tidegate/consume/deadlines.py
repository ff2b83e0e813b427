"""How long a rebalance may take, reckoned from one value: the drain deadline. Pure.

A broker gives every member the rebalance time-out to come back, counted from when it asks, and gives the
partitions of those who do not to others. So everything that a member does in between must fit in it: to hear
of the rebalance with its next heartbeat, to let work in hand end, to wait for handlers that swallow their
cancellation, and to commit, behind a commit that may be on its way already.
"""

# What a handler that was cut off gets to end.
CANCEL_S = 2.0
# After that a commit without an answer is unknown, hence refused.
COMMIT_S = 10.0
# For a consumer to close, and then for the producer, which has nothing in hand any more once work has ended.
# Without a broker each of them waits for ever; both and giving up partitions must fit in a pod's grace.
CLOSE_S = 15.0
FLUSH_S = 5.0
_LONGEST_HEARTBEAT_S = 3.0
_MARGIN_S = 5.0


def heartbeat_s(session_timeout_s: float) -> float:
    """Return the seconds between two heartbeats: a third of the session, as Kafka advises."""
    return max(0.1, min(_LONGEST_HEARTBEAT_S, session_timeout_s / 3))


def revocation_s(drain_deadline_s: float) -> float:
    """Return the seconds that giving partitions up takes at most."""
    return drain_deadline_s + CANCEL_S + 2 * COMMIT_S


def rebalance_timeout_s(drain_deadline_s: float, session_timeout_s: float) -> float:
    """Return the rebalance time-out for which a member that drains is waited for."""
    return heartbeat_s(session_timeout_s) + revocation_s(drain_deadline_s) + _MARGIN_S
