"""The answer to a request, apart from the request: what is kept, and the records made of it. Pure.

The journal keeps answers without the request: a request may be as large as a topic takes, a duplicate
brings its own copy, and the whole solution inside a journal entry would not fit (C9).
"""

import msgspec
from tidegate.captcha_records import CaptchaRequest, CaptchaSolution, SolutionStatus, SolveRecord
from tidegate.ledger.decisions import Decision, Verdict
from tidegate.ledger.entries import Scope
from tidegate.runs import RUN_CANCELLED, RUN_PAUSED

from tidegate_solver import wire
from tidegate_solver.profiles import ErrorKind, answer_life_s
from tidegate_solver.strength import is_of_the_request

IN_DOUBT = "in_doubt"
BUDGET_EXHAUSTED = "budget_exhausted"


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How a request was answered.

    ``lifetime_s`` is what was left of the token's life at ``answered_at_ms`` (broker's clock). ``cost``
    in US dollars; ``error_code`` the solving service's, or ours where it has none. ``exhausted`` is the
    budget that is used up, where that is why. ``in_doubt``: nobody knows whether the cost was charged.
    """

    status: SolutionStatus
    message: str = ""
    token: str | None = None
    values: dict[str, str] = {}
    cookies: dict[str, str] = {}
    user_agent: str | None = None
    provider: str | None = None
    task_id: str | None = None
    cost: float = 0.0
    lifetime_s: float = 0.0
    error_code: str | None = None
    polls: int = 0
    created_at_ms: int | None = None
    answered_at_ms: int
    exhausted: Scope | None = None
    in_doubt: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether there is something in it that opens the page."""
        return self.token is not None or bool(self.values) or bool(self.cookies)

    @property
    def dies_at_ms(self) -> int:
        """When the token is worth nothing any more, by the broker's clock."""
        return self.answered_at_ms + int(self.lifetime_s * 1000)

    def without_token(self) -> "Answer":
        """Return what is worth keeping once the token is dead."""
        return msgspec.structs.replace(
            self,
            status=SolutionStatus.FAILED if self.is_usable else self.status,
            message=self.message or "the token was dead when it was asked for again",
            token=None,
            values={},
            cookies={},
            user_agent=None,
            lifetime_s=0.0,
        )


def solution(
    request: CaptchaRequest,
    answer: Answer,
    now_ms: int,
    *,
    repeated: bool = False,
    answered_before: bool = False,
) -> CaptchaSolution:
    """Return the solution record, with the life that the token has left now.

    ``repeated`` where the same answer may have been given before, ``answered_before`` where it was, to the
    same job.
    """
    passed_s = max(0.0, (now_ms - answer.answered_at_ms) / 1000)
    return CaptchaSolution(
        status=answer.status,
        request=request,
        message=answer.message,
        token=answer.token,
        values=answer.values,
        cookies=answer.cookies,
        user_agent=answer.user_agent,
        provider=answer.provider,
        task_id=answer.task_id,
        cost=answer.cost,
        lifetime_s=max(0.0, answer.lifetime_s - passed_s),
        code=answer.error_code,
        exhausted=answer.exhausted,
        repeated=repeated,
        answered_before=answered_before,
    )


def solve_record(request: CaptchaRequest, answer: Answer, requested_at_ms: int) -> SolveRecord:
    """Return what the ``solves`` table is told."""
    return SolveRecord(
        request_id=request.request_id,
        run=request.state.run,
        job_id=request.state.id,
        site=request.state.site,
        kind=request.challenge.kind,
        status=answer.status,
        provider=answer.provider,
        task_id=answer.task_id,
        cost=answer.cost,
        polls=answer.polls,
        error_code=answer.error_code,
        requested_at_ms=requested_at_ms,
        created_at_ms=answer.created_at_ms,
        answered_at_ms=answer.answered_at_ms,
        in_doubt=answer.in_doubt,
    )


def unbought(status: SolutionStatus, code: str, message: str, now_ms: int) -> Answer:
    """Return the answer to a request for which nothing was spent, nor anything asked."""
    return Answer(status=status, message=message, error_code=code, answered_at_ms=now_ms)


