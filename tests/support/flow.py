"""Simulated rivers for the walls of flow control: a source, a wall, a peer, and a clock that is a number.

A scenario is a TOML file in ``tests/scenario``: what kind of river, its demand and its peer over time, the
policies where they are not the defaults, and the ranges that are accepted. Numbers that change over time
are steps: ``[[0, 100], [60, 5]]`` is 100 from the start and 5 from the 60th second on.
"""

import heapq
import itertools
import math
import tomllib
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from support import site_river
from tidegate.clock import seeded_random
from tidegate.flow.adaptive_limit import AdaptiveLimit, Ending, LimitPolicy, Place
from tidegate.flow.breaker import Breaker, BreakerPolicy, BreakerState, Pass
from tidegate.flow.gate import DEFAULTS, Gate, GatePolicy, GateState, SiteClass
from tidegate.flow.lag import LagMeter, Load
from tidegate.flow.shedding import Shedding, SheddingPolicy
from tidegate.flow.token_bucket import BucketPolicy, TokenBucket
from tidegate.flow.worker_scaling import ScalingPolicy, WorkerScaling
from tidegate.topics import Topic

P = TypeVar("P", bound=msgspec.Struct)
Steps: TypeAlias = list[tuple[float, float]]
Series: TypeAlias = dict[str, list[float]]

_TICK_S = 0.1
# What waits before the walls is bounded, as the window of a consumer is; the rest is held back.
_WINDOW = 256.0


