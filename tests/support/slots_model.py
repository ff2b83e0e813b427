"""A slow site's jobs through the limiter, the slots and the delay classes, in simulated time.

The deciding parts are the real ones: ``SiteLimits``, ``delays``, ``Claim``. What surrounds them is as simple
as it may be: one fetcher that needs ``op_s`` for each record it touches, delay topics that hand out their
heads when these are due, a site that answers after ``service_s``. Records on a topic stay in order.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from itertools import islice

import msgspec
from tidegate.consume import delays
from tidegate.records import Lane
from tidegate.topics import DELAYS, Topic
from tidegate_fetcher.site_limits import Go, SiteLimits
from tidegate_fetcher.site_slots import Claim, Later, Never, SiteRule

SITE = "slow.example"
_LAST_REST_S = 2.0


class Job(msgspec.Struct):
    """One job: when it was accepted and is due, how often it was booked and produced again."""

    number: int
    accepted: float
    lane: Lane = Lane.NORMAL
    due: float = 0.0
    bookings: int = 0
    produced: int = 0
    rank: int = 0
    started: float = math.inf


class Outcome(msgspec.Struct):
    """What became of all jobs: when each turn was taken, in order, and who ended without one."""

    jobs: list[Job]
    served: list[float]
    dead: list[Job]
    ended: float = 0.0

    @property
    def most(self) -> int:
        """How often the unluckiest job was produced again."""
        return max(job.produced for job in self.jobs)

    @property
    def mean(self) -> float:
        """How often jobs were produced again, on average."""
        return sum(job.produced for job in self.jobs) / len(self.jobs)


class SlotsModel:
    """Runs one site.

    ``restarts`` are spans (from, to) in seconds in which no fetcher runs. The next one knows nothing but what
    the ends of the delay topics tell it, ``read_back`` records of each; 0 is one that does not look.
    """

    def __init__(
        self,
        rule: SiteRule,
        *,
        wait_s: float = 2.0,
        op_s: float = 0.0004,
        service_s: Callable[[float], float] = lambda _now: 0.1,
        deadline_s: float = math.inf,
        restarts: tuple[tuple[float, float], ...] = (),
        read_back: int = 200,
    ) -> None:
        self._rule = rule
        self._wait_s = wait_s
        self._op_s = op_s
        self._service_s = service_s
        self._deadline_s = deadline_s
        self._restarts = deque(restarts)
        self._read_back = read_back
        self._limits = self._fresh()
        self._topics: dict[Topic, deque[tuple[float, Job]]] = {topic: deque() for topic in DELAYS}
        self._released = dict.fromkeys(DELAYS, 0.0)
        self._in_hand: list[tuple[int, int, float, Job]] = []
        self._events: list[tuple[float, int, str, Job]] = []
        self._count = 0
        self._now = 0.0
        self.outcome = Outcome([], [], [])

    def _fresh(self) -> SiteLimits:
        return SiteLimits(lambda _site: self._rule, wait_s=self._wait_s)

    def run(self, jobs: list[Job]) -> Outcome:
        """Take jobs in the order in which they were accepted until all have an outcome."""
        self.outcome.jobs = jobs
        intake = deque(jobs)
        while True:
            due, topic = self._next_due()
            event = self._events[0][0] if self._events else math.inf
            new = max(intake[0].accepted, self._now) if intake else math.inf
            at = min(due, event, new)
            if at == math.inf:
                break
            if self._restarts and max(at, self._now) >= self._restarts[0][0]:
                self._restart()
                continue
            self._now = max(self._now, at)
            if event <= at:
                self._happen()
            elif due <= self._now and topic is not None:
                self._release(topic)
            else:
                self._now += self._op_s
                self._ask(intake.popleft())
        self.outcome.ended = self._now
        return self.outcome

    def _next_due(self) -> tuple[float, Topic | None]:
        best, found = math.inf, None
        for topic, queue in self._topics.items():
            if queue and queue[0][0] < best:
                best, found = queue[0][0], topic
        return best, found

    def _release(self, topic: Topic) -> None:
        _, job = self._topics[topic].popleft()
        self._now += self._op_s
        left_s = job.due - self._now
        if left_s > 0.05:
            self._produce(job, left_s)
        else:
            self._ask(job)

    def _produce(self, job: Job, wait_s: float) -> None:
        """Append to a delay topic: what ``settling.delayed``, ``delays.due_ms`` and ``lanes`` make of it."""
        topic = delays.topic_for(wait_s)
        job.produced += 1
        due = self._now + DELAYS[topic] + delays.jitter_ms(str(job.number)) / 1000
        rest = job.due - due
        if 0.05 < rest < _LAST_REST_S:
            due += rest
        # The head holds up what is behind it.
        self._released[topic] = due = max(due, self._released[topic])
        self._topics[topic].append((due, job))

    def _ask(self, job: Job) -> None:
        claim = self._claim(job)
        if claim.left_s < 0:
            self.outcome.dead.append(job)
            return
        job.rank = claim.rank
        answer = self._limits.ask(SITE, claim, self._now)
        if isinstance(answer, Go):
            self._start(job)
        elif isinstance(answer, Later | Never):
            self._put_off(job, answer)
        else:
            self._count += 1
            heapq.heappush(self._in_hand, (job.rank, self._count, self._now, job))
            self._at(self._now + self._wait_s, "expire", job)
            self._wake()

    def _claim(self, job: Job) -> Claim:
        age = self._now - job.accepted
        return Claim(lane=job.lane, came_before=job.bookings, age_s=age, left_s=self._deadline_s - age)

    def _start(self, job: Job) -> None:
        job.started = self._now
        self.outcome.served.append(self._now)
        self._at(self._now + self._service_s(self._now), "leave", job)

    def _put_off(self, job: Job, answer: Later | Never) -> None:
        if isinstance(answer, Never):
            self.outcome.dead.append(job)
            return
        job.bookings += 1
        job.due = self._now + answer.delay_s
        self._produce(job, answer.delay_s)

    def _at(self, when: float, what: str, job: Job) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, job))

    def _happen(self) -> None:
        _, _, what, job = heapq.heappop(self._events)
        if what == "leave":
            self._limits.leave(SITE, job.started, self._now)
        elif what == "expire":
            waiting = next((each for each in self._in_hand if each[3] is job), None)
            if waiting is None or waiting[2] + self._wait_s > self._now + 1e-9:
                return
            self._in_hand.remove(waiting)
            heapq.heapify(self._in_hand)
            self._put_off(job, self._limits.give_up(SITE, self._claim(job), self._now))
        self._wake()

    def _wake(self) -> None:
        while self._in_hand:
            job = self._in_hand[0][3]
            wait_s = self._limits.promote(SITE, self._claim(job), self._now)
            if wait_s is None:
                return
            if wait_s > 0:
                self._at(self._now + wait_s, "wake", job)
                return
            heapq.heappop(self._in_hand)
            self._start(job)

    def _restart(self) -> None:
        """End the fetcher and start another one: what was in hand is read again, what was known is lost."""
        _, until = self._restarts.popleft()
        self._now = max(self._now, until)
        back = [each[3] for each in sorted(self._in_hand)]
        self._in_hand.clear()
        self._events.clear()
        self._limits = self._fresh()
        for queue in self._topics.values():
            for _, job in islice(reversed(queue), self._read_back):
                self._limits.learn(SITE, job.lane, job.due, self._now)
        for job in back:
            self._ask(job)


def hops(wait_s: float) -> int:
    """Return how many records a wait of so many seconds takes: the real choice of classes, without jitter."""
    count = 0
    left = wait_s
    while left > 0.05:
        count += 1
        left -= DELAYS[delays.topic_for(left)]
        if left < _LAST_REST_S:
            break
    return count
