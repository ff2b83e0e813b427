"""The fetcher's logic: what becomes of a job, and of a solution that comes back.

A job: send it where it belongs, judge it, put it aside while its site is held, wait for its site's turn,
ask, look for a challenge, and say how it ended. A solution: never wait (C3), hand the token in through the
page's own form, look again.
Every record that leaves carries the whole job (C1).
"""

import msgspec
from tidegate.captcha_records import CaptchaSolution, Challenge, Identity, SolutionStatus
from tidegate.clock import BrokerClock
from tidegate.consume.service import Work
from tidegate.events import Emit
from tidegate.host_policy import SubmitRecipe
from tidegate.outcome import Dead, Defer, Done, Outcome, Retry
from tidegate.proxies import Proxy
from tidegate.records import Inbound, JobState, UrlJob
from tidegate.topics import HELD, LANES, Topic
from yarl import URL

from tidegate_fetcher import (
    classify,
    copies,
    fetch_lines,
    requests,
    routing,
    run_rules,
    tasks,
    token_answers,
    turns,
    ways,
)
from tidegate_fetcher.challenges import Challenges, same
from tidegate_fetcher.detection import Block
from tidegate_fetcher.events import UnknownFieldIgnored
from tidegate_fetcher.exchange import ExchangeError, NetworkFailedError, Request, Response
from tidegate_fetcher.hosts import host_with_port
from tidegate_fetcher.identities import Identities
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.looking import Looker
from tidegate_fetcher.pages import PageWriter
from tidegate_fetcher.proxies import Proxies
from tidegate_fetcher.run_watch import RunWatch
from tidegate_fetcher.session_memory import SessionMemory
from tidegate_fetcher.sessions import Visit
from tidegate_fetcher.site_pace import Answered
from tidegate_fetcher.site_policies import SitePolicies
from tidegate_fetcher.slot_memory import SlotMemory
from tidegate_fetcher.standstill import Standstill
from tidegate_fetcher.tasks import FetchTask, ResumeTask, Task
from tidegate_fetcher.tenures import Tenures
from tidegate_fetcher.verdicts import with_verdict
from tidegate_fetcher.walls import Walls
from tidegate_fetcher.ways import NoWay

_INTAKE = frozenset(LANES.values())
_HELD = frozenset(HELD.values())
_REMEMBERED_FIELDS = 100


