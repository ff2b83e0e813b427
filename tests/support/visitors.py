"""A site with challenges, a solver and fetchers in simulated time, around the real ``Identities``."""

import heapq
import math
from collections.abc import Callable
from itertools import count
from random import Random

from multidict import CIMultiDict
from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    Challenge,
    Cookie,
    Identity,
    SolutionStatus,
)
from tidegate.events import Event
from tidegate.outcome import Defer, Done, ErrorClass, Outcome, Outgoing, Retry
from tidegate.records import ChallengeKind, Inbound, JobState, Origin, UrlJob
from tidegate.topics import Topic
from tidegate_fetcher.cookies import Jar
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.identities import Identities
from tidegate_fetcher.session_pool import SessionPool
from tidegate_fetcher.sessions import SessionPolicy, Visit
from tidegate_fetcher.single_flight import FlightPolicy, Flights
from yarl import URL

SITE = "shop.example"
PAGE = Done((Outgoing(topic=Topic.PAGES, site=SITE, value=b""),))
REQUEST = Done((Outgoing(topic=Topic.CAPTCHA_REQUESTS, site=SITE, value=b""),))
REFUSED = Retry(error_class=ErrorClass.SOLVE_FAILED, message="refused")


def identities(events: list[Event] | None = None, *, most: int = 100, lease_s: float = 700.0) -> Identities:
    """Return what a fetcher builds."""
    return Identities(
        SessionPool(most=most),
        Flights(FlightPolicy(lease_s=lease_s)),
        SessionPolicy(),
        user_agent="Tide/1",
        emit=(events if events is not None else []).append,
    )


def state(job: str, site: str = SITE) -> JobState:
    """Return the state of a job."""
    origin = Origin(topic="urls", partition=0, offset=0, timestamp_ms=0)
    return JobState(run="r", id=job, site=site, origin=origin, accepted_at_ms=0)


def response(jar: Jar = (), **fields: object) -> Response:
    """Return an answer; what is in it is told otherwise."""
    return Response(
        url=URL(f"http://{SITE}/"),
        status=200,
        headers=CIMultiDict(),
        body=b"",
        jar=jar,
        redirects=0,
        elapsed_ms=1,
        wire_bytes=0,
        **fields,  # type: ignore[arg-type]
    )


def challenge(kind: ChallengeKind) -> Challenge:
    """Return a challenge of a kind."""
    return Challenge(kind=kind, page_url=f"http://{SITE}/", params={})


def solution(of: JobState, kind: ChallengeKind, visit: Visit, jar: Jar = ()) -> CaptchaSolution:
    """Return the answer to the request of a job."""
    return CaptchaSolution(
        status=SolutionStatus.SOLVED,
        token="t",
        request=CaptchaRequest(
            request_id=of.id,
            challenge=challenge(kind),
            identity=Identity(user_agent="Tide/1", cookies=jar, id=visit.identity),
            lifetime_s=600.0,
            original=b"",
            state=of,
        ),
    )


