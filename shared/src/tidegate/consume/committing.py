"""Commits: what is done, at intervals and when partitions go. A commit that is refused is redone later."""

import asyncio

from tidegate.clock import Clock
from tidegate.consume.offsets import OffsetBook
from tidegate.consume.runtime_events import CommitRefused
from tidegate.consume.transport import Source
from tidegate.errors import CommitRefusedError
from tidegate.events import Emit


class Committer:
    """Commits what the book says may be committed, one commit at a time."""

    def __init__(
        self, book: OffsetBook, source: Source, *, interval_s: float, clock: Clock, emit: Emit
    ) -> None:
        self._book = book
        self._source = source
        self._interval_s = interval_s
        self._clock = clock
        self._emit = emit
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Commit at intervals, for ever."""
        while True:
            await self._clock.sleep(self._interval_s)
            await self.commit()

    async def commit(self) -> bool:
        """Commit what differs from what was committed last; say whether the broker has all of it now."""
        async with self._lock:
            commits = self._book.commits()
            if not commits:
                return True
            try:
                await self._source.commit(commits)
            except CommitRefusedError as error:
                self._emit(CommitRefused(error=str(error)))
                return False
            self._book.committed(commits)
            return True
