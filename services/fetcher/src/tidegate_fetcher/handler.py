"""The fetcher's logic: what becomes of a job, and of a solution that comes back.

A job: send it where it belongs, judge it, put it aside while its site is held, wait for its site's turn,
ask, look for a challenge, and say how it ended. A solution: never wait (C3), hand the token in through the
page's own form, look again.
Every record that leaves carries the whole job (C1).
"""

import msgspec
from tidegate.captcha_records import CaptchaSolution, Challenge, SolutionStatus
from tidegate.clock import BrokerClock
from tidegate.consume.service import Work
from tidegate.events import Emit
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Reason, Retry
from tidegate.proxies import Proxy
from tidegate.records import Inbound, JobState, UrlJob, job_headers
from tidegate.sites import partition_of
from tidegate.topics import HELD, LANES, Topic
from yarl import URL

from tidegate_fetcher import classify, cookies, requests, run_rules, tasks, turns, ways
from tidegate_fetcher.challenges import Challenges, same
from tidegate_fetcher.client import HttpClient
from tidegate_fetcher.detection import Block, Detector, Finding
from tidegate_fetcher.events import FetchDone, UnknownFieldIgnored
from tidegate_fetcher.exchange import ExchangeError, NetworkFailedError, Request, Response
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.pages import PageWriter
from tidegate_fetcher.proxies import Proxies
from tidegate_fetcher.run_watch import RunWatch
from tidegate_fetcher.slot_memory import SlotMemory
from tidegate_fetcher.tasks import FetchTask, ResumeTask, Task
from tidegate_fetcher.tenures import Tenures
from tidegate_fetcher.verdicts import with_verdict
from tidegate_fetcher.walls import Walls
from tidegate_fetcher.ways import NoWay

_INTAKE = frozenset(LANES.values())
_HELD = frozenset(HELD.values())
_REMEMBERED_FIELDS = 100
# Answers to a token's form that refuse the token rather than show a page.
_TOKEN_REFUSED = frozenset({400, 401, 403, 406, 409, 422})


