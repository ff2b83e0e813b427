"""How much of the intake passes while those downstream are behind. Pure.

What: for each topic downstream, and for each class of site, a share between 1 (open) and 0 (shut) that falls
from a low to a high mark of its load, in records and in expected wait; the smallest counts. Sites that are
prone to challenges have lower marks than clean ones, so they are held first.
Why so: the share follows its load down on one line and up on another one that lies lower. Between the two it
stays, so that a load that trembles moves nothing; going up takes time besides. A shut gate lets one record
through now and then: somebody must find out that the way is free.
Rejected: open and shut only. It swings between flood and drought with the length of the queue. And passing
a share of the records that are offered, sending the others on their way: each of them would have to come
back later, at a moment that nobody knows, and be offered again.

How to use it: give ``observe`` every reading of a topic (``lag.LagMeter`` makes the load), hold the source
back while ``has_room`` says no, and call ``passed`` for each record started.
"""

import math
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError
from tidegate.flow.lag import LagPolicy, Load
from tidegate.topics import Topic


class SiteClass(StrEnum):
    """PRONE sites lately answered with challenges; CLEAN ones did not."""

    CLEAN = "clean"
    PRONE = "prone"


class Marks(msgspec.Struct, frozen=True):
    """Up to ``low`` everything passes, from ``high`` on nothing. Raises ConfigurationError."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the order."""
        if not 0 <= self.low < self.high < math.inf:
            raise ConfigurationError(f"marks must go up from 0: {self.low}, {self.high}")


class ClassMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Marks of one class of site, by records and by seconds of expected wait; None: never for its sake."""

    records: Marks
    wait_s: Marks | None


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Marks of one topic downstream. Raises ConfigurationError.

    ``hysteresis`` is the distance of the way up from the way down, as a part of the distance of the marks;
    ``reopen_s`` the least time from shut to open. ``in_hand`` records a group that keeps up has in hand, or
    just before it: however long these take, the wait that counts is that of what lies there beyond them.
    ``lag`` is how the load is measured.
    """

    prone: ClassMarks
    clean: ClassMarks
    hysteresis: float = 0.25
    reopen_s: float = 10.0
    in_hand: int = 0
    lag: LagPolicy = LagPolicy()

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.hysteresis < 1:
            raise ConfigurationError(f"a gate's hysteresis is {self.hysteresis}, it must be in 0 … 1")
        if not 0 < self.reopen_s < math.inf:
            raise ConfigurationError(f"a gate reopens in {self.reopen_s} s, it must be above 0")
        if self.in_hand < 0:
            raise ConfigurationError(f"{self.in_hand} records in hand, it must not be below 0")
        for first, second in (
            (self.prone.records, self.clean.records),
            (self.prone.wait_s, self.clean.wait_s),
        ):
            if second is None:
                continue
            if first is None or first.low > second.low or first.high > second.high:
                raise ConfigurationError("clean sites must not be held before challenge-prone ones")

    def of(self, site_class: SiteClass) -> ClassMarks:
        """Return the marks of a class."""
        return self.prone if site_class is SiteClass.PRONE else self.clean


# More workers above a lag of 1000, fewer below 100: the same marks say when to hold back. Clean sites put
# nothing onto captcha-requests, so a solver that stands still is no reason to hold them; a backlog that the
# prone ones cannot have made is. A solve takes up to two minutes: a rate is what was solved in that time. Two
# rounds of the solver's 50 places are what it needs to be busy.
CAPTCHA_REQUESTS = GatePolicy(
    prone=ClassMarks(records=Marks(100, 1000), wait_s=Marks(20, 90)),
    clean=ClassMarks(records=Marks(5000, 20_000), wait_s=None),
    in_hand=100,
    lag=LagPolicy(window_s=120.0, least_s=30.0),
)
# The storer takes batches of a thousand: a few of them are no backlog.
PAGES = GatePolicy(
    prone=ClassMarks(records=Marks(5000, 20_000), wait_s=Marks(30, 120)),
    clean=ClassMarks(records=Marks(10_000, 40_000), wait_s=Marks(60, 240)),
)
DEFAULTS: dict[Topic, GatePolicy] = {Topic.CAPTCHA_REQUESTS: CAPTCHA_REQUESTS, Topic.PAGES: PAGES}
# The lag is read, so a gate that is shut hears of a free way by itself: probes are for what no reading shows,
# and each fetcher sends its own. One of a prone site is a request more for a solver that cannot keep up.
PROBE_EVERY_S: dict[SiteClass, float] = {SiteClass.CLEAN: 1.0, SiteClass.PRONE: 10.0}


