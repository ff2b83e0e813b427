"""Watches a run in ClickHouse until every submitted job has its outcome, or nothing moves any more."""

from collections.abc import Callable

from tidegate.clock import Clock
from tidegate.errors import ClickHouseError

from tidegate_cli.crawl.ledger import Ledger, Verdict
from tidegate_cli.crawl.outcomes import Outcomes
from tidegate_cli.crawl.progress import Patience, Progress, next_poll_s

_SETTLE_S = 8.0
_SETTLE_POLL_S = 0.25


class Watcher:
    """Feeds ``progress`` with what ClickHouse says.

    ``tick`` is called after each look; ``too_full`` says why the stack can take no more, if that is so.
    """

    def __init__(
        self,
        *,
        outcomes: Outcomes,
        ledger: Ledger,
        progress: Progress,
        patience: Patience,
        clock: Clock,
        tick: Callable[[], None],
        too_full: Callable[[], str | None],
    ) -> None:
        self._outcomes = outcomes
        self._ledger = ledger
        self._progress = progress
        self._patience = patience
        self._clock = clock
        self._tick = tick
        self._too_full = too_full

    async def watch(self, submitted: Callable[[], int]) -> str | None:
        """Return None when the run is over, else the sentence why it was given up.

        ClickHouse may be away for a while; ClickHouseError is raised when it stays away.
        """
        progress, clock = self._progress, self._clock
        while True:
            asked_s = clock.monotonic()
            trouble: ClickHouseError | None = None
            counts = progress.counts
            try:
                counts = await self._outcomes.counts()
            except ClickHouseError as error:
                trouble = error
            now = clock.monotonic()
            progress.submit(now, submitted())
            progress.observe(now, counts)
            self._tick()
            if progress.complete and trouble is None and not (await self.judge()).lost:
                return None
            given_up = self._too_full() or self._patience.given_up(progress, now)
            if given_up is not None:
                if trouble is not None:
                    raise trouble
                return given_up
            await clock.sleep(next_poll_s(now - asked_s, first_page_seen=progress.first_page_s is not None))

    async def judge(self) -> Verdict:
        """Compare the ids that were submitted with those that have an outcome."""
        self._ledger.forget_outcomes()
        async for ids in self._outcomes.ids():
            self._ledger.outcomes(ids)
        return self._ledger.judge()

    async def settle(self) -> None:
        """Let the rows of the last solves arrive: they travel on a topic of their own."""
        deadline_s = self._clock.monotonic() + _SETTLE_S
        expected = await self._outcomes.challenges()
        while True:
            counts = await self._outcomes.counts()
            self._progress.observe(self._clock.monotonic(), counts)
            if counts.captchas >= expected or self._clock.monotonic() >= deadline_s:
                return
            await self._clock.sleep(_SETTLE_POLL_S)
