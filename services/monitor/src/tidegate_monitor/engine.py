"""What the monitor knows and decides, fed with records and with the time. Pure.

Time is the broker's: the newest record's append time, and how long ago that record came. At the start the
last quarter of an hour is read again, and alerts are judged in its own time, so that what lasted ten minutes
before a restart has lasted ten minutes after it. Nobody is told of anything meanwhile: what then fires is
compared with what was told before.
"""

from collections.abc import Iterable, Mapping

import msgspec
from tidegate.alert_rules import Rule
from tidegate.site_health import SiteHealth
from tidegate.stats import decode

from tidegate_monitor.alerts import Alert, AlertBook
from tidegate_monitor.health import SiteHealths
from tidegate_monitor.readings import MONITOR, read
from tidegate_monitor.windows import HORIZON_MS, Board

_REPLAY_STEP_MS = 5_000
# The topic has one partition: a broker that takes it over may have another clock than the one before.
_BEHIND_MS = 5_000
_BEHIND_FOR_S = 10.0
# A reader that starts again hands out what was taken before; those records are not newer than the last one.
_RECREATED_MS = 5_000


class Taken(msgspec.Struct, frozen=True):
    """What became of a record: ``unreadable`` ones count nothing; ``caught_up`` is said once."""

    unreadable: bool = False
    caught_up: bool = False


_COUNTED = Taken()


class Engine:
    """One monitor's view."""

    def __init__(self, instance: str, rules: Iterable[Rule], *, wall_ms: int) -> None:
        """Begin at ``wall_ms``, this host's clock, which only says what need not be counted any more.

        ``instance`` names this start: the record by which we know that all was read must not be of an
        earlier one, and in a container every start has the same host and process id.
        """
        self.instance = instance
        self.board = Board()
        self.book = AlertBook(rules)
        self.healths = SiteHealths()
        self.caught_up = False
        self.records = 0
        self.next_offset = 0
        self._oldest_ms = wall_ms - HORIZON_MS
        self._base_ms = wall_ms
        self._base_s: float | None = None
        self._stepped_ms = 0
        self._newest_ms = 0
        self._behind_since_s: float | None = None

    def now_ms(self, now_s: float) -> int:
        """Return the broker's time at a monotonic time."""
        return self._base_ms if self._base_s is None else self._base_ms + int((now_s - self._base_s) * 1000)

    def take(self, value: bytes | None, offset: int, at_ms: int, now_s: float) -> Taken:
        """Take a record of ``stats``; one that was taken before, or is empty, changes nothing."""
        # Offsets that begin anew with newer records: the topic was made anew.
        if offset < self.next_offset and at_ms <= self._newest_ms + _RECREATED_MS:
            return _COUNTED
        self.next_offset = offset + 1
        self._newest_ms = max(self._newest_ms, at_ms)
        if not value:
            return _COUNTED  # `tidegate doctor` tries the topic with one
        delta = decode(value)
        if delta is None:
            return Taken(unreadable=True)
        ours = delta.instance == self.instance
        if at_ms < self._oldest_ms and not ours and not self.caught_up:
            return _COUNTED
        self.records += 1
        self._set_time(at_ms, now_s)
        self.board.take(delta, at_ms)
        if self.caught_up:
            return _COUNTED
        if at_ms - self._stepped_ms >= _REPLAY_STEP_MS:
            self._stepped_ms = at_ms
            self._step(at_ms)
        self.caught_up = ours
        return Taken(caught_up=ours)

    def _set_time(self, at_ms: int, now_s: float) -> None:
        """Go by the newest record; back only where all have lain behind for a while."""
        behind = self._base_s is not None and self.caught_up and self.now_ms(now_s) - at_ms > _BEHIND_MS
        if not behind:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s
        over = self._behind_since_s is not None and now_s - self._behind_since_s >= _BEHIND_FOR_S
        if over:
            self.board.shift(self.now_ms(now_s) - at_ms)
        if self._base_s is None or not self.caught_up or over or at_ms > self.now_ms(now_s):
            self._base_ms, self._base_s, self._behind_since_s = at_ms, now_s, None

    def step(self, now_s: float) -> tuple[list[Alert], list[SiteHealth]]:
        """Judge; return what fired and cleared, and which sites are to be told of. Nothing while it reads."""
        if not self.caught_up:
            return [], []
        now_ms = self.now_ms(now_s)
        return self._step(now_ms), list(self.healths.step(self.board, now_ms))

    def is_leader(self, now_s: float) -> bool:
        """Say whether this monitor is the one that tells others: the first of those that live."""
        living = self.board.instances(MONITOR, self.now_ms(now_s))
        return self.caught_up and (not living or living[0] == self.instance)

    def untold(self, told: Mapping[str, Alert], now_s: float) -> list[Alert]:
        """Return what must be told after the start: what was told before says otherwise."""
        now_ms = self.now_ms(now_s)
        firing = {alert.key: alert for alert in self.book.firing()}
        new = [alert for key, alert in firing.items() if key not in told or told[key].state != "fired"]
        over = [
            msgspec.structs.replace(alert, state="cleared", at_ms=now_ms)
            for key, alert in told.items()
            if alert.state == "fired" and key not in firing
        ]
        return new + over

    def _step(self, now_ms: int) -> list[Alert]:
        return self.book.step({rule.name: read(rule, self.board, now_ms) for rule in self.book.rules}, now_ms)
