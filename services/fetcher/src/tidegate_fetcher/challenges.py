"""What becomes of a job that met a challenge, and of one whose challenge was not solved. Pure.

A challenge is answered only where the operator allowed it, through a form that the page has, and at most so
many times a job. Whatever else it is, it costs nothing.
"""

import math

import msgspec
from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    Challenge,
    Identity,
    SolutionStatus,
    request_id,
)
from tidegate.consume.retries import RetryPolicy
from tidegate.consume.service import Work
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.records import JobState, UrlJob, encode
from tidegate.runs import RUN_CANCELLED, RUN_PAUSED, Run
from tidegate.sites import without_credentials
from tidegate.topics import Topic
from yarl import URL

from tidegate_fetcher import classify, run_rules
from tidegate_fetcher.detection import answerable, lacking
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.policy import Policy
from tidegate_fetcher.spending import Spending
from tidegate_fetcher.tasks import Task

# How long a job waits that the solver had no time for: about what a queue of solves takes to drain.
_OVERLOAD_WAIT_S = 30.0
_MAX_TOLD = 200
# What names a widget; the other parameters are one page's.
_KEYS = ("sitekey", "gt", "captcha_id")


def same(one: Challenge, other: Challenge) -> bool:
    """Say whether two challenges are the same widget: then the site did not take the answer."""
    return one.kind is other.kind and all(one.params.get(name) == other.params.get(name) for name in _KEYS)


