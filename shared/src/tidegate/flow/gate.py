"""How much of the intake passes while those downstream are behind. Pure.

What: for each topic downstream, and for each class of site, a share between 1 (open) and 0 (shut) that falls
from a low to a high mark of its load, in records and in expected wait; the smallest counts. Sites that are
prone to challenges have lower marks than clean ones, so they are held first.
Why so: the share follows its load down on one line and up on another one that lies lower. Between the two it
stays, so that a load that trembles moves nothing; going up takes time besides. A shut gate lets one record
through now and then: somebody must find out that the way is free.
Rejected: open and shut only. It swings between flood and drought with the length of the queue.

How to use it: give ``observe`` every reading of a topic (``lag.LagMeter`` makes the load). Then either ask
``admit`` once for each record that is offered and send on its way what is not admitted (``Defer``), or hold
the source back while more is in hand than ``slots`` allows and call ``passed`` for each one started. Do not
ask ``admit`` again and again for one record: it grants a share of what it is asked.
"""

import math
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError, IllegalTransitionError
from tidegate.flow.lag import Load
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
    ``reopen_s`` the least time from shut to open.
    """

    prone: ClassMarks
    clean: ClassMarks
    hysteresis: float = 0.25
    reopen_s: float = 10.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.hysteresis < 1:
            raise ConfigurationError(f"a gate's hysteresis is {self.hysteresis}, it must be in 0 … 1")
        if not 0 < self.reopen_s < math.inf:
            raise ConfigurationError(f"a gate reopens in {self.reopen_s} s, it must be above 0")
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
# prone ones cannot have made is.
CAPTCHA_REQUESTS = GatePolicy(
    prone=ClassMarks(records=Marks(100, 1000), wait_s=Marks(20, 90)),
    clean=ClassMarks(records=Marks(5000, 20_000), wait_s=None),
)
# The storer takes batches of a thousand: a few of them are no backlog.
PAGES = GatePolicy(
    prone=ClassMarks(records=Marks(5000, 20_000), wait_s=Marks(30, 120)),
    clean=ClassMarks(records=Marks(10_000, 40_000), wait_s=Marks(60, 240)),
)
DEFAULTS: dict[Topic, GatePolicy] = {Topic.CAPTCHA_REQUESTS: CAPTCHA_REQUESTS, Topic.PAGES: PAGES}


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

    def __init__(self, policies: Mapping[Topic, GatePolicy], now: float, probe_every_s: float = 1.0) -> None:
        """Begin open. One record passes in ``probe_every_s`` whatever the share."""
        if not 0 < probe_every_s < math.inf:
            raise ConfigurationError(f"a gate probes every {probe_every_s} s, it must be above 0")
        self._policies = dict(policies)
        self._probe_every_s = probe_every_s
        self._read_at = dict.fromkeys(self._policies, now)
        self._shares = {
            (topic, site_class): [1.0, 1.0] for topic in self._policies for site_class in SiteClass
        }
        self._credit = dict.fromkeys(SiteClass, 0.0)
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
                wait = _follow(wait, load.wait_s or 0.0, marks.wait_s, policy.hysteresis, rise)
            self._shares[topic, site_class] = [records, wait]
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
        return min(
            (min(self._shares[topic, site_class]) for topic in self._policies),
            default=1.0,
        )

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

    def admit(self, site_class: SiteClass, now: float) -> bool:
        """Say whether one record that is offered passes: the share of those asked for, and the probes."""
        share = self.share(site_class)
        # A sum of shares that should be 1 may miss it by a rounding.
        credit = self._credit[site_class] + share + 1e-9
        due = credit >= 1
        self._credit[site_class] = credit - 1 if due else credit
        if not due and not self._probe_due(site_class, now):
            return False
        self.passed(site_class, now)
        return True

    def slots(self, site_class: SiteClass, window: int, now: float) -> int:
        """Return how many of ``window`` records may be in hand at once; one where a probe is due."""
        return max(int(window * self.share(site_class)), int(self._probe_due(site_class, now)))

    def passed(self, site_class: SiteClass, now: float) -> None:
        """Take note that a record of that class passed: the next probe is due a while after it."""
        self._passed_at[site_class] = now

    def _probe_due(self, site_class: SiteClass, now: float) -> bool:
        return now - self._passed_at[site_class] >= self._probe_every_s


def _follow(share: float, load: float, marks: Marks, hysteresis: float, rise: float) -> float:
    """Return the share that follows ``load``: down at once, up by ``rise`` at most, unmoved in between."""
    width = marks.high - marks.low
    band = hysteresis * width
    # On the way down it ends at the high mark, on the way up it begins again a band below it.
    falling = min(1.0, max(0.0, 1 - (load - marks.low - band) / (width - band)))
    rising = min(1.0, max(0.0, 1 - (load - marks.low) / (width - band)))
    return min(max(share, min(rising, share + rise)), falling)