def denied(decision: Decision, now_ms: int) -> Answer:
    """Return the answer where the ledger granted no money (M8).

    A used-up budget is refused at once. A paused run is not the job's fault, and its jobs wait; neither is
    a ledger that took too long.
    """
    match decision.verdict:
        case Verdict.EXHAUSTED:
            message = f"the budget of {decision.scope} is used up"
            refused = unbought(SolutionStatus.REFUSED, BUDGET_EXHAUSTED, message, now_ms)
            return msgspec.structs.replace(refused, exhausted=decision.scope)
        case Verdict.CANCELLED:
            return unbought(SolutionStatus.REFUSED, RUN_CANCELLED, "the run was cancelled", now_ms)
        case Verdict.PAUSED:
            return unbought(SolutionStatus.EXPIRED_UNBOUGHT, RUN_PAUSED, "the run is paused", now_ms)
        case _:
            message = "the budget could not be asked in time"
            return unbought(SolutionStatus.EXPIRED_UNBOUGHT, "budget_unknown", message, now_ms)


def in_doubt(provider: str, max_cost: float, message: str, now_ms: int) -> Answer:
    """Return the answer where a task may exist whose id is not known: spent at its maximum (M3)."""
    return Answer(
        status=SolutionStatus.FAILED,
        message=f"{message}; booked as spent",
        provider=provider,
        cost=max_cost,
        error_code=IN_DOUBT,
        answered_at_ms=now_ms,
        in_doubt=True,
    )


def rejected(provider: str, reply: wire.Rejected, now_ms: int) -> Answer:
    """Return the answer where createTask was refused for good: nothing was spent.

    A service without capacity, or an account out of order, is not the job's fault: the job is deferred, at
    no attempt (C4). A task that the service does not take is not worth a second try anywhere.
    """
    status = {
        ErrorKind.BUSY: SolutionStatus.EXPIRED_UNBOUGHT,
        ErrorKind.FATAL: SolutionStatus.EXPIRED_UNBOUGHT,
        ErrorKind.INPUT: SolutionStatus.UNSOLVABLE,
        ErrorKind.UNSUPPORTED: SolutionStatus.UNSOLVABLE,
    }.get(reply.kind, SolutionStatus.FAILED)
    if is_of_the_request(reply.code):
        status = SolutionStatus.FAILED
    return Answer(
        status=status,
        message=f"{provider} made no task: {reply.message}",
        provider=provider,
        error_code=reply.code,
        answered_at_ms=now_ms,
    )


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What a task that was made is booked with: who, which, when, how much in US dollars.

    A cost that is not certain is the most that it may have been.
    """

    provider: str
    task_id: str
    cost: float
    polls: int
    created_at_ms: int
    is_certain: bool = True


def ended(
    request: CaptchaRequest,
    result: wire.Ready | wire.Failed,
    bill: Bill,
    *,
    age_s: float,
    uncertain_s: float,
    now_ms: int,
    hopeless: bool = True,
) -> Answer:
    """Return the answer where a task ended.

    A token's life is counted from the last poll that did not have it (``uncertain_s`` ago). A token that
    came after the request's life was paid for, so it is booked, but nobody can use it.
    """
    if isinstance(result, wire.Failed):
        lost = hopeless and result.kind in (ErrorKind.INPUT, ErrorKind.UNSUPPORTED)
        status = SolutionStatus.UNSOLVABLE if lost else SolutionStatus.FAILED
        message, code, left_s = f"{bill.provider}: {result.message}", result.code, 0.0
    else:
        token_left_s = answer_life_s(request.challenge.kind) - uncertain_s
        left_s = min(token_left_s, request.lifetime_s - age_s)
        status, message, code = SolutionStatus.SOLVED, "", None
        if left_s <= 0:
            status, code, left_s = SolutionStatus.FAILED, "late", 0.0
            message = f"the token came {age_s:.0f} s after a request that lived {request.lifetime_s:.0f} s"
    brought = result if isinstance(result, wire.Ready) and status is SolutionStatus.SOLVED else wire.Ready()
    return Answer(
        status=status,
        message=message,
        token=brought.token,
        values=brought.values,
        cookies=brought.cookies,
        user_agent=brought.user_agent,
        provider=bill.provider,
        task_id=bill.task_id,
        cost=bill.cost,
        lifetime_s=left_s,
        error_code=code,
        polls=bill.polls,
        created_at_ms=bill.created_at_ms,
        answered_at_ms=now_ms,
        in_doubt=not bill.is_certain,
    )
