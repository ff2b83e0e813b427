"""What an outcome makes of a job: the records to produce, and the event that says so. Pure.

This is the one place that writes delay records and dead letters. Every record it makes carries the whole
job (delivery.md C1): the original bytes and the state, with its attempts, hop and deferrals counted.
"""

import msgspec

from tidegate.consume import delays, retries
from tidegate.consume import runtime_events as events
from tidegate.consume.dead_letters import dead_letter
from tidegate.consume.plan import Plan
from tidegate.events import Event
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.records import Job, JobState, job_headers
from tidegate.topics import LANES

# Above any real wait: 24 h of one-hour classes and the way up to them. What is put off more often is lost
# in a circle, and a person must see it.
MAX_DEFERRALS = 1_000


class Settlement(msgspec.Struct, frozen=True):
    """Records to produce in this order, and what happened in one event (None for ``Done``).

    ``our_fault``: the job ends by no fault of its own or its site's; the limit on those counts it (C11).
    """

    outgoing: tuple[Outgoing, ...]
    event: Event | None = None
    our_fault: bool = False


def settle(job: Job, outcome: Outcome, plan: Plan, now_ms: int) -> Settlement:
    """Turn an outcome into records. ``now_ms`` is the broker's clock."""
    match outcome:
        case Done():
            return Settlement(outcome.outgoing)
        case Retry():
            settlement = _retry(job, outcome, plan, now_ms)
        case Defer():
            settlement = _defer(job, outcome, plan, now_ms)
        case Dead():
            settlement = _dead(job, outcome, plan, now_ms)
    if not outcome.besides:
        return settlement
    return msgspec.structs.replace(settlement, outgoing=(*outcome.besides, *settlement.outgoing))


def delayed(original: bytes, state: JobState, wait_s: float) -> Outgoing:
    """Return the job on the delay topic that brings it nearest to the end of its wait (T2)."""
    return Outgoing(
        topic=delays.topic_for(wait_s), site=state.site, value=original, headers=job_headers(state)
    )


def _retry(job: Job, retry: Retry, plan: Plan, now_ms: int) -> Settlement:
    state = retry.state or job.state
    decision = retries.decide(plan.retries, state, retry)
    if isinstance(decision, retries.Exhausted):
        dead = Dead(
            reason=Reason.RETRIES_EXHAUSTED,
            error_class=retry.error_class,
            message=f"{retry.message} ({decision.message})",
            last_status=retry.last_status,
            final_url=retry.final_url,
            state=state,
        )
        return _dead(job, dead, plan, now_ms)
    attempts = {**state.attempts, retry.error_class: state.attempts.get(retry.error_class, 0) + 1}
    changed = msgspec.structs.replace(
        state, attempts=attempts, hop=state.hop + 1, due_at_ms=_retry_due(state, now_ms, decision.wait_s)
    )
    event = events.JobRetried(
        run=state.run,
        job_id=state.id,
        site=state.site,
        error_class=retry.error_class,
        wait_s=round(decision.wait_s, 3),
        message=retry.message,
    )
    return Settlement((_again(job, changed, decision.wait_s),), event)


def _defer(job: Job, defer: Defer, plan: Plan, now_ms: int) -> Settlement:
    state = defer.state or job.state
    if state.deferrals >= MAX_DEFERRALS:
        dead = Dead(
            reason=Reason.DEFERRED_TOO_LONG,
            error_class=ErrorClass.REFUSED,
            message=f"{defer.message} (the job was put off {state.deferrals} times)",
            state=state,
        )
        return _dead(job, dead, plan, now_ms)
    changed = msgspec.structs.replace(
        state, deferrals=state.deferrals + 1, due_at_ms=_due(now_ms, defer.delay_s)
    )
    event = events.JobDeferred(
        run=state.run,
        job_id=state.id,
        site=state.site,
        wait_s=round(defer.delay_s, 3),
        message=defer.message,
    )
    return Settlement((delayed(job.original, changed, defer.delay_s),), event)


def _dead(job: Job, dead: Dead, plan: Plan, now_ms: int) -> Settlement:
    state = dead.state or job.state
    event = events.JobDead(
        run=state.run, job_id=state.id, site=state.site, reason=dead.reason, message=dead.message
    )
    letter = dead_letter(
        Job(job.original, state), dead, service=plan.group, group=plan.prefix + plan.group, now_ms=now_ms
    )
    ours = dead.error_class is ErrorClass.INTERNAL or dead.reason is Reason.ROW_REFUSED
    return Settlement((letter,), event, our_fault=ours)


def _again(job: Job, state: JobState, wait_s: float) -> Outgoing:
    """Return the job on a delay topic, or at the tail of its own lane when there is no wait."""
    if wait_s > 0:
        return delayed(job.original, state, wait_s)
    return Outgoing(topic=LANES[state.lane], site=state.site, value=job.original, headers=job_headers(state))


def _retry_due(state: JobState, now_ms: int, wait_s: float) -> int | None:
    """Return when a failed job is due, with a jitter, also where its wait ends between two delay classes."""
    due_ms = _due(now_ms, wait_s)
    return None if due_ms is None else due_ms + delays.jitter_ms(state.id)


def _due(now_ms: int, wait_s: float) -> int | None:
    return now_ms + int(wait_s * 1000) if wait_s > 0 else None