class World:
    """Jobs of one site, some of them protected; ``grace`` is how many further pages a solve opens.

    What goes to ``sessions`` is kept as a broker keeps it, and is all that a new owner knows after ``kill``.
    """

    def __init__(
        self, seed: int, *, jobs: int, protected: float, kind: ChallengeKind, grace: float, concurrency: int
    ) -> None:
        self.random = Random(seed)
        self.kind = kind
        self.grace = grace
        self.now_ms = 1_000_000
        self.ours = identities()
        self.log: dict[bytes, Inbound] = {}
        self.protected = {f"j{n}" for n in range(jobs) if self.random.random() < protected}
        self.pages: set[str] = set()
        self.views = 0
        self.solves = 0
        self.asked = 0
        self.deferrals = 0
        self.most_solving = 0
        self._solving: set[str] = set()
        self._epoch = 0
        self._waiting = [f"j{n}" for n in range(jobs)]
        self._running: set[str] = set()
        self._concurrency = concurrency
        self._left: dict[str, float] = {}
        self._names = count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._number = count()

    def run(self, kills: tuple[int, ...] = ()) -> None:
        """Run to the end; kill the owner at these moments, in milliseconds."""
        for at_ms in kills:
            self._at(at_ms, self.kill)
        self._fill()
        for _ in range(200_000):
            if not self._events:
                return
            self.now_ms, _, act = heapq.heappop(self._events)
            act()
        raise AssertionError("it never ends")

    def kill(self) -> None:
        """Lose everything that is in memory; what was not committed is done again by the next owner."""
        self._epoch += 1
        self.ours = identities()
        for record in self.log.values():
            self.ours.learn(record, self.now_ms)
        again, self._running = sorted(self._running), set()
        self._waiting = again + self._waiting
        self._fill()

    def _at(self, delay_ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ms + int(delay_ms), next(self._number), act))

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._concurrency:
            job = self._waiting.pop(0)
            self._running.add(job)
            self._begin(job)

    def _begin(self, job: str) -> None:
        of, task, epoch = state(job), UrlJob(url=f"http://{SITE}/{job}"), self._epoch
        held = self.ours.held(of, task, self.now_ms, self.now_ms / 1000 - 1000)
        if held is not None:
            self._end(job, held)
            return
        visit = self.ours.visit(of, task, self.now_ms)

        def arrives() -> None:
            self.asked += 1
            opened = job not in self.protected or self._admits(visit.jar)
            jar = visit.jar or self._new_jar()

            def answered() -> None:
                if epoch == self._epoch:
                    self._judge(job, visit, jar, opened=opened)

            self._at(self.random.uniform(5, 200), answered)

        self._at(self.random.uniform(5, 200), arrives)

    def _judge(self, job: str, visit: Visit, jar: Jar, *, opened: bool) -> None:
        of, now_ms = state(job), self.now_ms
        if opened:
            self.ours.page(visit, of, response(visit.jar), now_ms)
            self.pages.add(job)
            self._end(job, PAGE)
            return
        met = challenge(self.kind)
        self.ours.challenged(visit, of, met, now_ms)
        instead = self.ours.instead(visit, of, met, now_ms, now_ms / 1000 - 1000)
        if instead is None:
            self.ours.buys(visit.identity, of, met, now_ms)
            self._buy(job, visit, jar)
        self._end(job, REQUEST if instead is None else instead)

    def _buy(self, job: str, visit: Visit, jar: Jar) -> None:
        if job in self._solving:
            return  # the same request id: the journal answers it once (M4)
        self.solves += 1
        self._solving.add(job)
        self.most_solving = max(self.most_solving, len(self._solving))
        self._at(self.random.uniform(500, 20_000), lambda: self._hand_in(job, visit, jar))

    def _hand_in(self, job: str, visit: Visit, jar: Jar) -> None:
        epoch = self._epoch

        def taken() -> None:
            if epoch != self._epoch:
                self._at(1_000, lambda: self._hand_in(job, visit, jar))  # the next owner's
                return
            self._solving.discard(job)
            self.views += job not in self.pages
            self._left[jar[0].value] = self.grace
            of = state(job)
            answer = solution(of, self.kind, visit, jar)
            self.ours.answered(of, answer, PAGE, response(jar), self.now_ms)
            self.pages.add(job)
            self._publish(PAGE)

        self._at(self.random.uniform(5, 200), taken)

    def _admits(self, jar: Jar) -> bool:
        left = self._left.get(jar[0].value, 0) if jar else 0
        if left <= 0:
            return False
        self._left[jar[0].value] = left - 1
        self.views += 1
        return True

    def _new_jar(self) -> Jar:
        return (Cookie(name="sid", value=f"s{next(self._names)}", domain=SITE),)

    def _end(self, job: str, outcome: Outcome) -> None:
        self.ours.ended(state(job), outcome)
        self._publish(outcome)
        self._running.discard(job)
        if isinstance(outcome, Defer):
            self.deferrals += 1

            def back() -> None:
                self._waiting.append(job)
                self._fill()

            self._at(outcome.delay_s * 1000 + self.random.uniform(0, 1000), back)
        self._fill()

    def _publish(self, outcome: Outcome) -> None:
        outcome = self.ours.written(outcome, self.now_ms)
        records = outcome.outgoing if isinstance(outcome, Done) else outcome.besides
        for record in records:
            if record.topic != Topic.SESSIONS:
                continue
            assert record.key is not None
            if record.value is None:
                self.log.pop(record.key, None)
                continue
            self.log[record.key] = Inbound(
                topic=record.topic,
                partition=0,
                offset=0,
                timestamp_ms=self.now_ms,
                key=record.key,
                value=record.value,
                headers={},
            )

    @property
    def fair_solves(self) -> int:
        """The pages behind the challenge, by what one solve opens."""
        if self.grace == math.inf:
            return min(1, self.views)
        return -(-self.views // (1 + int(self.grace)))