class Fetcher:
    """The service. ``partitions`` is the count of every site-keyed topic."""

    def __init__(
        self,
        *,
        client: HttpClient,
        proxies: Proxies,
        limiter: SiteLimiter,
        slots: SlotMemory,
        detector: Detector,
        challenges: Challenges,
        writer: PageWriter,
        walls: Walls,
        watch: RunWatch,
        tenures: Tenures,
        broker_clock: BrokerClock,
        partitions: int,
        user_agent: str,
        max_job_bytes: int,
        submit_margin_s: float,
        emit: Emit,
    ) -> None:
        self._client = client
        self._proxies = proxies
        self._limiter = limiter
        self._slots = slots
        self._detector = detector
        self._challenges = challenges
        self._writer = writer
        self.valve = walls
        self._watch = watch
        self._tenures = tenures
        self._broker_clock = broker_clock
        self._partitions = partitions
        self._user_agent = user_agent
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
        forwarded = self._forwarded(work)
        if forwarded is not None:
            self._tell(work, "forwarded", None)
            return forwarded
        ended = self._late(work, task.job) or self._of_run(work)
        if ended is not None:
            outcome: Outcome = ended
            response = None
        elif (aside := self._put_aside(work)) is not None:
            outcome, response = aside, None
        elif isinstance(task, FetchTask):
            outcome, response = await self._fetch(work, task)
        else:
            outcome, response = await self._resume(work, task)
        # Of who has to wait the runtime tells; a flood of them would be a flood of lines.
        if not isinstance(outcome, Defer):
            self._tell(work, _name(outcome), response)
        if isinstance(task, ResumeTask):
            first = self._tenures.is_first(work.record)
            return with_verdict(outcome, response, task.solution, work.record, first=first)
        return outcome

    async def prepare(self, partition: int) -> None:
        """Learn which turns are booked; all else that the fetcher must know is in the records."""
        await self._slots.restore(partition)
        self._tenures.began(partition)

    def release(self, partition: int) -> None:
        """Forget since when it was ours."""
        self._tenures.ended(partition)

    def _forwarded(self, work: Work[Task]) -> Done | None:
        """Send an intake record to its site's partition and its job's lane; None where it is there (S1).

        Only what has no state yet is forwarded, and the copy has one: nothing is ever forwarded twice,
        even while two fetchers disagree on the number of partitions. No attempt is counted.
        """
        record, state, task = work.record, work.job.state, work.payload
        if not (isinstance(task, FetchTask) and task.first_sight) or record.topic not in _INTAKE:
            return None
        lane = LANES[state.lane]
        if lane == record.topic and record.partition == partition_of(state.site.encode(), self._partitions):
            return None
        return Done((Outgoing(topic=lane, site=state.site, value=record.value, headers=job_headers(state)),))

    def _put_aside(self, work: Work[Task]) -> Done | None:
        """Put a job of a held site onto its lane's held topic; None where it may go on. No attempt counts.

        What comes from there has its turn: the valve let it through.
        """
        state = work.job.state
        if not isinstance(work.payload, FetchTask) or work.record.topic in _HELD:
            return None
        if not self.valve.holds(state.site):
            return None
        job = Outgoing(
            topic=HELD[state.lane], site=state.site, value=work.job.original, headers=job_headers(state)
        )
        return Done((job,))

    def _late(self, work: Work[Task], job: UrlJob) -> Dead | None:
        """Judge the job's deadline by the broker's clock (T1)."""
        age_s = self._age_s(work.job.state)
        if age_s <= job.deadline:
            return None
        return Dead(
            reason=Reason.DEADLINE,
            error_class=ErrorClass.REFUSED,
            message=f"The job's deadline of {job.deadline:g} s has passed; it is {age_s:.0f} s old.",
            state=work.job.state,
        )

    def _of_run(self, work: Work[Task]) -> Dead | Defer | None:
        """Return what becomes of a job because of its run; None where it goes on."""
        state, task = work.job.state, work.payload
        return run_rules.judge(
            self._watch.runs.get(state.run),
            state,
            self._broker_clock.now_ms(),
            may_wait=isinstance(task, FetchTask),
        )

    def _age_s(self, state: JobState) -> float:
        return (self._broker_clock.now_ms() - state.accepted_at_ms) / 1000

    async def _fetch(self, work: Work[Task], task: FetchTask) -> tuple[Outcome, Response | None]:
        state = work.job.state
        turn = await self._limiter.enter(state.site, turns.claim_of(state, task.job, self._age_s(state)))
        if not isinstance(turn, float):
            return turns.missed(turn, task.job, state), None
        way = self._proxies.choose(state.site, task.job.proxy, state.failed_proxy)
        if isinstance(way, NoWay):
            self._limiter.leave(state.site, turn)
            return ways.missed(way, state), None
        try:
            request = ways.through(requests.of_job(task.job, task.url, self._user_agent), way)
            response = await self._client.send(request)
        except ExchangeError as error:
            return self._failed(error, task.job, state, way), None
        finally:
            self._limiter.leave(state.site, turn)
        outcome = self._judged(work, task.job, task.url, request, response, resumed=False)
        return self._proxies.settled(way, outcome, state, failed=response.status == 407), response

    def _failed(self, error: ExchangeError, job: UrlJob, state: JobState, way: Proxy | None) -> Outcome:
        """Return the outcome of a request without an answer; its proxy may be to blame."""
        outcome = classify.of_error(error, job.max_retries, state)
        of_proxy = isinstance(error, NetworkFailedError) and error.of_proxy
        return self._proxies.settled(way, outcome, state, failed=of_proxy)

    async def _resume(self, work: Work[Task], task: ResumeTask) -> tuple[Outcome, Response | None]:
        """Hand the token in and judge what comes back. Nothing here waits for a turn (C3)."""
        solution = task.solution
        user_agent = solution.user_agent or solution.request.identity.user_agent
        submit = requests.of_answer(task.job, task.url, solution, user_agent)
        if solution.status is not SolutionStatus.SOLVED or submit is None:
            now_ms = self._broker_clock.now_ms()
            return self._challenges.unsolved(work, task.job, solution, now_ms), None
        if self._token_left_s(work.record, solution) < self._submit_margin_s:
            return self._solve_failed(work, task.job, "The token died before it could be used."), None
        state = work.job.state
        way = self._proxies.again(state.site, task.job.proxy, solution.request.identity.proxy_id)
        if isinstance(way, NoWay):
            return ways.missed(way, state), None
        try:
            outcome, response = await self._hand_in(work, task, ways.through(submit, way), user_agent)
        except ExchangeError as error:
            return self._failed(error, task.job, state, way), None
        return self._proxies.settled(way, outcome, state, failed=response.status == 407), response

    async def _hand_in(
        self, work: Work[Task], task: ResumeTask, submit: Request, user_agent: str
    ) -> tuple[Outcome, Response]:
        response = await self._client.send(submit)
        refused = self._refused_token(work, task, submit, response)
        if refused is not None:
            return refused, response
        if _asks_again(task, submit, response):
            return await self._ask_again(work, task, submit, response, user_agent)
        return self._judged(work, task.job, task.url, submit, response, resumed=True), response

    def _token_left_s(self, record: Inbound, solution: CaptchaSolution) -> float:
        """Return what is left of a token's life, counted from its record's append time (T1)."""
        return solution.lifetime_s - (self._broker_clock.now_ms() - record.timestamp_ms) / 1000

    def _refused_token(
        self, work: Work[Task], task: ResumeTask, submit: Request, response: Response
    ) -> Retry | None:
        """Return the retry where the site did not take the token: the same challenge again, or a refusal."""
        again = self._detect(response)
        if isinstance(again, Block):
            return None
        if again is not None:
            if same(again, task.solution.request.challenge):
                return self._solve_failed(work, task.job, "The site refused the token.", response)
            return None
        if response.redirects == 0 and submit.method == "POST" and _refuses(task, response):
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
        response = await self._client.send(request)
        challenge = self._detect(response)
        if not isinstance(challenge, Challenge) or not same(challenge, task.solution.request.challenge):
            outcome = self._judged(work, task.job, task.url, request, response, resumed=True)
            return outcome, response
        if task.job.method.upper() != "GET":
            return self._solve_failed(work, task.job, "The token did not open the page.", response), response
        return self._judged(work, task.job, task.url, submit, answer, resumed=True), answer

    def _judged(
        self, work: Work[Task], job: UrlJob, url: URL, request: Request, response: Response, *, resumed: bool
    ) -> Outcome:
        """Return the outcome of an answer: a challenge, a failure, or the page."""
        now_ms = self._broker_clock.now_ms()
        challenge = self._detect(response)
        if isinstance(challenge, Block):
            return classify.blocked(challenge, response, job.max_retries, work.job.state)
        if challenge is not None:
            user_agent = request.headers.get("User-Agent", self._user_agent)
            met = self._challenges.met(
                work,
                job,
                challenge,
                response,
                user_agent,
                resumed=resumed,
                now_ms=now_ms,
                run=self._watch.runs.get(work.job.state.run),
            )
            return self._unless_shed(work, met, response, resumed=resumed)
        failed = classify.failure(response, job.max_retries, work.job.state)
        if failed is not None:
            return failed
        if not resumed:
            self.valve.answered(work.job.state.site, challenged=False)
        self.valve.sent(Topic.PAGES)
        return Done((self._writer.page(work.job, job, response, url, fetched_at_ms=now_ms),))

    def _unless_shed(self, work: Work[Task], met: Outcome, response: Response, *, resumed: bool) -> Outcome:
        """Return what becomes of a job that met a challenge, unless its request is one too many."""
        if not isinstance(met, Done):
            return met
        state = work.job.state
        if not resumed:
            self.valve.answered(state.site, challenged=True)
        if self.valve.sheds(state.lane):
            return self._challenges.shed(state, response)
        self.valve.sent(Topic.CAPTCHA_REQUESTS)
        return met

    def _detect(self, response: Response) -> Finding | None:
        return self._detector.find(
            response.body,
            status=response.status,
            headers=response.headers,
            url=response.url,
            cookies=cookies.by_name(response.jar),
        )

    @staticmethod
    def _solve_failed(work: Work[Task], job: UrlJob, message: str, response: Response | None = None) -> Retry:
        return classify.solve_failed(work.job.state, job.max_retries, message, response)

    def _tell(self, work: Work[Task], outcome: str, response: Response | None) -> None:
        state, task = work.job.state, work.payload
        self._emit(
            FetchDone(
                run=state.run,
                id=state.id,
                site=state.site,
                place=f"{task.url.origin()}{task.url.raw_path}",
                outcome=outcome,
                status=None if response is None else response.status,
                elapsed_ms=None if response is None else response.elapsed_ms,
                wire_bytes=None if response is None else response.wire_bytes,
                body_bytes=None if response is None else len(response.body),
                redirects=None if response is None else response.redirects,
                hop=state.hop,
                resumed=isinstance(task, ResumeTask),
                proxy=None if response is None else response.proxy_id,
            )
        )

    def _report_unknown(self, field: str, job_id: str) -> None:
        """Tell of an unknown field once; of no more than a hundred of them."""
        if field not in self._unknown_fields and len(self._unknown_fields) < _REMEMBERED_FIELDS:
            self._unknown_fields.add(field)
            self._emit(UnknownFieldIgnored(field=field, example_id=job_id))