class Fetcher:
    """The service. ``partitions`` is the count of every site-keyed topic."""

    def __init__(
        self,
        *,
        looker: Looker,
        standstill: Standstill,
        proxies: Proxies,
        limiter: SiteLimiter,
        slots: SlotMemory,
        identities: Identities,
        sessions: SessionMemory,
        challenges: Challenges,
        writer: PageWriter,
        walls: Walls,
        watch: RunWatch,
        tenures: Tenures,
        broker_clock: BrokerClock,
        partitions: int,
        policies: SitePolicies,
        max_job_bytes: int,
        submit_margin_s: float,
        emit: Emit,
    ) -> None:
        self._looker = looker
        self._standstill = standstill
        self._proxies = proxies
        self._limiter = limiter
        self._slots = slots
        self._identities = identities
        self._sessions = sessions
        self._challenges = challenges
        self._writer = writer
        self.valve = walls
        self._watch = watch
        self._tenures = tenures
        self._broker_clock = broker_clock
        self._partitions = partitions
        self._policies = policies
        self._max_job_bytes = max_job_bytes
        self._submit_margin_s = submit_margin_s
        self._emit = emit
        self._unknown_fields: set[str] = set()

    def decode(self, record: Inbound) -> Work[Task]:
        """Read a job or a solution. Raises RecordError with a sentence that a person understands."""
        work = tasks.read(record, self._max_job_bytes)
        task = work.payload
        if isinstance(task, FetchTask) and task.unknown_field is not None:
            self._report_unknown(task.unknown_field, work.job.state.id)
        return work

    async def handle(self, work: Work[Task]) -> Outcome:
        """Say what becomes of a job."""
        task = work.payload
        forwarded = routing.forwarded(work, self._partitions)
        if forwarded is not None:
            self._emit(fetch_lines.forwarded(work))
            return forwarded
        if copies.is_one(task):
            self._emit(fetch_lines.copy(work))
            self._identities.copied(work.job.state, task.solution)
            return self._identities.written(Done(), self._broker_clock.now_ms())
        state = work.job.state
        ended = turns.late(state, task.job, self._age_s(state)) or self._of_run(work)
        if ended is not None:
            outcome: Outcome = ended
            response = None
        elif routing.may_be_put_aside(work) and self.valve.holds(work.job.state.site):
            outcome, response = routing.aside(work), None
        elif isinstance(task, FetchTask):
            outcome, response = await self._fetch(work, task)
        else:
            outcome, response = await self._resume(work, task)
        # Of who has to wait unasked the runtime tells; a flood of them would be a flood of lines.
        if response is not None or not isinstance(outcome, Defer):
            self._emit(fetch_lines.ended(work, outcome, response))
        now_ms = self._broker_clock.now_ms()
        if isinstance(task, ResumeTask):
            outcome = copies.later(outcome, work.job.state)
            self._identities.answered(work.job.state, task.solution, outcome, response, now_ms)
            first = self._tenures.is_first(work.record)
            outcome = with_verdict(outcome, response, task.solution, work.record, first=first)
        self._identities.ended(work.job.state, outcome)
        return self._identities.written(outcome, now_ms)

    def sifts(self) -> bool:
        """Say whether some site is crowded, so that its jobs are only sent away."""
        return self._limiter.is_crowded

    def sift(self, work: Work[Task]) -> Defer | Dead | None:
        """Say when a job of a crowded site is to come back (T3); all else is left to ``handle``."""
        task, state = work.payload, work.job.state
        if not isinstance(task, FetchTask):
            return None
        age_s = self._age_s(state)
        if (
            routing.forwarded(work, self._partitions) is not None
            or turns.late(state, task.job, age_s) is not None
            or self._of_run(work) is not None
            or (self.valve.holds(state.site) and routing.may_be_put_aside(work))
            or self._identities.concern(state, task.job)
        ):
            return None
        turn = self._limiter.turn_away(state.site, turns.claim_of(state, task.job, age_s))
        if turn is None:
            return None
        outcome = turns.missed(turn, task.job, state)
        if isinstance(outcome, Dead):
            self._emit(fetch_lines.ended(work, outcome, None))
        return outcome

    async def prepare(self, partition: int) -> None:
        """Learn which turns are booked and whom the sites know; all else is in the records (M6)."""
        await self._slots.restore(partition)
        await self._sessions.restore(partition)
        self._tenures.began(partition)

    def release(self, partition: int) -> None:
        """Forget since when it was ours, and whom its sites know."""
        self._tenures.ended(partition)
        self._sessions.forget(partition)

    def _of_run(self, work: Work[Task]) -> Dead | Defer | None:
        """Return what becomes of a job because of its run; None where it goes on."""
        state = work.job.state
        run = self._watch.runs.get(state.run)
        if run is None:
            return None
        may_wait = isinstance(work.payload, FetchTask)
        return run_rules.judge(run, state, self._broker_clock.now_ms(), may_wait=may_wait)

    def _age_s(self, state: JobState) -> float:
        return (self._broker_clock.now_ms() - state.accepted_at_ms) / 1000

    async def _fetch(self, work: Work[Task], task: FetchTask) -> tuple[Outcome, Response | None]:
        state = work.job.state
        age_s = self._age_s(state)
        held = self._identities.held(state, task.job, self._broker_clock.now_ms(), age_s)
        if held is not None:
            return held, None
        turn = await self._limiter.enter(state.site, turns.claim_of(state, task.job, age_s))
        if not isinstance(turn, float):
            return turns.missed(turn, task.job, state), None
        try:
            visit, way = self._setting_out(state, task.job)
            if isinstance(way, NoWay):
                return ways.missed(way, state), None
            begun = self._standstill.begin()
            try:
                user_agent = self._policies.of(state.site).user_agent
                request = ways.through(requests.of_job(task.job, task.url, user_agent, visit), way)
                response = await self._looker.ask(request)
            except ExchangeError as error:
                if isinstance(error, NetworkFailedError) and self._standstill.is_to_blame(begun):
                    outcome: Outcome = classify.stood_still(state)
                else:
                    outcome = self._failed(error, task.job, state, way)
                self._identities.failed(visit, state, outcome, of_proxy=error.of_proxy)
                return outcome, None
        finally:
            self._limiter.leave(state.site, turn)
        outcome = self._judged(work, request, response, visit)
        return self._proxies.settled(way, outcome, state, failed=False), response

    def _setting_out(self, state: JobState, job: UrlJob) -> tuple[Visit, Proxy | NoWay | None]:
        """Return who asks and through what: a session through its own proxy only, however that stands."""
        visit = self._identities.visit(state, job, self._broker_clock.now_ms())
        session = visit.session
        if session is None or job.proxy is not None:
            return visit, self._proxies.choose(state.site, job.proxy, state.failed_proxy)
        way = self._proxies.again(state.site, None, session.proxy_id)
        if ways.is_other(way, session.proxy_id):
            visit = self._identities.moved(visit, state, job)
        return visit, way

    def _failed(self, error: ExchangeError, job: UrlJob, state: JobState, way: Proxy | None) -> Outcome:
        """Return the outcome of a request without an answer; its proxy may be to blame."""
        outcome = classify.of_error(error, job.max_retries, state)
        return self._proxies.settled(way, outcome, state, failed=error.of_proxy)

    async def _resume(self, work: Work[Task], task: ResumeTask) -> tuple[Outcome, Response | None]:
        """Hand the token in and judge what comes back. Nothing here waits for a turn (C3)."""
        solution = task.solution
        user_agent = solution.user_agent or solution.request.identity.user_agent
        submit = requests.of_answer(task.job, task.url, solution, user_agent, self._recipe(task))
        if solution.status is not SolutionStatus.SOLVED or submit is None:
            return self._challenges.unsolved(work, task.job, solution, self._broker_clock.now_ms()), None
        if self._token_left_s(work.record, solution) < self._submit_margin_s:
            return self._solve_failed(work, task.job, "The token died before it could be used."), None
        state = work.job.state
        way = self._proxies.again(state.site, task.job.proxy, solution.request.identity.proxy_id)
        if isinstance(way, NoWay):
            return ways.missed(way, state), None
        if requests.is_clearance(solution) and ways.is_other(way, solution.request.identity.proxy_id):
            return self._solve_failed(work, task.job, "The clearance's proxy is gone."), None
        try:
            outcome, response = await self._hand_in(work, task, ways.through(submit, way), user_agent)
        except ExchangeError as error:
            return self._failed(error, task.job, state, way), None
        return self._proxies.settled(way, outcome, state, failed=False), response

    async def _hand_in(
        self, work: Work[Task], task: ResumeTask, submit: Request, user_agent: str
    ) -> tuple[Outcome, Response]:
        response = await self._looker.ask(submit)
        refused = self._refused_token(work, task, submit, response)
        if refused is not None:
            return refused, response
        by_recipe = self._recipe(task) is not None and token_answers.elsewhere(task, response)
        if by_recipe or token_answers.asks_again(task, submit, response):
            return await self._ask_again(work, task, submit, response, user_agent)
        return self._judged(work, submit, response), response

    def _recipe(self, task: ResumeTask) -> SubmitRecipe | None:
        """Return how the operator wants answers handed in where this challenge was met."""
        return self._policies.of(host_with_port(URL(task.solution.request.challenge.page_url))).submit

    def _token_left_s(self, record: Inbound, solution: CaptchaSolution) -> float:
        """Return what is left of a token's life, counted from its record's append time (T1)."""
        return solution.lifetime_s - (self._broker_clock.now_ms() - record.timestamp_ms) / 1000

    def _refused_token(
        self, work: Work[Task], task: ResumeTask, submit: Request, response: Response
    ) -> Retry | None:
        """Return the retry where the site did not take the token: the same challenge again, or a refusal."""
        again = response.found
        if isinstance(again, Block):
            return None
        if again is not None:
            if same(again, task.solution.request.challenge):
                return self._solve_failed(work, task.job, "The site refused the token.", response)
            return None
        if response.redirects == 0 and submit.method == "POST" and token_answers.refuses(task, response):
            sentence = f"The site answered the token with {response.status}."
            return self._solve_failed(work, task.job, sentence, response)
        return None

    async def _ask_again(
        self, work: Work[Task], task: ResumeTask, submit: Request, answer: Response, user_agent: str
    ) -> tuple[Outcome, Response]:
        """Ask for the job's page with the cookies that the form's answer brought.

        Where that meets the same challenge again, the cookies open nothing, and the form's answer is all
        that this site gives for a token: it is the page.
        """
        request = requests.resumed(task.job, task.url, user_agent, answer.jar)
        request = msgspec.structs.replace(request, proxy=submit.proxy, proxy_id=submit.proxy_id)
        response = await self._looker.ask(request)
        challenge = response.found
        if not isinstance(challenge, Challenge) or not same(challenge, task.solution.request.challenge):
            return self._judged(work, request, response), response
        if task.job.method.upper() != "GET" or self._recipe(task) is not None:
            return self._solve_failed(work, task.job, "The token did not open the page.", response), response
        return self._judged(work, submit, answer), answer

    def _judged(
        self, work: Work[Task], request: Request, response: Response, visit: Visit | None = None
    ) -> Outcome:
        """Return the outcome of an answer: a challenge, a failure, or the page.

        ``visit`` is None where a solution was handed in; what that one brought is judged at the end.
        """
        state, job = work.job.state, work.payload.job
        found = response.found
        if isinstance(found, Challenge):
            who = Identity(
                user_agent=request.headers["User-Agent"],
                cookies=response.jar,
                proxy_id=response.proxy_id,
                id=_known_as(work.payload, visit),
            )
            return self._challenged(work, who, found, response, visit)
        if found is not None:
            failed: Retry | None = classify.blocked(found, response, job.max_retries, state)
        else:
            failed = classify.failure(response, job.max_retries, state)
        after_s = None if failed is None else failed.after_s
        told = Answered(response.status, response.elapsed_ms / 1000, after_s, visit is not None)
        self._limiter.answered(state.site, told)
        if failed is not None:
            if visit is not None:
                self._identities.failed(visit, state, failed, of_proxy=response.status == 407)
            return failed
        now_ms = self._broker_clock.now_ms()
        if visit is not None:
            self._identities.page(visit, state, response, now_ms)
            self.valve.answered(state.site, challenged=False)
        self.valve.sent(Topic.PAGES)
        return Done((self._writer.page(work.job, job, response, work.payload.url, fetched_at_ms=now_ms),))

    def _challenged(
        self,
        work: Work[Task],
        who: Identity,
        challenge: Challenge,
        response: Response,
        visit: Visit | None,
    ) -> Outcome:
        """Return what becomes of a job that met a challenge: it buys, waits for another one's, or ends."""
        now_ms, state = self._broker_clock.now_ms(), work.job.state
        if visit is not None:
            self._identities.challenged(visit, state, challenge, now_ms)
        met = self._challenges.met(
            work,
            work.payload.job,
            challenge,
            response,
            who,
            resumed=visit is None,
            now_ms=now_ms,
            run=self._watch.runs.get(state.run),
        )
        if not isinstance(met, Done):
            return met
        if visit is not None:
            instead = self._identities.instead(visit, state, challenge, now_ms, self._age_s(state))
            if instead is not None:
                return instead
            self.valve.answered(state.site, challenged=True)
        if self.valve.sheds(state.lane):
            return self._challenges.shed(state, response)
        self.valve.sent(Topic.CAPTCHA_REQUESTS)
        self._identities.buys(who.id, state, challenge, now_ms)
        return met

    @staticmethod
    def _solve_failed(work: Work[Task], job: UrlJob, message: str, response: Response | None = None) -> Retry:
        return classify.solve_failed(work.job.state, job.max_retries, message, response)

    def _report_unknown(self, field: str, job_id: str) -> None:
        """Tell of an unknown field once; of no more than a hundred of them."""
        if field not in self._unknown_fields and len(self._unknown_fields) < _REMEMBERED_FIELDS:
            self._unknown_fields.add(field)
            self._emit(UnknownFieldIgnored(field=field, example_id=job_id))


def _known_as(task: Task, visit: Visit | None) -> str | None:
    """Return the name under which a site knows who asks, None where it is nobody else's business."""
    if visit is not None:
        return visit.identity
    return task.solution.request.identity.id if isinstance(task, ResumeTask) else None