class Accept(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is accepted of one measure, sampled each second, from ``from_s`` to ``to_s``.

    ``min`` and ``max`` bound every sample, ``mean_min`` and ``mean_max`` their mean; ``swing`` is the
    largest distance from the mean, as a part of it; ``moves`` the most changes from sample to sample.
    """

    measure: str
    from_s: int
    to_s: int
    min: float = -math.inf
    max: float = math.inf
    mean_min: float = -math.inf
    mean_max: float = math.inf
    swing: float = math.inf
    moves: float = math.inf

    def complaints(self, series: Series) -> list[str]:
        """Return what is not as it should be."""
        seen = series[self.measure][self.from_s : self.to_s]
        assert len(seen) == self.to_s - self.from_s, "the scenario is shorter than what it accepts"
        mean = sum(seen) / len(seen)
        swing = max(abs(one - mean) for one in seen) / mean if mean else 0.0
        moves = sum(a != b for a, b in itertools.pairwise(seen))
        checks = {
            f"min {min(seen):g}": min(seen) >= self.min,
            f"max {max(seen):g}": max(seen) <= self.max,
            f"mean {mean:g}": self.mean_min <= mean <= self.mean_max,
            f"swing {swing:.3f}": swing <= self.swing,
            f"moves {moves}": moves <= self.moves,
        }
        where = f"{self.measure} from {self.from_s} to {self.to_s} s"
        return [f"{where}: {what} in {seen}" for what, held in checks.items() if not held]


class Scenario(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file. ``river`` names the simulation, the tables are its own."""

    about: str
    river: str
    seconds: int
    accept: list[Accept]
    seed: int = 1
    source: dict[str, Any] = {}
    peer: dict[str, Any] = {}
    policies: dict[str, Any] = {}


def load(path: Path) -> Scenario:
    """Read a scenario."""
    return msgspec.convert(tomllib.loads(path.read_text()), Scenario)


def run(scenario: Scenario) -> Series:
    """Play a scenario; return every measure, a sample for each second."""
    return RIVERS[scenario.river](scenario)


def _policy(scenario: Scenario, name: str, kind: type[P]) -> P:
    table = scenario.policies.get(name, {})
    unknown = set(table) - set(kind.__struct_fields__)
    assert not unknown, f"{name} has no {unknown}"
    return msgspec.convert(table, kind)


def _at(steps: Steps, now: float) -> float:
    return [value for since, value in steps if since <= now][-1]


class _Source(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    per_s: Steps


class _Service(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A solving service: workers that take ``latency_s`` each, with lognormal ``noise``.

    More than the workers can take waits there (``over = "queue"``) or is refused (``"refuse"``). In an
    ``outage`` (from, to) calls fail at once (``"refuse"``) or after 30 s (``"hang"``), and what was begun
    before ends after it.
    """

    capacity_per_s: Steps
    latency_s: Steps
    noise: float = 0.0
    over: str = "queue"
    outages: list[tuple[float, float]] = []
    outage: str = "refuse"


class _Provider:
    """The service and the three walls before it."""

    def __init__(self, scenario: Scenario, peer: _Service) -> None:
        self.peer = peer
        self.random = seeded_random(scenario.seed)
        rate = {"rate_per_s": 100.0, "burst": 100.0}
        self.bucket = TokenBucket(BucketPolicy(**rate | scenario.policies.get("bucket", {})), 0.0)
        self.limit = AdaptiveLimit(_policy(scenario, "limit", LimitPolicy))
        self.breaker = Breaker(_policy(scenario, "breaker", BreakerPolicy))
        self.free_at: list[float] = []
        self.ends: list[tuple[float, int, _Call]] = []
        self.count = itertools.count()
        self.tally: dict[str, float] = defaultdict(float)

    def collect(self, now: float) -> None:
        """Take the endings that have come."""
        while self.ends and self.ends[0][0] <= now:
            at, _, call = heapq.heappop(self.ends)
            if call.ending is Ending.DROPPED:
                self.tally["opened"] += self.breaker.fail(call.leave, now)
            else:
                self.tally["throughput"] += 1
            self.limit.release(call.place, call.ending, now, at - call.began)

    def try_send(self, now: float) -> bool:
        """Send one call if all three walls let it pass."""
        place = self.limit.acquire(now)
        if place is None:
            return False
        leave = self.breaker.ask(now)
        if not isinstance(leave, Pass):
            self.limit.release(place, Ending.IGNORED, now)
            return False
        if self.bucket.take(now) is None:
            self.breaker.drop(leave)
            self.limit.release(place, Ending.IGNORED, now)
            return False
        self.tally["sent"] += 1
        self.tally["probes"] += leave.probe
        if any(begin <= now < end for begin, end in self.peer.outages):
            after_s = 0.05 if self.peer.outage == "refuse" else 30.0
            self._end(now + after_s, _Call(now, place, leave, Ending.DROPPED))
            return True
        if self.breaker.succeed(leave):
            self.limit.recovered()
        self._serve(now, place, leave)
        return True

    def _serve(self, now: float, place: Place, leave: Pass) -> None:
        while self.free_at and self.free_at[0] <= now:
            heapq.heappop(self.free_at)
        usual_s = _at(self.peer.latency_s, now)
        workers = max(1, round(_at(self.peer.capacity_per_s, now) * usual_s))
        begins = now
        if len(self.free_at) >= workers:
            if self.peer.over == "refuse":
                self.limit.release(place, Ending.DROPPED, now)
                return
            begins = sorted(self.free_at)[len(self.free_at) - workers]
        done = begins + usual_s * math.exp(self.random.gauss(0.0, self.peer.noise))
        heapq.heappush(self.free_at, done)
        ending = Ending.SUCCESS
        for begin, end in self.peer.outages:
            if begin <= done < end:  # asked after in vain meanwhile: what it took says nothing
                done, ending = end + 1.0, Ending.IGNORED
        self._end(done, _Call(now, place, leave, ending))

    def _end(self, at: float, call: "_Call") -> None:
        heapq.heappush(self.ends, (at, next(self.count), call))


class _Call(NamedTuple):
    began: float
    place: Place
    leave: Pass
    ending: Ending


def provider(scenario: Scenario) -> Series:
    """A demand on a solving service behind a bucket, a breaker and an adaptive limit."""
    source = msgspec.convert(scenario.source, _Source)
    river = _Provider(scenario, msgspec.convert(scenario.peer, _Service))
    waiting = 0.0
    series: Series = defaultdict(list)
    for tick in range(round(scenario.seconds / _TICK_S)):
        now = tick * _TICK_S
        river.collect(now)
        waiting = min(waiting + _at(source.per_s, now) * _TICK_S, _WINDOW)
        while waiting >= 1 and river.try_send(now):
            waiting -= 1
        if (tick + 1) % 10 == 0:
            series["limit"].append(river.limit.limit)
            series["in_flight"].append(river.limit.in_flight)
            series["breaker"].append(list(BreakerState).index(river.breaker.state))
            series["opened"].append(river.tally["opened"])
            for rate in ("throughput", "sent", "probes"):
                series[rate].append(river.tally.pop(rate, 0.0))
    return series


class _Sites(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Records offered a second, by class of site."""

    prone_per_s: Steps
    clean_per_s: Steps


class _Downstream(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the solver and the storer take away a second.

    A record is in hand for about ``travel_s`` before its request or its page is there; at most ``window`` of
    either class of site are. The solver has a request for ``solve_s`` before it is done with it.
    """

    solver_per_s: Steps
    storer_per_s: Steps
    window: int = 512
    travel_s: float = 2.0
    solve_s: float = 0.0
    read_every_s: int = 2
    jitter: float = 0.0


class _Queue:
    """A topic and the group that reads it, as offsets."""

    def __init__(self, policy: GatePolicy, takes_s: float) -> None:
        self.end = 0.0
        self.taken = 0.0
        self.committed = 0.0
        self.takes_s = takes_s
        self.taken_at: deque[tuple[float, float]] = deque()
        self.meter = LagMeter(policy.lag)
        self.load = Load(records=0)

    @property
    def lag(self) -> float:
        return self.end - self.committed

    def drain(self, records: float, now: float) -> None:
        self.taken = min(self.end, self.taken + records)
        self.taken_at.append((now, self.taken))
        while self.taken_at and self.taken_at[0][0] <= now - self.takes_s:
            _, self.committed = self.taken_at.popleft()

    def read(self, now: float) -> Load:
        self.load = self.meter.observe(now, end=int(self.end), committed=int(self.committed))
        return self.load


class _Intake:
    """The gate, and the two topics behind it."""

    def __init__(self, scenario: Scenario, peer: _Downstream) -> None:
        self.peer = peer
        policies = dict(DEFAULTS)
        for name, table in scenario.policies.get("gate", {}).items():
            policies[Topic(name)] = msgspec.convert(table, GatePolicy)
        self.gate = Gate(policies, 0.0)
        self.shedding = Shedding(_policy(scenario, "shedding", SheddingPolicy))
        self.captcha = _Queue(policies[Topic.CAPTCHA_REQUESTS], peer.solve_s)
        self.pages = _Queue(policies[Topic.PAGES], 0.0)
        self.travelling: list[tuple[float, SiteClass]] = []
        self.random = seeded_random(scenario.seed)
        self.in_hand: dict[SiteClass, int] = dict.fromkeys(SiteClass, 0)
        self.offered: dict[SiteClass, float] = dict.fromkeys(SiteClass, 0.0)
        self.passed: dict[SiteClass, float] = dict.fromkeys(SiteClass, 0.0)

    def offer(self, site_class: SiteClass, records: float, now: float) -> None:
        """Offer records of a class: they wait until the gate has room for them."""
        self.offered[site_class] += records
        while self.offered[site_class] >= 1 and self._room(site_class, now):
            self.offered[site_class] -= 1
            self.passed[site_class] += 1
            self.in_hand[site_class] += 1
            self.gate.passed(site_class, now)
            travels_s = self.peer.travel_s * self.random.uniform(0.5, 1.5)
            heapq.heappush(self.travelling, (now + travels_s, site_class))

    def arrive(self, now: float) -> None:
        """Put what has been in hand for long enough behind the gate."""
        while self.travelling and self.travelling[0][0] <= now:
            _, site_class = heapq.heappop(self.travelling)
            self.in_hand[site_class] -= 1
            (self.captcha if site_class is SiteClass.PRONE else self.pages).end += 1

    def _room(self, site_class: SiteClass, now: float) -> bool:
        in_hand, window = self.in_hand[site_class], self.peer.window
        return in_hand < window and self.gate.has_room(site_class, in_hand=in_hand, window=window, now=now)

    def read(self, now: float) -> None:
        """Read the lag."""
        self.gate.observe(Topic.PAGES, self.pages.read(now), now)
        self.gate.observe(Topic.CAPTCHA_REQUESTS, self.captcha.read(now), now)
        self.shedding.observe(self.captcha.load)

    def sample(self, series: Series) -> None:
        """Take the measures of a second."""
        for site_class in SiteClass:
            series[f"share_{site_class}"].append(self.gate.share(site_class))
            series[f"state_{site_class}"].append(list(GateState).index(self.gate.state(site_class)))
            series[f"passed_{site_class}"].append(self.passed[site_class])
            self.passed[site_class] = 0.0
        series["lag_captcha"].append(self.captcha.lag)
        series["lag_pages"].append(self.pages.lag)
        series["shed"].append(self.shedding.level)


def intake(scenario: Scenario) -> Series:
    """Two classes of sites behind the gate; their requests and pages, and those who take them."""
    source = msgspec.convert(scenario.source, _Sites)
    peer = msgspec.convert(scenario.peer, _Downstream)
    random = seeded_random(scenario.seed)
    river = _Intake(scenario, peer)
    series: Series = defaultdict(list)
    for tick in range(round(scenario.seconds / _TICK_S)):
        now = tick * _TICK_S
        river.offer(SiteClass.PRONE, _at(source.prone_per_s, now) * _TICK_S, now)
        river.offer(SiteClass.CLEAN, _at(source.clean_per_s, now) * _TICK_S, now)
        river.arrive(now)
        wobble = 1 + random.uniform(-peer.jitter, peer.jitter)
        river.captcha.drain(_at(peer.solver_per_s, now) * _TICK_S * wobble, now)
        river.pages.drain(_at(peer.storer_per_s, now) * _TICK_S * wobble, now)
        if tick % round(peer.read_every_s / _TICK_S) == 0:
            river.read(now)
        if (tick + 1) % 10 == 0:
            river.sample(series)
    return series


class _Loads(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A load that is not the wall's doing; where ``still_s`` is above 0, nothing is taken at all."""

    records: Steps
    wait_s: Steps
    still_s: Steps = msgspec.field(default_factory=lambda: [(0.0, 0.0)])


def shed(scenario: Scenario) -> Series:
    """A backlog that rises and falls, and what is shed of it."""
    source = msgspec.convert(scenario.source, _Loads)
    shedding = Shedding(_policy(scenario, "shedding", SheddingPolicy))
    series: Series = defaultdict(list)
    for now in range(scenario.seconds):
        wait_s, still_s = _at(source.wait_s, now), _at(source.still_s, now)
        shedding.observe(
            Load(
                records=int(_at(source.records, now)), wait_s=math.inf if still_s else wait_s, still_s=still_s
            )
        )
        series["shed"].append(shedding.level)
    return series


class _Work(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What comes a second, what one worker does a second, and the shares that fail or meet a challenge."""

    per_s: Steps
    per_worker_s: float = 1.0
    errors: Steps = msgspec.field(default_factory=lambda: [(0.0, 0.0)])
    captchas: Steps = msgspec.field(default_factory=lambda: [(0.0, 0.0)])


def workers(scenario: Scenario) -> Series:
    """A bounded queue and the workers on it; what does not fit is held back at the source."""
    source = msgspec.convert(scenario.source, _Work)
    policy = _policy(scenario, "workers", ScalingPolicy)
    scaling = WorkerScaling(policy, 0.0)
    depth = 0.0
    series: Series = defaultdict(list)
    for now in range(scenario.seconds):
        arriving = min(_at(source.per_s, now), policy.queue - depth)
        depth = max(0.0, depth + arriving - scaling.workers * source.per_worker_s)
        scaling.observe(
            float(now), depth=depth, errors=_at(source.errors, now), captchas=_at(source.captchas, now)
        )
        series["workers"].append(scaling.workers)
        series["depth"].append(depth)
        series["window"].append(policy.window(scaling.workers, policy.queue))
    return series


RIVERS: dict[str, Callable[[Scenario], Series]] = {
    "provider": provider,
    "intake": intake,
    "shed": shed,
    "workers": workers,
    "site": lambda scenario: site_river.play(
        scenario.source, scenario.peer, scenario.policies, scenario.seconds
    ),
}
