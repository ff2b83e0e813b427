"""The walls against models that are too simple to be wrong."""

import itertools
import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tidegate.flow.adaptive_limit import AdaptiveLimit, Ending, LimitPolicy, Place
from tidegate.flow.breaker import Breaker, BreakerPolicy, BreakerState, Pass
from tidegate.flow.gate import DEFAULTS, Gate, SiteClass
from tidegate.flow.lag import LagMeter, Load
from tidegate.flow.shedding import Shedding
from tidegate.flow.token_bucket import BucketPolicy, TokenBucket
from tidegate.flow.worker_scaling import ScalingPolicy, WorkerScaling
from tidegate.records import Lane
from tidegate.topics import Topic


def seconds(least: float, most: float) -> st.SearchStrategy[float]:
    """Return finite numbers, of seconds or anything else."""
    return st.floats(least, most, allow_nan=False, allow_infinity=False)


@given(
    rate=seconds(0.1, 100.0),
    burst=seconds(1.0, 20.0),
    asks=st.lists(st.tuples(seconds(0.0, 3.0), seconds(0.0, 5.0)), max_size=60),
)
def test_a_bucket_never_grants_more_than_rate_times_time_and_the_burst(
    rate: float, burst: float, asks: list[tuple[float, float]]
) -> None:
    """In every stretch of time, counted at the moments for which turns were given."""
    bucket = TokenBucket(BucketPolicy(rate_per_s=rate, burst=burst), 0.0)
    now, turns = 0.0, []
    for pause_s, patience_s in asks:
        now += pause_s
        wait_s = bucket.take(now, patience_s)
        if wait_s is not None:
            assert 0 <= wait_s <= patience_s
            turns.append(now + wait_s)
    assert turns == sorted(turns)
    for (i, first), (j, last) in itertools.combinations(enumerate(turns), 2):
        assert j - i + 1 <= rate * (last - first) + burst + 1e-6


@given(rate=seconds(0.1, 100.0), idle_s=seconds(0.0, 1e6))
def test_a_bucket_grants_what_is_due(rate: float, idle_s: float) -> None:
    """Whoever waits the time of one token gets one."""
    bucket = TokenBucket(BucketPolicy(rate_per_s=rate, burst=1), 0.0)
    assert bucket.take(idle_s) == 0.0
    assert bucket.take(idle_s, 1.001 / rate) is not None


class BreakerModel(RuleBasedStateMachine):
    """Calls that begin and end in any order; the model knows the last endings that count."""

    FAILURES = 3
    RESET_S = 10.0

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BreakerPolicy(failures=self.FAILURES, reset_s=self.RESET_S))
        self.now = 0.0
        self.state = BreakerState.CLOSED
        self.in_a_row = 0
        self.opened_at = 0.0
        # Calls out, and those that began in a state that has passed.
        self.out: list[Pass] = []
        self.stale: list[Pass] = []

    def turn(self, state: BreakerState) -> None:
        """Enter a state: all that is out is stale."""
        self.state, self.in_a_row = state, 0
        self.stale, self.out = self.stale + self.out, []

    @rule(passing=seconds(0.0, 6.0))
    def wait(self, passing: float) -> None:
        """Time passes."""
        self.now += passing

    @rule()
    def ask(self) -> None:
        """Somebody wants to call."""
        due = self.opened_at + self.RESET_S - self.now <= 0
        passed = self.breaker.ask(self.now)
        if self.state is BreakerState.OPEN and due:
            self.turn(BreakerState.HALF_OPEN)
            assert isinstance(passed, Pass)
            assert passed.probe
        elif self.state is BreakerState.OPEN or (self.state is BreakerState.HALF_OPEN and self.out):
            assert not isinstance(passed, Pass)
        else:
            assert isinstance(passed, Pass)
        if isinstance(passed, Pass):
            self.out.append(passed)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), ending=st.sampled_from(["succeed", "fail", "drop"]))
    def end(self, data: st.DataObject, ending: str) -> None:
        """A call ends."""
        passed = data.draw(st.sampled_from(self.out))
        self.out.remove(passed)
        before = self.state
        if ending == "drop":
            self.breaker.drop(passed)
        elif ending == "succeed":
            self.in_a_row = 0
            if before is BreakerState.HALF_OPEN:
                self.turn(BreakerState.CLOSED)
            assert self.breaker.succeed(passed) is (before is not self.state)
        else:
            self.in_a_row += 1
            if before is BreakerState.HALF_OPEN or self.in_a_row == self.FAILURES:
                self.turn(BreakerState.OPEN)
                self.opened_at = self.now
            assert self.breaker.fail(passed, self.now) is (before is not self.state)

    @precondition(lambda self: self.stale)
    @rule(ending=st.sampled_from(["succeed", "fail", "drop"]))
    def end_late(self, ending: str) -> None:
        """A call from before ends; nothing comes of it."""
        passed = self.stale.pop()
        if ending == "drop":
            self.breaker.drop(passed)
        elif ending == "succeed":
            assert not self.breaker.succeed(passed)
        else:
            assert not self.breaker.fail(passed, self.now)

    @invariant()
    def as_the_model_says(self) -> None:
        """The states agree, and half-open there is one probe at most."""
        assert self.breaker.state is self.state
        if self.state is BreakerState.HALF_OPEN:
            assert len(self.out) <= 1
        if self.state is BreakerState.OPEN:
            assert not self.out


