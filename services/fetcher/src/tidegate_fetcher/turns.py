"""What a job says when it asks for its site's turn, and what becomes of it without one. Pure."""

from tidegate.outcome import Dead, Defer, ErrorClass, Reason
from tidegate.records import JobState, UrlJob

from tidegate_fetcher.site_slots import Claim, Later, Never


def claim_of(state: JobState, job: UrlJob, age_s: float) -> Claim:
    """Return the claim of a job that was accepted ``age_s`` seconds ago."""
    return Claim(
        lane=state.lane,
        came_before=state.deferrals + sum(state.attempts.values()),
        age_s=age_s,
        left_s=job.deadline - age_s,
    )


def late(state: JobState, job: UrlJob, age_s: float) -> Dead | None:
    """Judge the deadline of a job that was accepted ``age_s`` seconds ago by the broker's clock (T1)."""
    if age_s <= job.deadline:
        return None
    return Dead(
        reason=Reason.DEADLINE,
        error_class=ErrorClass.REFUSED,
        message=f"The job's deadline of {job.deadline:g} s has passed; it is {age_s:.0f} s old.",
        state=state,
    )


def missed(turn: Later | Never, job: UrlJob, state: JobState) -> Defer | Dead:
    """Return the outcome of a job that comes back at its slot, or that has none before its deadline."""
    if isinstance(turn, Later):
        return Defer(delay_s=turn.delay_s, message="Its site has enough requests.", state=state)
    return Dead(
        reason=Reason.DEFERRED_TOO_LONG,
        error_class=ErrorClass.REFUSED,
        message=f"The next free turn of its site is in {_readable(turn.delay_s)}, and the job's deadline is "
        f"{_readable(job.deadline)}: more jobs wait for this site than its limit of requests lets through, "
        "or it asked for a pause.",
        state=state,
    )


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