def _refuses(task: ResumeTask, answer: Response) -> bool:
    """Say whether the answer to a token's form is no page, but a refusal.

    At the page's own address a 404 may well be the page; at the form's it is the form that is not there.
    """
    if answer.status in _TOKEN_REFUSED:
        return True
    return _elsewhere(task, answer) and 400 <= answer.status < 500 and answer.status != 429


def _elsewhere(task: ResumeTask, answer: Response) -> bool:
    """Say whether an answer stands elsewhere than the job's URL, its query aside."""
    return answer.url.with_query(None) != task.url.with_query(None)


def _asks_again(task: ResumeTask, submit: Request, answer: Response) -> bool:
    """Say whether the form's answer is something else than the page, so that the page is asked for again.

    It is where the answer stands elsewhere than the job's URL (its query aside) and brought cookies, as
    sites do that say "ok" and let the visitor in by a cookie. A job that is not a GET is asked again
    whenever cookies came: what answers a form cannot be what answers a POST of the job's.
    """
    if answer.jar == submit.jar:
        return False
    return _elsewhere(task, answer) or task.job.method.upper() != "GET"


def _name(outcome: Done | Retry | Dead) -> str:
    match outcome:
        case Done(outgoing=(Outgoing(topic=Topic.PAGES),)):
            return "page"
        case Done(outgoing=(Outgoing(topic=topic),)) if topic in _HELD:
            return "held"
        case Done():
            return "challenge"
        case Retry():
            return outcome.error_class
        case Dead():
            return outcome.reason