TestBreakerModel = BreakerModel.TestCase


class LimitModel(RuleBasedStateMachine):
    """Places taken and given back in any order, with any ending and any duration."""

    INITIAL = 10
    POLICY = LimitPolicy(minimum=2, maximum=30, initial=INITIAL, interval_s=5.0, least_samples=4)

    def __init__(self) -> None:
        super().__init__()
        self.limit = AdaptiveLimit(self.POLICY)
        self.now = 0.0
        self.out: list[tuple[Place, float]] = []
        self.reached = False

    @rule(passing=seconds(0.0, 10.0))
    def wait(self, passing: float) -> None:
        """Time passes."""
        self.now += passing

    @rule(calls=st.integers(1, 15), kind=st.sampled_from(["a", "b"]))
    def acquire(self, calls: int, kind: str) -> None:
        """Somebody wants to call: a place exactly where fewer are out than the limit."""
        for _ in range(calls):
            free = len(self.out) < self.limit.limit
            place = self.limit.acquire(self.now, kind)
            assert (place is not None) is free
            if place is not None:
                self.out.append((place, self.now))
            self.reached = self.reached or len(self.out) >= self.limit.limit

    @precondition(lambda self: self.out)
    @rule(data=st.data(), ending=st.sampled_from(Ending), calls=st.integers(1, 15))
    def release(self, data: st.DataObject, ending: Ending, calls: int) -> None:
        """Calls end; a change is what it says, and one never reached rises no higher than it began."""
        for _ in range(min(calls, len(self.out))):
            place, began = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            before = self.limit.limit
            change = self.limit.release(place, ending, self.now, self.now - began)
            assert (change is not None) is (self.limit.limit != before)
            if change is not None:
                assert (change.before, change.after) == (before, self.limit.limit)
                # What fell may go back to where it was healthy, reached or not.
                assert self.reached or change.after <= self.INITIAL

    @rule()
    def recover(self) -> None:
        """An outage is said to be over: the limit does not fall by it."""
        before = self.limit.limit
        self.limit.recovered()
        assert self.limit.limit >= before

    @invariant()
    def within_bounds(self) -> None:
        """The limit keeps its bounds, and it counts what is out."""
        assert self.POLICY.minimum <= self.limit.limit <= self.POLICY.maximum
        assert self.limit.in_flight == len(self.out)


TestLimitModel = LimitModel.TestCase
# Each step draws many numbers; at the default counts it is the slowest of the properties by far.
TestLimitModel.settings = settings(max_examples=60, stateful_step_count=30)

LOADS = st.builds(
    Load,
    records=st.integers(0, 60_000),
    wait_s=st.none() | seconds(0.0, 3000.0) | st.just(math.inf),
)
READINGS = st.lists(st.tuples(seconds(0.0, 20.0), st.sampled_from(sorted(DEFAULTS)), LOADS), max_size=25)


@given(
    readings=READINGS,
    more=st.integers(0, 60_000),
    longer=seconds(0.0, 3000.0),
)
def test_more_load_never_opens_a_gate_further(
    readings: list[tuple[float, Topic, Load]], more: int, longer: float
) -> None:
    """Two gates with the same readings, one of them always with more load: its shares are never larger."""
    light, heavy = Gate(DEFAULTS, 0.0), Gate(DEFAULTS, 0.0)
    now = 0.0
    for pause_s, topic, load in readings:
        now += pause_s
        light.observe(topic, load, now)
        heavy.observe(topic, Load(records=load.records + more, wait_s=(load.wait_s or 0.0) + longer), now)
        for site_class in SiteClass:
            assert 0.0 <= heavy.share(site_class) <= light.share(site_class) <= 1.0
        for gate in (light, heavy):
            assert gate.share(SiteClass.PRONE) <= gate.share(SiteClass.CLEAN)


