"""When a failed try is tried again, and when a job has been tried enough. Pure.

One row per error class: how many retries after the first try, and how long to wait. A job's own
``max_retries`` lowers or raises every class's cap; a cap over all classes bounds the sum.
"""

import msgspec

from tidegate.outcome import ErrorClass, Retry
from tidegate.records import JobState


class ClassPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Retries after the first try; wait of ``base_s`` x 2^n seconds, at most ``cap_s``.

    The jitter is the delay topics' own (``delays.jitter_ms``). ``at_once`` sends the job to the tail of
    its own lane without a wait.
    """

    retries: int
    base_s: float = 2.0
    cap_s: float = 600.0
    at_once: bool = False


DEFAULTS: dict[ErrorClass, ClassPolicy] = {
    ErrorClass.CHALLENGE: ClassPolicy(retries=3),
    ErrorClass.SOLVE_FAILED: ClassPolicy(retries=2),
    ErrorClass.RATE_LIMITED: ClassPolicy(retries=3, base_s=4.0),
    ErrorClass.BLOCKED: ClassPolicy(retries=2),
    ErrorClass.SERVER_ERROR: ClassPolicy(retries=3),
    ErrorClass.NETWORK: ClassPolicy(retries=3, at_once=True),
    ErrorClass.INTERNAL: ClassPolicy(retries=3),
}


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The table, the cap over all classes, and the longest wait that is still granted, in seconds."""

    classes: dict[ErrorClass, ClassPolicy] = msgspec.field(default_factory=DEFAULTS.copy)
    total: int = 12
    longest_wait_s: float = 86_400.0


class Again(msgspec.Struct, frozen=True):
    """Try again after ``wait_s`` seconds; 0 means at the tail of the job's own lane."""

    wait_s: float


class Exhausted(msgspec.Struct, frozen=True):
    """No further try; ``message`` says which limit was met."""

    message: str


def decide(policy: RetryPolicy, state: JobState, retry: Retry) -> Again | Exhausted:
    """Say whether a job that failed is tried again, counting the attempts in ``state``."""
    row = policy.classes.get(retry.error_class, ClassPolicy(retries=0))
    used = state.attempts.get(retry.error_class, 0)
    allowed = row.retries if retry.max_retries is None else retry.max_retries
    if used >= allowed:
        return Exhausted(f"{retry.error_class} failed {used + 1} times, {allowed} retries allowed")
    if sum(state.attempts.values()) >= policy.total:
        return Exhausted(f"the job was tried {policy.total + 1} times over all error classes")
    wait = 0.0 if row.at_once else min(row.base_s * 2**used, row.cap_s)
    if retry.after_s is not None:
        if retry.after_s > policy.longest_wait_s:
            return Exhausted(
                f"the site asked for {retry.after_s:.0f} s, at most {policy.longest_wait_s:.0f} s is waited"
            )
        wait = max(wait, retry.after_s)
    return Again(wait)
