"""A day of the pipeline under the autoscaler, simulated: rates, lag, challenges, pods, rebalances. Pure.

Three queues in a row (intake, captcha requests, pages) and the answers' way back, each worked on by the pods
of its service, whose count the chart's policy decides. Coarse on purpose: rates are means, and jobs have no
site. It leaves out what makes life easier: nothing is put aside for challenge-prone sites, nothing is
shed, no request expires. So the walls shut later and queues grow longer here than they do.
"""

import random
from collections import deque
from collections.abc import Iterable
from itertools import pairwise

import msgspec
from support.scaling_hpa import SYNC_S, Autoscaler
from support.scaling_policy import Policy
from tidegate.flow.gate import DEFAULTS, Marks
from tidegate.topics import Topic

STEP_S = 5.0
HOUR_S = 3600.0
_RATE_WINDOW = int(300 / STEP_S)
_WORK_WINDOW = int(120 / STEP_S)
# How old a scraped figure may be when the formula reads it.
_SCRAPED = int(30 / STEP_S)

Span = tuple[float, float, float]


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What happens in a day. Spans are (hour, minutes, value).

    ``steady`` and ``bursts`` are URLs a second; ``challenged`` and ``storms`` shares of answers that are
    challenges; in ``outages`` the storer writes the given share of what it could.
    """

    steady: float
    bursts: tuple[Span, ...] = ()
    challenged: float = 0.01
    storms: tuple[Span, ...] = ()
    outages: tuple[Span, ...] = ()

    def arrivals(self, now: float) -> float:
        """Return URLs a second."""
        return _value(self.bursts, now, self.steady)

    def challenges(self, now: float) -> float:
        """Return the share of challenges."""
        return _value(self.storms, now, self.challenged)

    def storing(self, now: float) -> float:
        """Return the share of the storer's rate that ClickHouse takes."""
        return _value(self.outages, now, 1.0)


def _value(spans: Iterable[Span], now: float, otherwise: float) -> float:
    for hour, minutes, value in spans:
        if 0 <= now - hour * HOUR_S < minutes * 60:
            return value
    return otherwise


class Pods(msgspec.Struct, frozen=True, kw_only=True):
    """A service's pods. ``rate`` is records a second of one, ``window`` those it has in hand at most.

    A pod that comes is a member after ``startup_s`` (the least and the most), and every change of members
    stops the whole group for ``pause_s``, the most that a rebalance may take.
    """

    rate: float
    window: float
    startup_s: tuple[float, float] = (15.0, 45.0)
    pause_s: float = 10.0


# A fetcher has 128 pages under way, at 1.28 s each; a solver 50 tasks, at fifteen seconds each.
PODS = {
    "fetcher": Pods(rate=100.0, window=128.0),
    "solver": Pods(rate=50 / 15, window=50.0),
    "storer": Pods(rate=800.0, window=2048.0),
}


