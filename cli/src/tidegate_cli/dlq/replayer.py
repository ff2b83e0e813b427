"""Replays dead letters: reads the originals, judges each, produces at a pace. Bounded at any number.

ClickHouse is never written: the row of a replayed job leaves the view when its page comes, for a page beats a
dead letter (delivery.md O1). So a replay that is cut off is simply run again.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import msgspec
from opentelemetry.trace import Tracer
from tidegate.clock import Clock
from tidegate.consume.service import Sink
from tidegate.errors import BrokerError, RecordError
from tidegate.outcome import Outgoing
from tidegate.records import Inbound
from tidegate.tracing import begin_replay

from tidegate_cli.dlq.letters import Letter
from tidegate_cli.dlq.replay import Refusal, Replay, Why, fetched_again, judge, parsed_again

_BATCH_RECORDS = 200
_BATCH_BYTES = 16 << 20
_PRODUCE_S = 60.0

FETCH = "fetch"
PARSE = "parse"

Read = Callable[[int, Iterable[int]], AsyncIterator[tuple[int, Inbound | None]]]
"""Gives the records of one partition of ``dead-letter`` at some offsets."""

Body = Callable[[str], Awaitable[bytes | None]]
"""Gives a stored body by its hash, None where it is not there any more."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What was, or would be, done with one dead letter: ``fetch``, ``parse``, or why nothing can be."""

    run: str
    id: str
    reason: str
    url: str
    action: str
    message: str = ""


class Tally(msgspec.Struct, kw_only=True):
    """How many; ``replayed`` is the sum of ``fetch`` and ``parse``, ``refused`` counts by why."""

    dry_run: bool = False
    matched: int = 0
    fetch: int = 0
    parse: int = 0
    refused: dict[str, int] = {}

    @property
    def replayed(self) -> int:
        """How many went back."""
        return self.fetch + self.parse

    @property
    def not_replayed(self) -> int:
        """How many could not."""
        return sum(self.refused.values())


class Pacer:
    """Spreads moments evenly: ``rate`` a second, without catching up what was slower. Pure."""

    def __init__(self, rate: float | None) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._next_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """Take the next moment; return how long it is until then."""
        if self._next_s is None:
            self._next_s = now_s
        moment = max(self._next_s, now_s)
        self._next_s = moment + self._interval_s
        return moment - now_s


class Replayer:
    """Replays pages of dead letters. ``sink`` None only says what would be done."""

    def __init__(
        self,
        *,
        read: Read,
        body: Body,
        sink: Sink | None,
        clock: Clock,
        tracer: Tracer,
        tell: Callable[[Step], None],
        rate: float | None = None,
        limit: int | None = None,
        refetch: bool = False,
    ) -> None:
        self._read = read
        self._body = body
        self._sink = sink
        self._clock = clock
        self._tracer = tracer
        self._tell = tell
        self._pacer = Pacer(None if sink is None else rate)
        self._limit = limit
        self._refetch = refetch
        self._batch: list[tuple[Outgoing, Step]] = []
        self._batch_bytes = 0
        self.tally = Tally(dry_run=sink is None)

    async def run(self, pages: AsyncIterator[list[Letter]]) -> Tally:
        """Replay them all, at most ``limit``; each is acknowledged when this returns.

        Raises BrokerError where Kafka does not take or give records.
        """
        async for page in pages:
            left = None if self._limit is None else self._limit - self.tally.matched
            letters = page[:left]
            self.tally.matched += len(letters)
            await self._page(letters)
            if self._limit is not None and self.tally.matched >= self._limit:
                break
        return self.tally

    async def _page(self, letters: list[Letter]) -> None:
        partitions: dict[int, dict[int, Letter]] = defaultdict(dict)
        for letter in letters:
            partitions[letter.record_partition][letter.record_offset] = letter
        for partition, by_offset in partitions.items():
            async for offset, record in self._read(partition, by_offset):
                await self._one(by_offset[offset], record)
        await self._flush()

    async def _one(self, letter: Letter, record: Inbound | None) -> None:
        verdict = judge(letter, record)
        if isinstance(verdict, Refusal):
            self._refuse(_step(letter, verdict.why, verdict.message))
            return
        outgoing, step = await self._prepare(letter, verdict)
        if self._sink is None:
            self._done(step)
            return
        wait_s = self._pacer.wait_s(self._clock.monotonic())
        if wait_s > 0:
            await self._flush()
            await self._clock.sleep(wait_s)
        self._batch.append((outgoing, step))
        self._batch_bytes += len(outgoing.value or b"")
        if len(self._batch) >= _BATCH_RECORDS or self._batch_bytes >= _BATCH_BYTES:
            await self._flush()

    async def _prepare(self, letter: Letter, replay: Replay) -> tuple[Outgoing, Step]:
        body = None
        if replay.page is not None and not self._refetch:
            body = await self._body(replay.page.body_hash)
        if replay.page is not None and body is not None:
            outgoing = parsed_again(replay, replay.page, body, self._trace("pages", replay))
            return outgoing, _step(letter, PARSE)
        outgoing = fetched_again(replay, self._trace("urls", replay))
        lost = bool(letter.body_hash) and not self._refetch
        return outgoing, _step(letter, FETCH, "Its body is not kept any more." if lost else "")

    def _trace(self, topic: str, replay: Replay) -> bytes | None:
        return None if self._sink is None else begin_replay(self._tracer, topic, replay.trace)

    async def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        try:
            # A time limit, unlike a service's produce: what is produced twice is one outcome (O6).
            async with asyncio.timeout(_PRODUCE_S), asyncio.TaskGroup() as group:
                for outgoing, step in batch:
                    group.create_task(self._send(outgoing, step))
        except TimeoutError as error:
            raise BrokerError(
                f"Kafka did not take the records within {_PRODUCE_S:.0f} s; {self.tally.replayed:,} were "
                "replayed. Run the command again: a double replay is harmless."
            ) from error

    async def _send(self, outgoing: Outgoing, step: Step) -> None:
        assert self._sink is not None
        try:
            await self._sink.send(outgoing)
        except RecordError as error:
            self._refuse(msgspec.structs.replace(step, action=Why.TOO_LARGE, message=error.message))
        else:
            self._done(step)

    def _done(self, step: Step) -> None:
        if step.action == PARSE:
            self.tally.parse += 1
        else:
            self.tally.fetch += 1
        self._tell(step)

    def _refuse(self, step: Step) -> None:
        self.tally.refused[step.action] = self.tally.refused.get(step.action, 0) + 1
        self._tell(step)


def _step(letter: Letter, action: str, message: str = "") -> Step:
    return Step(
        run=letter.run,
        id=letter.id,
        reason=letter.reason,
        url=letter.url,
        action=str(action),
        message=message,
    )