class GateState(StrEnum):
    """OPEN passes all, PARTLY a share, SHUT the probes only."""

    OPEN = "open"
    PARTLY = "partly"
    SHUT = "shut"


class GateChange(msgspec.Struct, frozen=True, kw_only=True):
    """The state for a class of sites changed; ``share`` is the new one, ``topic`` the one that was read."""

    site_class: SiteClass
    before: GateState
    after: GateState
    share: float
    topic: str


class Gate:
    """One fetcher's intake. ``now`` is monotonic seconds."""

    def __init__(
        self,
        policies: Mapping[Topic, GatePolicy],
        now: float,
        probe_every_s: Mapping[SiteClass, float] = PROBE_EVERY_S,
    ) -> None:
        """Begin open. One record of a class passes in ``probe_every_s`` whatever the share."""
        self._probe_every_s = dict(probe_every_s)
        if not all(0 < every_s < math.inf for every_s in self._probe_every_s.values()):
            raise ConfigurationError(f"a gate probes every {self._probe_every_s} s, it must be above 0")
        self._policies = dict(policies)
        self._read_at = dict.fromkeys(self._policies, now)
        self._shares = {
            (topic, site_class): [1.0, 1.0] for topic in self._policies for site_class in SiteClass
        }
        # Asked for each record; it changes with a reading only.
        self._share = dict.fromkeys(SiteClass, 1.0)
        self._passed_at = dict.fromkeys(SiteClass, now)

    def observe(self, topic: Topic, load: Load, now: float) -> tuple[GateChange, ...]:
        """Take a reading of a topic downstream; return the states that it changed.

        A wait that is not known counts as none. Without readings the shares stay as they are. Raises
        IllegalTransitionError for a topic that has no marks, or where time runs backwards.
        """
        policy = self._policies.get(topic)
        if policy is None or now < self._read_at[topic]:
            raise IllegalTransitionError(f"a reading of {topic} at {now} that the gate has no place for")
        rise = (now - self._read_at[topic]) / policy.reopen_s
        self._read_at[topic] = now
        changes = []
        for site_class in SiteClass:
            before = self.state(site_class)
            marks = policy.of(site_class)
            records, wait = self._shares[topic, site_class]
            records = _follow(records, float(load.records), marks.records, policy.hysteresis, rise)
            if marks.wait_s is not None:
                wait_s = load.wait_beyond(policy.in_hand)
                wait = _follow(wait, wait_s, marks.wait_s, policy.hysteresis, rise)
            self._shares[topic, site_class] = [records, wait]
            self._share[site_class] = min(min(self._shares[each, site_class]) for each in self._policies)
            after = self.state(site_class)
            if after is not before:
                changes.append(
                    GateChange(
                        site_class=site_class,
                        before=before,
                        after=after,
                        share=self.share(site_class),
                        topic=topic,
                    )
                )
        return tuple(changes)

    def share(self, site_class: SiteClass) -> float:
        """Return the part of the intake that passes, 0 to 1."""
        return self._share[site_class]

    def state(self, site_class: SiteClass) -> GateState:
        """Return the state for a class of sites."""
        share = self.share(site_class)
        if share >= 1:
            return GateState.OPEN
        return GateState.PARTLY if share > 0 else GateState.SHUT

    def held_by(self, site_class: SiteClass) -> Topic | None:
        """Return the topic that holds a class back most, None where the gate is open for it."""
        if self.share(site_class) >= 1:
            return None
        return min(self._policies, key=lambda topic: min(self._shares[topic, site_class]))

    def has_room(self, site_class: SiteClass, *, in_hand: int, window: int, now: float) -> bool:
        """Say whether one more record may start beside ``in_hand``: its share of ``window``, or a probe."""
        if in_hand < int(window * self.share(site_class)):
            return True
        return now - self._passed_at[site_class] >= self._probe_every_s[site_class]

    def passed(self, site_class: SiteClass, now: float) -> None:
        """Take note that a record of that class passed: the next probe is due a while after it."""
        self._passed_at[site_class] = now


def _follow(share: float, load: float, marks: Marks, hysteresis: float, rise: float) -> float:
    """Return the share that follows ``load``: down at once, up by ``rise`` at most, unmoved in between."""
    width = marks.high - marks.low
    band = hysteresis * width
    # On the way down it ends at the high mark, on the way up it begins again a band below it.
    falling = min(1.0, max(0.0, 1 - (load - marks.low - band) / (width - band)))
    rising = min(1.0, max(0.0, 1 - (load - marks.low) / (width - band)))
    return min(max(share, min(rising, share + rise)), falling)