class Group:
    """The members of one service: what they can do in a step, and how their count follows what is wanted."""

    def __init__(self, pods: Pods, members: int, random_: random.Random) -> None:
        self._pods = pods
        self._random = random_
        self.members = members
        self._starting: list[float] = []
        self._paused_until = 0.0

    def follow(self, now: float, wanted: int) -> None:
        """Start and stop pods; what had not started yet goes first."""
        if self.members == wanted and not self._starting:
            return
        while self.members + len(self._starting) < wanted:
            self._starting.append(now + self._random.uniform(*self._pods.startup_s))
        while self._starting and self.members + len(self._starting) > wanted:
            self._starting.pop()
        left = max(0, self.members - wanted)
        joined = sum(1 for at in self._starting if at <= now)
        self._starting = [at for at in self._starting if at > now]
        if left or joined:
            self._paused_until = now + self._pods.pause_s
        self.members += joined - left

    def capacity(self, now: float) -> float:
        """Return the records that can be done in a step."""
        return 0.0 if now < self._paused_until else self.members * self._pods.rate * STEP_S


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was there at a moment; lags in records, by service."""

    at_s: float
    arrivals: float
    lag: dict[str, float]
    wanted: dict[str, int]
    captcha: float
    held: bool
    brake: bool


def simulate(day: Day, policies: dict[str, Policy], *, hours: float = 24, seed: int = 1) -> list[Sample]:
    """Return a sample for every sync of the autoscaler. One seed gives one day."""
    return _Simulation(day, policies, random.Random(seed)).run(hours * HOUR_S)


class _Sliding:
    """A sum over the latest values."""

    def __init__(self, length: int) -> None:
        self._values = deque([0.0] * length, maxlen=length)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.sum += value - self._values[0]
        self._values.append(value)


class _Simulation:
    def __init__(self, day: Day, policies: dict[str, Policy], random_: random.Random) -> None:
        self._day = day
        self._policies = policies
        self._scalers = {name: Autoscaler(policy) for name, policy in policies.items()}
        self._metrics = {name: policy.metric() for name, policy in policies.items()}
        self._groups = {
            name: Group(PODS[name], policies[name].minimum, random_)
            for name in ("fetcher", "solver", "storer")
        }
        self._intake = self._solutions = self._requests = self._pages = 0.0
        self._done = dict.fromkeys(self._groups, 0.0)
        self._stored = _Sliding(_WORK_WINDOW)
        self._challenged, self._answered = _Sliding(_RATE_WINDOW), _Sliding(_RATE_WINDOW)
        self._seen: deque[tuple[float, int]] = deque([(0.0, 0)] * _SCRAPED, maxlen=_SCRAPED)
        self._share = 1.0

    def run(self, until_s: float) -> list[Sample]:
        """Go on until then."""
        samples = []
        for step in range(int(until_s / STEP_S)):
            now = step * STEP_S
            for name, group in self._groups.items():
                group.follow(now, self._scalers[name].wanted)
            self._work(now)
            self._seen.append((float(self._share < 0.5), self._scalers["fetcher"].wanted))
            if now % SYNC_S == 0:
                samples.append(self._scale(now))
        return samples

    def _work(self, now: float) -> None:
        day, groups = self._day, self._groups
        self._intake += day.arrivals(now) * STEP_S
        self._share = min(_share(Topic.PAGES, self._pages), _share(Topic.CAPTCHA_REQUESTS, self._requests))
        room = groups["fetcher"].capacity(now)
        resumed = min(self._solutions, room)
        fetched = min(self._intake, (room - resumed) * self._share)
        challenged = fetched * day.challenges(now)
        solved = min(self._requests, groups["solver"].capacity(now))
        stored = min(self._pages, groups["storer"].capacity(now) * day.storing(now))
        self._solutions += solved - resumed
        self._intake -= fetched
        self._requests += challenged - solved
        self._pages += fetched - challenged + resumed - stored
        self._challenged.add(challenged)
        self._answered.add(fetched + resumed)
        self._stored.add(stored)
        self._done = {"fetcher": fetched + resumed, "solver": solved, "storer": stored}

    def _scale(self, now: float) -> Sample:
        captcha = self._challenged.sum / max(self._answered.sum, 0.1 * STEP_S * _RATE_WINDOW)
        held, wanted = self._seen[0]
        lag = {
            "fetcher": self._intake + self._solutions + self._done["fetcher"],
            "solver": self._requests + self._done["solver"],
            "storer": self._pages + self._done["storer"],
        }  # what was done lately is committed a moment later, and until then it is lag
        work = {name: self._work_of(name) for name in lag}
        brake = False
        for name, policy in self._policies.items():
            topics = dict.fromkeys((f"lag_{topic.replace('-', '_')}" for topic in policy.topics), 0.0)
            topics[next(iter(topics))] = lag[name]
            metric = self._metrics[name](
                {**topics, "captcha": captcha, "held": held, "wanted": wanted, "work": work[name]}
            )
            brake = brake or (policy.braked and (captcha > policy.captcha_mark or held > 0))
            if now % policy.polling_s == 0:
                self._scalers[name].poll(now, metric)
            self._scalers[name].sync(now, metric)
        return Sample(
            at_s=now,
            arrivals=self._day.arrivals(now),
            lag=lag,
            wanted={name: scaler.wanted for name, scaler in self._scalers.items()},
            captcha=captcha,
            held=held > 0,
            brake=brake,
        )

    def _work_of(self, name: str) -> float:
        """Return a service's work as Prometheus knows it: records in hand, of the storer records a second."""
        if name == "storer":
            return self._stored.sum / (_WORK_WINDOW * STEP_S)
        pods = PODS[name]
        return self._done[name] / STEP_S * pods.window / pods.rate


def _share(topic: Topic, load: float) -> float:
    """Return what the gate lets pass, by its marks in records for sites that are not prone to challenges."""
    marks: Marks = DEFAULTS[topic].clean.records
    return min(1.0, max(0.0, (marks.high - load) / (marks.high - marks.low)))


def drained_after(samples: list[Sample], from_s: float, *, below: float) -> float:
    """Return the seconds until the fetchers' lag is below a mark. Raises StopIteration where it never is."""
    return next(each.at_s - from_s for each in samples if each.at_s >= from_s and each.lag["fetcher"] < below)


def turns(samples: list[Sample], service: str) -> list[tuple[float, int]]:
    """Return the moments at which the count changed, and by how much."""
    return [
        (after.at_s, after.wanted[service] - before.wanted[service])
        for before, after in pairwise(samples)
        if after.wanted[service] != before.wanted[service]
    ]
