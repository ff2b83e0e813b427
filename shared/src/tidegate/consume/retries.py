"""When a failed try is tried again, and when a job has been tried enough. Pure.

One row per error class: how many retries after the first try, and how long to wait. A job's own
``max_retries`` lowers or raises every class's cap; a cap over all classes bounds the sum. Challenges are not
here: their rounds are the fetcher's, and cost money.
"""

import msgspec

from tidegate.outcome import ErrorClass, Retry
from tidegate.records import JobState
from tidegate.settings import RetrySettings


class ClassPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Retries after the first try; a wait of ``base_s`` x ``factor``^n seconds, at most ``cap_s``.

    The jitter comes on top when the wait is turned into a due time (``settling``). With ``first_at_once`` the
    first retry goes to the tail of the job's own lane without a wait, and the waits count from the second.
    """

    retries: int
    base_s: float = 2.0
    factor: float = 2.0
    cap_s: float = 600.0
    first_at_once: bool = False

    def wait_s(self, used: int) -> float:
        """Return the wait before the next try of a job that used so many retries."""
        if self.first_at_once and not used:
            return 0.0
        return min(self.base_s * self.factor ** min(used - self.first_at_once, 64), self.cap_s)


def class_policies(settings: RetrySettings) -> dict[ErrorClass, ClassPolicy]:
    """Return the table that the settings describe; a class that is not in it is never tried again."""
    cap_s = settings.longest_backoff_s
    return {
        ErrorClass.SOLVE_FAILED: ClassPolicy(retries=settings.solve_failed, cap_s=cap_s),
        ErrorClass.RATE_LIMITED: ClassPolicy(
            retries=settings.rate_limited, base_s=settings.rate_limited_base_s, cap_s=cap_s
        ),
        ErrorClass.BLOCKED: ClassPolicy(retries=settings.blocked, cap_s=cap_s),
        ErrorClass.SERVER_ERROR: ClassPolicy(
            retries=settings.server_error, base_s=settings.server_error_base_s, cap_s=cap_s
        ),
        ErrorClass.NETWORK: ClassPolicy(
            retries=settings.network,
            base_s=settings.network_base_s,
            factor=4.0,
            cap_s=cap_s,
            first_at_once=True,
        ),
        ErrorClass.INTERNAL: ClassPolicy(retries=settings.internal, cap_s=cap_s),
    }


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The table, the cap over all classes, and the longest wait that is still granted, in seconds."""

    classes: dict[ErrorClass, ClassPolicy]
    total: int
    longest_wait_s: float


def policy_of(settings: RetrySettings) -> RetryPolicy:
    """Return the policy that the settings describe."""
    return RetryPolicy(
        classes=class_policies(settings), total=settings.total, longest_wait_s=settings.longest_wait_s
    )


DEFAULTS = policy_of(RetrySettings())


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
    wait = row.wait_s(used)
    if retry.after_s is not None:
        if retry.after_s > policy.longest_wait_s:
            return Exhausted(
                f"the site asked for {retry.after_s:.0f} s, at most {policy.longest_wait_s:.0f} s is waited"
            )
        wait = max(wait, retry.after_s)
    return Again(wait)