@given(readings=READINGS)
def test_a_gate_is_shut_above_its_high_mark_and_opens_again_below_its_low_one(
    readings: list[tuple[float, Topic, Load]],
) -> None:
    """Whatever happened before."""
    gate = Gate(DEFAULTS, 0.0)
    now = 0.0
    for pause_s, topic, load in readings:
        now += pause_s
        gate.observe(topic, load, now)
        for site_class in SiteClass:
            marks = DEFAULTS[topic].of(site_class)
            if load.records >= marks.records.high:
                assert gate.share(site_class) == 0.0
    for topic in DEFAULTS:
        gate.observe(topic, Load(records=0, wait_s=0.0), now + 1000.0)
    assert all(gate.share(site_class) == 1.0 for site_class in SiteClass)


@given(readings=READINGS, asks=st.lists(seconds(0.0, 5.0), max_size=60))
@settings(max_examples=50)
def test_no_gate_is_silent_for_longer_than_its_probes(
    readings: list[tuple[float, Topic, Load]], asks: list[float]
) -> None:
    """With no share left, who asks ten seconds after the last passing passes, and nobody before."""
    gate = Gate(DEFAULTS, 0.0)
    now = 0.0
    for pause_s, topic, load in readings:
        now += pause_s
        gate.observe(topic, load, now)
    last = now
    gate.passed(SiteClass.PRONE, now)
    in_hand = int(100 * gate.share(SiteClass.PRONE))
    assert in_hand == 0 or gate.has_room(SiteClass.PRONE, in_hand=in_hand - 1, window=100, now=now)
    for pause_s in asks:
        now += pause_s
        passes = gate.has_room(SiteClass.PRONE, in_hand=in_hand, window=100, now=now)
        assert passes is (now - last >= 10.0)
        if passes:
            gate.passed(SiteClass.PRONE, now)
            last = now


@given(
    steps=st.lists(
        st.tuples(seconds(0.5, 10.0), st.integers(0, 50), st.integers(0, 50)),
        min_size=1,
        max_size=30,
    )
)
def test_an_expected_wait_needs_lag_throughout(steps: list[tuple[float, int, int]]) -> None:
    """It is told only after 15 s of readings with lag, counted from where the first movement was seen."""
    meter = LagMeter()
    now, end, committed, since = 0.0, 0, 0, None
    watched: list[tuple[float, int]] = []
    for pause_s, more, taken in steps:
        now += pause_s
        end += more
        committed = min(end, committed + taken)
        load = meter.observe(now, end=end, committed=committed)
        assert load.records == end - committed
        if end == committed:
            since, watched = None, []
            assert load.wait_s == 0.0
            continue
        window = [one for n, one in enumerate(watched) if now - (watched[n + 1 :] or [one])[0][0] < 30.0]
        stood = len(window) > 1 and window[0][1] == window[-1][1] != committed
        since = now if since is None or stood else since
        watched = [] if stood else watched
        watched.append((now, committed))
        assert (load.wait_s is None) is (now - since < 15.0)


@given(loads=st.lists(LOADS, max_size=30))
def test_shedding_is_ordered(loads: list[Load]) -> None:
    """What is shed of a higher priority is shed of every lower one; high never is."""
    shedding = Shedding()
    for load in loads:
        before = shedding.level
        assert shedding.observe(load) is (shedding.level is not before)
        shed = [shedding.sheds(lane) for lane in (Lane.HIGH, Lane.NORMAL, Lane.LOW)]
        assert not shed[0]
        assert shed == sorted(shed)


@given(
    readings=st.lists(
        st.tuples(
            seconds(0.0, 30.0),
            seconds(0.0, 50.0),
            seconds(0.0, 1.0),
            seconds(0.0, 1.0),
        ),
        max_size=60,
    )
)
def test_scaling_keeps_its_bounds_and_its_pace(readings: list[tuple[float, float, float, float]]) -> None:
    """2 to 20 workers, never more than two up or one down, never twice in ten seconds."""
    scaling = WorkerScaling(ScalingPolicy(), 0.0)
    now, decided = 0.0, Counter[int]()
    for pause_s, depth, errors, captchas in readings:
        now += pause_s
        before = scaling.workers
        advice = scaling.observe(now, depth=depth, errors=errors, captchas=captchas)
        assert 2 <= scaling.workers <= 20
        assert -1 <= scaling.workers - before <= 2
        if advice is None:
            assert scaling.workers == before
        else:
            decided[0] += 1
            assert decided[0] * 10.0 <= now + 1e-6
