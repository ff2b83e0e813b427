"""The fetcher's walls: the lag of what it feeds is read, and its intake held back by it.

How a record is held, and why so:

- Clean sites, when their share falls, are held at the source: no more of the lanes and the delay topics is in
  hand at once than the gate allows (``admits``). Nothing is produced for it, however long it lasts.
- Lanes mix sites, so a lane cannot be held for the prone ones alone. Their jobs are put aside onto the held
  topics while the gate is not wide open for them, and from there they are taken by the gate's share for prone
  sites, in order, as soon as there is room. So a job is produced once more for each try that meets the
  gate, be it shut for an hour before a million of them.
- Rejected: to defer them. Nobody knows until when: a short time makes each of them come round again and
  again, a long one leaves the solver idle after its return, and both use up what deferrals a job has.

A reading that fails is none: the shares stay, and what was sent since the last one is added to it, as if
nothing had been taken meanwhile. So a fetcher that cannot see how far behind they are sends at most what lies
between the marks, and a broker that was away for a minute shuts nothing. The expected wait is measured anew.
"""

import math
from collections.abc import Callable, Mapping

import msgspec
from tidegate.backlog import Backlog
from tidegate.clock import Clock
from tidegate.errors import BrokerError
from tidegate.events import Emit
from tidegate.flow.gate import Gate, GatePolicy, GateState, SiteClass
from tidegate.flow.lag import LagMeter, Load
from tidegate.flow.shedding import Shedding, SheddingPolicy
from tidegate.records import Lane
from tidegate.topics import Topic

from tidegate_fetcher import events
from tidegate_fetcher.prone_sites import PronePolicy, ProneSites

# Who takes what the fetcher sends away.
GROUPS: dict[Topic, str] = {Topic.CAPTCHA_REQUESTS: "solver", Topic.PAGES: "storer"}


class WallsPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policies of the parts, and the seconds between two readings."""

    gate: Mapping[Topic, GatePolicy]
    shedding: SheddingPolicy = SheddingPolicy()
    prone: PronePolicy = PronePolicy()
    read_every_s: float = 1.0


class _Watch:
    """What is known of one topic downstream."""

    def __init__(self, group: str, policy: GatePolicy) -> None:
        self.group = group
        self.meter = LagMeter(policy.lag)
        self.read = Load(records=0)
        self.sent = 0
        self.blind_since: float | None = None

    @property
    def load(self) -> Load:
        """The last reading and all that was sent since."""
        return msgspec.structs.replace(self.read, records=self.read.records + self.sent)


class Walls:
    """The valve of the runtime's intake, and the handler's advice on prone sites and on shedding."""

    def __init__(
        self,
        policy: WallsPolicy,
        backlog: Backlog,
        clock: Clock,
        emit: Emit,
        way_out: Callable[[], bool] = lambda: True,
    ) -> None:
        """``way_out`` says whether anything may be fetched: whether there is a proxy, where one is needed."""
        self._policy = policy
        self._way_out = way_out
        self._backlog = backlog
        self._clock = clock
        self._emit = emit
        self._gate = Gate(policy.gate, clock.monotonic())
        self._shedding = Shedding(policy.shedding)
        self._prone = ProneSites(policy.prone)
        self._watches = {topic: _Watch(GROUPS[topic], marks) for topic, marks in policy.gate.items()}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            for topic, watch in self._watches.items():
                await self._read(topic, watch)
            await self._clock.sleep(self._policy.read_every_s)

    # -- the runtime's side: a valve ------------------------------------------------------------------

    def admits(self, *, held: bool, in_hand: int, window: int) -> bool:
        """Say whether one more record of the held topics, or of the others, may start."""
        if not self._way_out():
            return False
        now = self._clock.monotonic()
        return self._gate.has_room(_class_of(held), in_hand=in_hand, window=window, now=now)

    def passed(self, *, held: bool) -> None:
        """Take note that one was started."""
        self._gate.passed(_class_of(held), self._clock.monotonic())

    # -- the handler's side ---------------------------------------------------------------------------

    def holds(self, site: str) -> bool:
        """Say whether a job of the site is to be put aside."""
        if self._gate.state(SiteClass.PRONE) is GateState.OPEN:
            return False
        return self._prone.is_prone(site, self._clock.monotonic())

    def sheds(self, lane: Lane) -> bool:
        """Say whether a job of that lane that met a challenge is shed."""
        return self._shedding.sheds(lane)

    def answered(self, site: str, *, challenged: bool) -> None:
        """Take note of a site's answer to a fresh request: a page, or a challenge for the solver."""
        if self._prone.answered(site, challenged=challenged, now=self._clock.monotonic()):
            self._emit(events.SiteProne(site=site) if challenged else events.SiteCleared(site=site))

    def sent(self, topic: Topic) -> None:
        """Take note of a record for those downstream; requests count before the next reading shows them."""
        watch = self._watches.get(topic)
        if watch is None:
            return
        watch.sent += 1
        if topic is Topic.CAPTCHA_REQUESTS:
            self._observe(topic, watch.load)

    # -- readings -------------------------------------------------------------------------------------

    async def _read(self, topic: Topic, watch: _Watch) -> None:
        sent_before = watch.sent
        try:
            standing = await self._backlog.read(topic, watch.group)
        except BrokerError as error:
            watch.meter.forget()
            watch.read = Load(records=watch.read.records)
            if watch.blind_since is None:
                watch.blind_since = self._clock.monotonic()
                self._emit(events.LagUnknown(topic=topic, error=str(error)))
        else:
            now = self._clock.monotonic()
            if watch.blind_since is not None:
                self._emit(events.LagKnown(topic=topic, seconds=round(now - watch.blind_since, 3)))
                watch.blind_since = None
            # What was sent meanwhile may be in the reading and may not: it counts until the next one.
            watch.sent -= sent_before
            watch.read = watch.meter.observe(now, end=standing.end, committed=standing.done)
        self._observe(topic, watch.load)
        self._tell(topic, watch)

    def _observe(self, topic: Topic, load: Load) -> None:
        for change in self._gate.observe(topic, load, self._clock.monotonic()):
            self._emit(
                events.GateChanged(
                    site_class=change.site_class,
                    before=change.before,
                    state=change.after,
                    share=round(change.share, 3),
                    topic=change.topic,
                    records=load.records,
                    wait_s=_finite(load),
                )
            )
        if topic is Topic.CAPTCHA_REQUESTS and self._shedding.observe(load):
            self._emit(
                events.SheddingChanged(what=self._shedding.level, records=load.records, wait_s=_finite(load))
            )

    def _tell(self, topic: Topic, watch: _Watch) -> None:
        load = watch.load
        self._emit(
            events.LagRead(
                topic=topic,
                records=load.records,
                wait_s=_finite(load),
                still_s=round(load.still_s, 3),
                share_clean=round(self._gate.share(SiteClass.CLEAN), 3),
                share_prone=round(self._gate.share(SiteClass.PRONE), 3),
            )
        )


def _class_of(held: bool) -> SiteClass:
    return SiteClass.PRONE if held else SiteClass.CLEAN


def _finite(load: Load) -> float | None:
    """Return the wait where it is a number: one without an end is told by how long nothing moved."""
    return None if load.wait_s is None or load.wait_s == math.inf else round(load.wait_s, 3)
