"""The monitor's loop: reads, judges every two seconds, tells."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from tidegate.clock import Clock
from tidegate.errors import BrokerError
from tidegate.events import Emit
from tidegate.site_health import SiteHealth

from tidegate_monitor import events
from tidegate_monitor.alerts import Alert
from tidegate_monitor.engine import Engine
from tidegate_monitor.stream import Take

STEP_S = 2.0
_STALE_S = 45.0
_PAUSE_S = 2.0

Read = Callable[[Take, Callable[[], bool]], Awaitable[None]]
Tell = Callable[[list[Alert], list[SiteHealth]], None]
Told = Callable[[], Awaitable[Mapping[str, Alert]]]


class Watch:
    """The shell around the engine: ``read`` is the stream, ``tell`` the outlet, ``told`` what was said."""

    def __init__(
        self, engine: Engine, *, read: Read, tell: Tell, told: Told, clock: Clock, emit: Emit
    ) -> None:
        self.engine = engine
        self._read = read
        self._tell = tell
        self._told = told
        self._clock = clock
        self._emit = emit
        self._started_s = self._came_s = clock.monotonic()
        self._refused = False
        self._leads = False
        self._logged: set[str] = set()
        self._firing: dict[str, int] = {}

    async def run(self) -> None:
        """Read and judge until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_reading(), name="stats reader")
            group.create_task(self._keep_judging(), name="alerts")
            group.create_task(self._keep_leading(), name="leadership")

    async def _keep_reading(self) -> None:
        while True:
            self._came_s = self._clock.monotonic()
            try:
                await self._read(self._take, self._is_stale)
            except BrokerError as error:
                self._emit(events.StatsInterrupted(error=str(error)))
            await self._clock.sleep(_PAUSE_S)

    async def _keep_judging(self) -> None:
        while not self.engine.caught_up:
            await self._clock.sleep(STEP_S / 4)
        while True:
            self.judge()
            await self._clock.sleep(STEP_S)

    def judge(self) -> None:
        """Look at everything once, and say what changed."""
        self._say(*self.engine.step(self._clock.monotonic()))

    async def _keep_leading(self) -> None:
        while True:
            await self.look_who_leads()
            await self._clock.sleep(STEP_S / 4)

    async def look_who_leads(self) -> None:
        """Take the lead or give it away; whoever takes it tells what nobody told in between.

        That is what fired or cleared while a monitor that is gone was still taken to lead. Until what was
        told has been read, nothing is told: judging does not wait for it.
        """
        if not self.engine.is_leader(self._clock.monotonic()):
            self._leads = False
        elif not self._leads:
            told = await self._what_was_told()
            self._leads = True
            self._say(self.engine.untold(told, self._clock.monotonic()), [])

    async def _what_was_told(self) -> Mapping[str, Alert]:
        while True:
            try:
                return await self._told()
            except BrokerError as error:
                self._emit(events.StatsInterrupted(error=str(error)))
                await self._clock.sleep(_PAUSE_S)

    def _take(self, value: bytes, offset: int, at_ms: int) -> None:
        self._came_s = self._clock.monotonic()
        taken = self.engine.take(value, offset, at_ms, self._came_s)
        if taken.unreadable and not self._refused:
            self._refused = True
            self._emit(events.StatsRefused(offset=offset))
        if taken.caught_up:
            seconds = round(self._came_s - self._started_s, 1)
            self._emit(events.MonitorCaughtUp(records=self.engine.records, seconds=seconds))

    def _is_stale(self) -> bool:
        """Our own record comes each second; where none does, the reader or the broker hangs."""
        return self._clock.monotonic() - self._came_s > _STALE_S

    def _say(self, alerts: list[Alert], healths: list[SiteHealth]) -> None:
        if (alerts or healths) and self._leads:
            self._tell(alerts, healths)
        for alert in alerts:
            if alert.state == "cleared" or alert.key not in self._logged:
                self._emit(_event(alert))
        self._logged = {alert.key for alert in self.engine.book.firing()}
        counts: dict[str, int] = {}
        for alert in self.engine.book.firing():
            counts[alert.rule] = counts.get(alert.rule, 0) + 1
        for rule in sorted(counts.keys() | self._firing.keys()):
            if counts.get(rule, 0) != self._firing.get(rule):
                self._emit(events.AlertsFiring(rule=rule, subjects=counts.get(rule, 0)))
        self._firing = counts


def decode_alert(value: bytes) -> Alert | None:
    """Return a record of ``alerts``; None where it is none."""
    try:
        return msgspec.json.decode(value, type=Alert)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _event(alert: Alert) -> events.AlertFired | events.AlertCleared:
    if alert.state == "fired":
        return events.AlertFired(
            rule=alert.rule,
            subject=alert.subject,
            severity=alert.severity,
            value=round(alert.value, 4),
            sample=alert.sample,
            summary=alert.summary,
            action=alert.action,
        )
    return events.AlertCleared(
        rule=alert.rule,
        subject=alert.subject,
        severity=alert.severity,
        value=round(alert.value, 4),
        seconds=round((alert.at_ms - alert.since_ms) / 1000, 1),
    )
