"""The walls' own edges: what is refused, what is illegal, and what no scenario shows."""

import math

import pytest
from tidegate.errors import ConfigurationError, IllegalTransitionError
from tidegate.flow.adaptive_limit import AdaptiveLimit, Ending, LimitChange, LimitPolicy, Place, Why
from tidegate.flow.breaker import Breaker, BreakerPolicy, BreakerState, Pass, Refused
from tidegate.flow.gate import CAPTCHA_REQUESTS, DEFAULTS, Gate, GatePolicy, GateState, Marks, SiteClass
from tidegate.flow.lag import LagMeter, LagPolicy, Load
from tidegate.flow.shedding import Mark, Shedding, SheddingLevel, SheddingPolicy
from tidegate.flow.token_bucket import BucketPolicy, TokenBucket
from tidegate.flow.worker_scaling import Advice, ScalingPolicy, WorkerScaling
from tidegate.records import Lane
from tidegate.topics import Topic


def leave(breaker: Breaker, now: float) -> Pass:
    """Ask, and expect to be let through."""
    passed = breaker.ask(now)
    assert isinstance(passed, Pass)
    return passed


def opened(now: float = 0.0) -> Breaker:
    """Return a breaker that has just opened."""
    breaker = Breaker(BreakerPolicy())
    for _ in range(5):
        breaker.fail(leave(breaker, now), now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def place(limit: AdaptiveLimit, now: float, kind: str = "") -> Place:
    """Take a place, and expect to get it."""
    taken = limit.acquire(now, kind)
    assert taken is not None
    return taken


def cohort(
    limit: AdaptiveLimit, now: float, ending: Ending = Ending.SUCCESS, took_s: float = 10.0, kind: str = ""
) -> LimitChange | None:
    """Fill the limit, wait the interval and the calls out, and return the change if there was one."""
    places = [place(limit, now, kind) for _ in range(limit.limit - limit.in_flight)]
    changes = [limit.release(one, ending, now + 20.0, took_s) for one in places]
    return next((change for change in changes if change is not None), None)


class TestBucket:
    def test_turns_are_handed_out_one_after_the_other(self) -> None:
        """Who waits gets a moment of his own, so that no crowd wakes for one token."""
        bucket = TokenBucket(BucketPolicy(rate_per_s=2, burst=1), 0.0)
        assert [bucket.take(0.0, 10.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
        assert bucket.take(0.0, 1.9) is None
        assert bucket.take(0.0, 2.0) == 2.0

    def test_time_does_not_run_backwards(self) -> None:
        """An earlier moment is refused and changes nothing."""
        bucket = TokenBucket(BucketPolicy(rate_per_s=1, burst=1), 5.0)
        with pytest.raises(IllegalTransitionError):
            bucket.take(4.0)
        assert bucket.take(5.0) == 0.0


class TestBreaker:
    def test_only_failures_in_a_row_open_it(self) -> None:
        """A success between them begins the count anew."""
        breaker = Breaker(BreakerPolicy())
        for _ in range(4):
            assert not breaker.fail(leave(breaker, 0.0), 0.0)
        assert not breaker.succeed(leave(breaker, 0.0))
        for _ in range(4):
            assert not breaker.fail(leave(breaker, 0.0), 0.0)
        assert breaker.fail(leave(breaker, 0.0), 0.0)
        assert breaker.ask(0.0) == Refused(30.0)
        assert breaker.ask(29.5) == Refused(0.5)

    def test_one_probe_decides(self) -> None:
        """While it is out nobody else passes; failed, it is open for as long again."""
        breaker = opened()
        probe = leave(breaker, 30.0)
        assert probe.probe
        assert breaker.ask(30.0) == Refused(None)
        assert breaker.fail(probe, 31.0)
        assert breaker.ask(60.0) == Refused(1.0)
        assert breaker.succeed(leave(breaker, 61.0))
        assert breaker.state is BreakerState.CLOSED

    def test_a_probe_that_was_not_made_leaves_room_for_another(self) -> None:
        """A cancelled probe neither opens nor closes it."""
        breaker = opened()
        breaker.drop(leave(breaker, 30.0))
        assert breaker.state is BreakerState.HALF_OPEN
        assert leave(breaker, 30.0).probe

    def test_a_late_ending_changes_nothing(self) -> None:
        """A call from before the breaker opened proves nothing about now."""
        breaker = Breaker(BreakerPolicy())
        late = [leave(breaker, 0.0) for _ in range(3)]
        for _ in range(5):
            breaker.fail(leave(breaker, 0.0), 0.0)
        assert not breaker.succeed(late[0])
        assert not breaker.fail(late[1], 29.0)
        breaker.drop(late[2])
        assert breaker.state is BreakerState.OPEN
        assert isinstance(breaker.ask(30.0), Pass)

    def test_an_ending_that_was_told_before_is_illegal(self) -> None:
        """A pass ends once; the second ending changes nothing."""
        breaker = Breaker(BreakerPolicy(failures=2))
        passed = leave(breaker, 0.0)
        breaker.fail(passed, 0.0)
        with pytest.raises(IllegalTransitionError):
            breaker.fail(passed, 0.0)
        assert breaker.state is BreakerState.CLOSED


class TestLimit:
    def test_a_call_that_took_no_time_is_compared_like_any_other(self) -> None:
        """A coarse clock says zero, and zero is no unhurried time to divide by."""
        limit = AdaptiveLimit(LimitPolicy(maximum=100, initial=20))
        cohort(limit, 0.0, took_s=0.0)
        change = cohort(limit, 100.0, took_s=1.0)
        assert change is not None
        assert change.why is Why.SLOW

    def test_it_rises_only_when_full(self) -> None:
        """Fast calls alone are no reason for more of them."""
        limit = AdaptiveLimit(LimitPolicy(maximum=100, initial=20))
        for now in range(0, 300, 30):
            for one in [place(limit, float(now)) for _ in range(15)]:
                assert limit.release(one, Ending.SUCCESS, now + 20.0, 10.0) is None
        change = cohort(limit, 400.0)
        assert change is not None
        assert (change.before, change.after, change.why) == (20, 30, Why.FULL_AND_FAST)

    def test_slow_calls_lower_it_and_a_little_slowness_keeps_it(self) -> None:
        """Between fast and slow nothing moves."""
        limit = AdaptiveLimit(LimitPolicy(maximum=40))
        cohort(limit, 0.0)
        assert cohort(limit, 100.0, took_s=13.0) is None
        change = cohort(limit, 200.0, took_s=20.0)
        assert change is not None
        assert (change.before, change.after, change.why) == (40, 24, Why.SLOW)

    def test_each_kind_is_slow_by_its_own_measure(self) -> None:
        """A kind that takes longer does not pass for slowness of the others."""
        limit = AdaptiveLimit(LimitPolicy(maximum=40))
        cohort(limit, 0.0, kind="turnstile", took_s=5.0)
        assert cohort(limit, 100.0, kind="recaptcha", took_s=40.0) is None
        assert cohort(limit, 200.0, kind="recaptcha", took_s=41.0) is None
        assert cohort(limit, 300.0, kind="turnstile", took_s=20.0) is not None

    def test_drops_at_either_mark(self) -> None:
        """Up to the first share of drops it may rise, above the second it falls, in between it stays."""

        def judged(drops: int) -> int:
            limit = AdaptiveLimit(LimitPolicy(maximum=200, initial=100))
            places = [place(limit, 0.0) for _ in range(100)]
            for number, one in enumerate(places):
                limit.release(one, Ending.DROPPED if number < drops else Ending.SUCCESS, 20.0, 10.0)
            return limit.limit

        assert judged(0) > 100
        assert judged(15) == 100
        assert judged(30) < 100

    def test_what_was_ignored_says_nothing(self) -> None:
        """A cancelled call is neither fast nor dropped."""
        limit = AdaptiveLimit(LimitPolicy(maximum=40, initial=20))
        assert cohort(limit, 0.0, Ending.IGNORED) is None
        assert limit.in_flight == 0
        assert limit.limit == 20

    def test_after_a_quiet_interval_it_still_falls(self) -> None:
        """A few calls in the first interval, fewer than can be judged, are judged with those that follow."""
        limit = AdaptiveLimit(LimitPolicy(maximum=50))
        for now in (0.0, 3.0, 6.0):
            assert limit.release(place(limit, now), Ending.SUCCESS, now + 5.0, 5.0) is None
        dropped = [limit.release(place(limit, 20.0 + n), Ending.DROPPED, 20.5 + n) for n in range(50)]
        why = {change.why for change in dropped if change is not None}
        assert (why, limit.limit < 25) == ({Why.DROPPED}, True)

    def test_a_cohort_that_calls_are_taken_off_again_is_judged_with_later_ones(self) -> None:
        """Calls that were never sent leave too few behind: others come in their place."""
        limit = AdaptiveLimit(LimitPolicy(maximum=100, initial=20))
        for one in [place(limit, 0.0) for _ in range(20)]:
            limit.release(one, Ending.IGNORED, 15.0)
        change = cohort(limit, 40.0)
        assert change is not None
        assert (change.before, change.after, change.why) == (20, 30, Why.FULL_AND_FAST)

    def test_an_outage_takes_it_down_and_its_end_brings_it_back(self) -> None:
        """The first success after nothing but drops restores what was healthy."""
        limit = AdaptiveLimit(LimitPolicy(maximum=100, initial=40))
        assert cohort(limit, 0.0) is not None
        assert limit.limit == 60
        cohort(limit, 50.0, took_s=13.0)
        for now in range(100, 500, 50):
            cohort(limit, float(now), Ending.DROPPED)
        assert limit.limit < 10
        one = place(limit, 600.0)
        change = limit.release(one, Ending.SUCCESS, 610.0, 10.0)
        assert change is not None
        assert (change.after, change.why) == (60, Why.OUTAGE_OVER)

    def test_what_was_sent_into_the_outage_is_not_held_against_the_time_after(self) -> None:
        """A time-out that ends after the recovery tells of what was before."""
        limit = AdaptiveLimit(LimitPolicy(maximum=40))
        stuck = [place(limit, 0.0) for _ in range(40)]
        assert limit.recovered() is None
        for one in stuck:
            assert limit.release(one, Ending.DROPPED, 130.0) is None
        assert limit.limit == 40

    def test_a_place_is_given_back_once(self) -> None:
        """The second time is illegal and changes nothing."""
        limit = AdaptiveLimit(LimitPolicy())
        one, _ = place(limit, 0.0), place(limit, 0.0)
        limit.release(one, Ending.SUCCESS, 1.0, 1.0)
        with pytest.raises(IllegalTransitionError):
            limit.release(one, Ending.SUCCESS, 1.0, 1.0)
        assert limit.in_flight == 1

    def test_what_it_remembers_is_bounded(self) -> None:
        """A thousand calls a second leave no more behind than a cohort holds."""
        limit = AdaptiveLimit(LimitPolicy(maximum=20_000))
        places = [place(limit, 0.0) for _ in range(20_000)]
        assert limit._cohort.members == 256
        for one in places:
            limit.release(one, Ending.SUCCESS, 5.0, 5.0)
        assert not limit._out


class TestLag:
    def test_the_wait_is_what_lies_there_by_the_rate_it_is_taken_at(self) -> None:
        """300 records taken at 10 a second are half a minute."""
        meter = LagMeter()
        load = Load(records=0)
        for now in range(31):
            load = meter.observe(float(now), end=300 + now * 10, committed=now * 10)
        assert load == Load(records=300, wait_s=30.0)

    def test_a_queue_that_ran_empty_has_no_rate(self) -> None:
        """What was taken was what came; that says nothing of what could be taken."""
        meter = LagMeter()
        for now in range(0, 40, 2):
            meter.observe(float(now), end=now, committed=now - now % 4)
        assert meter.observe(42.0, end=100, committed=41).wait_s is None

    def test_lag_throughout_and_nothing_taken_is_endless(self) -> None:
        """Whoever should take it is away."""
        meter = LagMeter()
        assert [meter.observe(float(now), end=5, committed=0).wait_s for now in (0, 14, 15)] == [
            None,
            None,
            math.inf,
        ]

    def test_a_standstill_is_counted_and_not_taken_for_a_pace(self) -> None:
        """What did not move since it is watched is measured from its first movement on."""
        meter = LagMeter()
        still = [meter.observe(float(now), end=500, committed=0) for now in range(41)]
        assert (still[10].still_s, still[40]) == (10.0, Load(records=500, wait_s=math.inf, still_s=40.0))
        loads = [meter.observe(41.0 + now, end=500, committed=1 + now) for now in range(16)]
        assert loads[14] == Load(records=485)
        assert loads[15] == Load(records=484, wait_s=484.0)

    def test_the_first_results_of_slow_work_are_no_standstill_in_its_pace(self) -> None:
        """A rest in the middle belongs to the pace."""
        meter = LagMeter()
        for now, committed in ((0.0, 0), (5.0, 10), (20.0, 10), (25.0, 20)):
            load = meter.observe(now, end=120, committed=committed)
        assert load == Load(records=100, wait_s=125.0)

    def test_a_gap_in_the_readings_is_measured_anew(self) -> None:
        """Nobody knows what was taken meanwhile, and when."""
        meter = LagMeter()
        for now in range(20):
            meter.observe(float(now), end=100, committed=now)
        meter.forget()
        assert meter.observe(80.0, end=100, committed=19) == Load(records=81)

    def test_what_a_group_has_in_hand_is_no_wait(self) -> None:
        """Half of what lies there waits for the other half, at twice its pace."""
        assert Load(records=200, wait_s=60.0).wait_beyond(100) == 30.0
        assert Load(records=100, wait_s=math.inf).wait_beyond(100) == 0.0
        assert Load(records=101, wait_s=math.inf).wait_beyond(100) == math.inf
        assert Load(records=200).wait_beyond(100) == 0.0

    def test_a_group_that_was_set_back_is_measured_anew(self) -> None:
        """Offsets that go backwards make no rate."""
        meter = LagMeter()
        meter.observe(0.0, end=100, committed=50)
        assert meter.observe(20.0, end=100, committed=10) == Load(records=90)


class TestGate:
    def test_prone_sites_are_held_first(self) -> None:
        """At a backlog of requests that shuts the gate for them, clean sites go on."""
        gate = Gate(DEFAULTS, 0.0)
        (change,) = gate.observe(Topic.CAPTCHA_REQUESTS, Load(records=101, wait_s=math.inf), 1.0)
        assert (change.site_class, change.after) == (SiteClass.PRONE, GateState.SHUT)
        assert gate.state(SiteClass.CLEAN) is GateState.OPEN
        assert gate.held_by(SiteClass.PRONE) is Topic.CAPTCHA_REQUESTS
        assert gate.held_by(SiteClass.CLEAN) is None

    def test_a_load_that_trembles_moves_nothing(self) -> None:
        """Going up begins a band below where going down ended."""
        gate = Gate(DEFAULTS, 0.0)
        gate.observe(Topic.CAPTCHA_REQUESTS, Load(records=1000), 0.0)
        for now in range(1, 50):
            assert gate.observe(Topic.CAPTCHA_REQUESTS, Load(records=800 + 190 * (now % 2)), now) == ()
        (change,) = gate.observe(Topic.CAPTCHA_REQUESTS, Load(records=700), 51.0)
        assert change.after is GateState.PARTLY

    def test_reopening_takes_time(self) -> None:
        """An empty queue opens it over ten seconds, not at once."""
        gate = Gate(DEFAULTS, 0.0)
        gate.observe(Topic.PAGES, Load(records=100_000), 0.0)
        gate.observe(Topic.PAGES, Load(records=0), 4.0)
        assert gate.share(SiteClass.CLEAN) == pytest.approx(0.4)
        gate.observe(Topic.PAGES, Load(records=0), 10.0)
        assert gate.share(SiteClass.CLEAN) == pytest.approx(1.0)

    def test_the_share_is_a_share_of_the_window(self) -> None:
        """At 0.4, twenty of fifty records may be in hand."""
        gate = Gate(DEFAULTS, 0.0)
        gate.observe(Topic.PAGES, Load(records=100_000), 0.0)
        gate.observe(Topic.PAGES, Load(records=0), 4.0)
        gate.passed(SiteClass.CLEAN, 4.0)
        room = [gate.has_room(SiteClass.CLEAN, in_hand=n, window=50, now=4.5) for n in (0, 19, 20, 50)]
        assert room == [True, True, False, False]

    def test_a_shut_gate_lets_probes_through(self) -> None:
        """One a second of clean sites, one in ten seconds of prone ones, whatever is still in hand."""
        gate = Gate(DEFAULTS, 0.0)
        gate.observe(Topic.PAGES, Load(records=100_000), 0.0)

        def passes(site_class: SiteClass, now: float) -> bool:
            room = gate.has_room(site_class, in_hand=7, window=50, now=now)
            if room:
                gate.passed(site_class, now)
            return room

        clean = [passes(SiteClass.CLEAN, now) for now in (0.5, 1.0, 1.5, 1.9, 2.0)]
        assert clean == [False, True, False, False, True]
        assert [passes(SiteClass.PRONE, now) for now in (9.9, 10.0, 19.9, 20.0)] == [False, True, False, True]

    def test_what_holds_most_is_named(self) -> None:
        """By the worse of a topic's two measures."""
        gate = Gate(DEFAULTS, 0.0)
        gate.observe(Topic.CAPTCHA_REQUESTS, Load(records=800), 0.0)
        gate.observe(Topic.PAGES, Load(records=1, wait_s=1000.0), 0.0)
        assert gate.held_by(SiteClass.PRONE) is Topic.PAGES

    def test_reopening_is_measured_from_the_last_reading(self) -> None:
        """Whatever the clock's zero."""
        gate = Gate(DEFAULTS, 5000.0)
        gate.observe(Topic.PAGES, Load(records=100_000), 5001.0)
        gate.observe(Topic.PAGES, Load(records=0), 5003.0)
        assert gate.share(SiteClass.CLEAN) == pytest.approx(0.2)
        with pytest.raises(IllegalTransitionError):
            gate.observe(Topic.PAGES, Load(records=0), 5002.0)

    def test_without_hysteresis_the_share_follows_the_load(self) -> None:
        """Half way between the marks, half passes, in both directions."""
        policy = GatePolicy(prone=CAPTCHA_REQUESTS.prone, clean=CAPTCHA_REQUESTS.clean, hysteresis=0.0)
        assert policy.in_hand == 0
        gate = Gate({Topic.CAPTCHA_REQUESTS: policy}, 0.0)
        for now, records in ((0.0, 550), (1.0, 1000), (100.0, 550)):
            gate.observe(Topic.CAPTCHA_REQUESTS, Load(records=records), now)
            assert gate.share(SiteClass.PRONE) == pytest.approx((1000 - records) / 900)

    def test_the_named_defaults(self) -> None:
        """Changing one is a decision, not an accident."""

        def rows(policy: GatePolicy) -> list[tuple[float, float] | None]:
            marks = [policy.prone.records, policy.prone.wait_s, policy.clean.records, policy.clean.wait_s]
            return [None if one is None else (one.low, one.high) for one in marks]

        assert rows(DEFAULTS[Topic.CAPTCHA_REQUESTS]) == [(100, 1000), (20, 90), (5000, 20_000), None]
        assert rows(DEFAULTS[Topic.PAGES]) == [(5000, 20_000), (30, 120), (10_000, 40_000), (60, 240)]

    def test_an_unknown_topic_is_illegal(self) -> None:
        """A reading that the gate has no marks for is a wiring fault."""
        with pytest.raises(IllegalTransitionError):
            Gate(DEFAULTS, 0.0).observe(Topic.SOLVES, Load(records=1), 1.0)

    def test_a_gate_without_topics_is_open(self) -> None:
        """Nothing downstream, nothing to wait for."""
        assert Gate({}, 0.0).has_room(SiteClass.PRONE, in_hand=4, window=5, now=0.0)
        assert not Gate({}, 0.0).has_room(SiteClass.PRONE, in_hand=5, window=5, now=0.0)


def test_a_solver_that_is_started_again_sheds_nothing() -> None:
    """A standstill counts for as long as it has lasted, and few requests that take long count for nothing."""
    shedding = Shedding()
    assert not shedding.observe(Load(records=900, wait_s=math.inf, still_s=200.0))
    assert not shedding.observe(Load(records=90, wait_s=2000.0))
    assert shedding.observe(Load(records=900, wait_s=math.inf, still_s=301.0))
    assert shedding.level is SheddingLevel.LOW


def test_high_priority_is_never_shed() -> None:
    """Whatever the load."""
    shedding = Shedding()
    assert shedding.observe(Load(records=10**9, wait_s=math.inf, still_s=10.0**9))
    assert [shedding.sheds(lane) for lane in (Lane.HIGH, Lane.NORMAL, Lane.LOW)] == [False, True, True]


def test_scaling_says_why() -> None:
    """Each decision has its reason, and none is made before its time."""
    scaling = WorkerScaling(ScalingPolicy(), 0.0)
    assert scaling.observe(9.0, depth=40, errors=0.0) is None
    assert scaling.observe(10.0, depth=40, errors=0.0) is Advice.ADD_DEEP
    assert scaling.workers == 4
    with pytest.raises(IllegalTransitionError):
        scaling.observe(9.0, depth=40, errors=0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BucketPolicy(rate_per_s=0, burst=1),
        lambda: BucketPolicy(rate_per_s=1, burst=0.5),
        lambda: BucketPolicy(rate_per_s=math.nan, burst=1),
        lambda: BreakerPolicy(failures=0),
        lambda: BreakerPolicy(reset_s=0),
        lambda: BreakerPolicy(reset_s=-1.0),
        lambda: BreakerPolicy(reset_s=math.inf),
        lambda: LimitPolicy(maximum=0),
        lambda: LimitPolicy(maximum=5, initial=6),
        lambda: LimitPolicy(fast=1.6),
        lambda: LimitPolicy(interval_s=0),
        lambda: LimitPolicy(errors_low=0.3),
        lambda: LagPolicy(window_s=1, least_s=2),
        lambda: Marks(5, 5),
        lambda: GatePolicy(prone=CAPTCHA_REQUESTS.clean, clean=CAPTCHA_REQUESTS.prone),
        lambda: GatePolicy(prone=CAPTCHA_REQUESTS.prone, clean=CAPTCHA_REQUESTS.clean, hysteresis=1.0),
        lambda: GatePolicy(prone=CAPTCHA_REQUESTS.prone, clean=CAPTCHA_REQUESTS.clean, reopen_s=0.0),
        lambda: GatePolicy(prone=CAPTCHA_REQUESTS.prone, clean=CAPTCHA_REQUESTS.clean, in_hand=-1),
        lambda: Gate({}, 0.0, probe_every_s={SiteClass.CLEAN: 0.0, SiteClass.PRONE: 1.0}),
        lambda: SheddingPolicy(low=Mark(records=6000, wait_s=1)),
        lambda: SheddingPolicy(leave_at=1.0),
        lambda: ScalingPolicy(least=0),
        lambda: ScalingPolicy(deep=60),
        lambda: ScalingPolicy(errors_low=0.5),
        lambda: ScalingPolicy(interval_s=0),
        lambda: ScalingPolicy(window_low=6),
    ],
)
def test_a_policy_out_of_range_is_refused(make: object) -> None:
    """A frozen policy checks itself when it is made."""
    assert callable(make)
    with pytest.raises(ConfigurationError):
        make()
