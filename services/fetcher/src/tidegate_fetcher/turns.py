"""What a job says when it asks for its site's turn, and what becomes of it when it gets none. Pure."""

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