class Challenges:
    """Judges challenges. ``lifetime_s`` is how long a request is worth solving, in seconds."""

    def __init__(
        self,
        policy: Policy,
        *,
        max_solves: int,
        lifetime_s: float,
        retries: RetryPolicy,
        spending: Spending,
    ) -> None:
        self._policy = policy
        self._spending = spending
        self._max_solves = max_solves
        self._lifetime_s = lifetime_s
        self._retries = retries

    def met(
        self,
        work: Work[Task],
        job: UrlJob,
        challenge: Challenge,
        response: Response,
        who: Identity,
        *,
        resumed: bool,
        now_ms: int,
        run: Run | None = None,
    ) -> Outcome:
        """Return the request to the solver, or why there is none. ``now_ms`` is the broker's clock.

        A request lives no longer than its job or its run: what is solved after that opens nothing (C4).
        """
        state = work.job.state
        refusal = self._policy.solve_refusal(response.url)
        form = challenge.form
        if refusal is None and form is not None and URL(form.action).raw_host != response.url.raw_host:
            refusal = self._policy.solve_refusal(URL(form.action))
        if refusal is not None:
            return self._dead(state, refusal.reason, refusal.message, response)
        useless = _useless(challenge, has_recipe=self._policy.has_recipe(response.url))
        if useless is not None:
            return Retry(
                error_class=ErrorClass.BLOCKED,
                message=useless,
                max_retries=job.max_retries,
                last_status=response.status,
                final_url=without_credentials(str(response.url)),
                state=state,
            )
        exhausted = self._exhausted(state, job)
        if exhausted is not None:
            return self._dead(state, Reason.RETRIES_EXHAUSTED, exhausted, response)
        # What comes back after a solution must not ask under that solution's id again (M4).
        waiting = msgspec.structs.replace(state, hop=state.hop + 1) if resumed else state
        without = self._spending.barrier(waiting, now_ms)
        if without is not None:
            return without
        age_s = (now_ms - state.accepted_at_ms) / 1000
        life_s = math.inf if challenge.lifetime_s is None else challenge.lifetime_s
        if run is not None and run.deadline_ms is not None:
            life_s = min(life_s, (run.deadline_ms - now_ms) / 1000)
        state = _next_round(state, resumed=resumed)
        request = CaptchaRequest(
            request_id=request_id(state),
            challenge=challenge,
            identity=who,
            lifetime_s=max(0.0, min(self._lifetime_s, life_s, job.deadline - age_s)),
            route=job.route,
            max_cost=self._policy.max_cost(response.url, job.max_solve_cost),
            original=work.job.original,
            state=state,
        )
        return Done((Outgoing(topic=Topic.CAPTCHA_REQUESTS, site=state.site, value=encode(request)),))

    def shed(self, state: JobState, response: Response) -> Dead:
        """Return the end of a job whose request the solver would come to too late, or not at all."""
        sentence = "It met a challenge while more of them wait than can be solved, and others matter more."
        return self._dead(state, Reason.SHED, sentence, response)

    def unsolved(self, work: Work[Task], job: UrlJob, solution: CaptchaSolution, now_ms: int) -> Outcome:
        """Return what becomes of a job whose challenge the solver did not open, by the broker's clock."""
        state = work.job.state
        told = f": {solution.message[:_MAX_TOLD]}" if solution.message else "."
        match solution.status:
            case _ if solution.code == RUN_CANCELLED:
                return run_rules.cancelled(state)
            case SolutionStatus.EXPIRED_UNBOUGHT if solution.code == RUN_PAUSED:
                return run_rules.paused(_unspent(state))
            case SolutionStatus.EXPIRED_UNBOUGHT:
                return Defer(
                    delay_s=_OVERLOAD_WAIT_S,
                    message=f"The solver had no time for it{told}",
                    state=_unspent(state),
                )
            case SolutionStatus.REFUSED:
                return self._spending.refused(_unspent(state), solution, now_ms)
            case SolutionStatus.UNSOLVABLE:
                sentence = f"The challenge cannot be solved{told}"
                return self._dead(state, Reason.UNSOLVABLE, sentence)
            case SolutionStatus.FAILED | SolutionStatus.SOLVED:  # solved without a token is none
                return classify.solve_failed(state, job.max_retries, f"The solver gave up{told}")

    def _exhausted(self, state: JobState, job: UrlJob) -> str | None:
        """Say why no further solve is bought. A job's max_retries only lowers it: money is the operator's.

        It never forbids the first solve, which retries nothing.
        """
        rounds = state.attempts.get(ErrorClass.CHALLENGE, 0)
        allowed = self._max_solves
        if job.max_retries is not None:
            allowed = min(allowed, max(1, job.max_retries))
        if rounds >= allowed:
            return f"A challenge again after {rounds} solves; {allowed} are allowed for a job."
        if sum(state.attempts.values()) >= self._retries.total:
            return f"The job was tried {self._retries.total + 1} times over all error classes."
        return None

    @staticmethod
    def _dead(state: JobState, reason: Reason, message: str, response: Response | None = None) -> Dead:
        return Dead(
            reason=reason,
            error_class=ErrorClass.CHALLENGE,
            message=message,
            last_status=None if response is None else response.status,
            final_url=None if response is None else without_credentials(str(response.url)),
            state=state,
        )


def _useless(challenge: Challenge, *, has_recipe: bool) -> str | None:
    """Say why an answer to a challenge would be money for nothing; None where it would not."""
    missing = lacking(challenge)
    if missing:
        return f"The page has a challenge ({challenge.kind}) that lacks its {' and '.join(missing)}."
    if not has_recipe and not answerable(challenge):
        return f"The page has a challenge ({challenge.kind}) but no form for its answer."
    return None


def _next_round(state: JobState, *, resumed: bool) -> JobState:
    """Return the state that a captcha request carries: one challenge more is counted.

    A new round has a new hop and so a new request id; a redo of the same record has the same (M4).
    """
    attempts = {**state.attempts, ErrorClass.CHALLENGE: state.attempts.get(ErrorClass.CHALLENGE, 0) + 1}
    return msgspec.structs.replace(state, attempts=attempts, hop=state.hop + (1 if resumed else 0))


def _unspent(state: JobState) -> JobState:
    """Return the state of a job whose request was not bought: no attempt was used (C4).

    The hop grows: the same request id would be answered with the same expiry from the journal (M4).
    """
    attempts = dict(state.attempts)
    rounds = attempts.pop(ErrorClass.CHALLENGE, 0)
    if rounds > 1:
        attempts[ErrorClass.CHALLENGE] = rounds - 1
    return msgspec.structs.replace(state, attempts=attempts, hop=state.hop + 1)
