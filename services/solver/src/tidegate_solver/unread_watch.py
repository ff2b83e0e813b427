"""Watches how long answers lie unread, and holds purchases back by it: the shell of ``flow.unread``."""

import asyncio

from tidegate.backlog import Backlog
from tidegate.clock import BrokerClock, Clock
from tidegate.errors import BrokerError
from tidegate.events import Emit
from tidegate.flow.unread import UnreadPolicy, UnreadWall
from tidegate.sites import partition_of
from tidegate.topics import Topic

from tidegate_solver import events

# Thousands may wait. Woken by every reading they would keep the process from ever reading again.
_LOOK_AGAIN_S = 5.0


class UnreadWatch:
    """Reads where the fetchers stand on ``captcha-solutions``; ``partitions`` is that topic's count."""

    def __init__(
        self,
        policy: UnreadPolicy,
        backlog: Backlog,
        *,
        partitions: int,
        read_every_s: float,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
    ) -> None:
        self._wall = UnreadWall(policy)
        self._backlog = backlog
        self._partitions = partitions
        self._read_every_s = read_every_s
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._blind = False
        self._turned = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            if await self._read():
                self._turned.set()
                self._turned = asyncio.Event()
            await self._clock.sleep(self._read_every_s)

    def is_shut(self, site: str) -> bool:
        """Say whether nothing may be bought for a site now."""
        partition = partition_of(site.encode(), self._partitions)
        return self._wall.is_shut(partition, self._clock.monotonic())

    async def turned(self) -> None:
        """Wait until a partition opens or shuts, for seconds at most: patience may run out meanwhile."""
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                await self._turned.wait()
        except TimeoutError:
            pass

    async def _read(self) -> bool:
        """Read once; say whether that changed anything for those who wait."""
        try:
            standing = await self._backlog.read(Topic.CAPTCHA_SOLUTIONS, "fetcher", unread=True)
        except BrokerError as error:
            if not self._blind and not self._wall.is_known(self._clock.monotonic()):
                self._blind = True
                self._emit(events.UnreadUnknown(error=str(error)))
            return False
        self._blind = False
        was_known = self._wall.is_known(self._clock.monotonic())
        now_ms = self._broker_clock.now_ms()
        ages_s = {
            partition: max(0.0, (now_ms - at_ms) / 1000) for partition, at_ms in standing.unread_ms.items()
        }
        changes = self._wall.observe(ages_s, self._clock.monotonic())
        for change in changes:
            if change.shut:
                self._emit(events.UnreadWallShut(partition=change.partition, age_s=round(change.age_s, 3)))
            else:
                self._emit(
                    events.UnreadWallOpened(partition=change.partition, seconds=round(change.seconds, 3))
                )
        oldest_s = round(max(ages_s.values(), default=0.0), 3)
        self._emit(events.UnreadRead(records=standing.end - standing.done, oldest_s=oldest_s))
        return bool(changes) or not was_known
