"""What a run's state means for its jobs. Pure.

A cancelled run's jobs end, a paused one's wait at no attempt, and after its deadline there are no more pages
of a run. What was paid for is used: a solution that was bought before a pause opens its page.
"""

from tidegate.outcome import Dead, Defer, ErrorClass, Reason
from tidegate.records import JobState
from tidegate.runs import Run, RunState

# A resumed run goes on within a minute where it rested shortly; one that rests for a day is looked at no more
# than about thirty times (delivery.md T3).
_WAITS_S = (60.0, 60.0, 60.0, 600.0, 600.0, 600.0)
_LONGEST_S = 3600.0


def judge(run: Run | None, state: JobState, now_ms: int, *, may_wait: bool) -> Dead | Defer | None:
    """Return what becomes of a job because of its run; None where it goes on. ``now_ms``: broker's clock.

    A solution may not wait (delivery.md C3): what it leads to may.
    """
    if run is None:
        return None
    if run.record.state is RunState.CANCELLED:
        return cancelled(state)
    if run.deadline_ms is not None and now_ms > run.deadline_ms:
        return Dead(
            reason=Reason.DEADLINE,
            error_class=ErrorClass.REFUSED,
            message=f"The run's deadline of {run.record.deadline_s:g} s has passed.",
            state=state,
        )
    if run.record.state is RunState.PAUSED and may_wait:
        return paused(state)
    return None


def cancelled(state: JobState) -> Dead:
    """Return the end of a cancelled run's job."""
    return Dead(
        reason=Reason.CANCELLED,
        error_class=ErrorClass.REFUSED,
        message="Its run was cancelled.",
        state=state,
    )


def paused(state: JobState) -> Defer:
    """Return the wait of a paused run's job."""
    return Defer(delay_s=wait_s(state.deferrals), message="Its run is paused.", state=state)


def wait_s(deferrals: int) -> float:
    """Return how long a job waits that nobody knows the end of the wait of: longer each time."""
    return _WAITS_S[deferrals] if deferrals < len(_WAITS_S) else _LONGEST_S
