"""The ledger's shell: reads the whole log of ``budget``, appends to it, and waits for its own records.

A decision is never made here. Whoever wants money appends a reserve record, waits until it has read that
record back, and takes the decision that the state machine gave it there (delivery.md M1). What stands before
it in the log counts, whoever wrote it and whether or not it was known here when the record was sent; so there
is no moment at which two solvers could both take the last cent.
"""

import asyncio
from contextlib import aclosing
from random import Random
from typing import TypeAlias

from tidegate.clock import Clock
from tidegate.consume.service import Sink
from tidegate.errors import BrokerError, ConfigurationError, OffsetsLostError, RecordError
from tidegate.events import Emit, Event
from tidegate.ledger.decisions import Applied, ChargedMore, Decision, Dropped, LevelReached, Note
from tidegate.ledger.entries import Entry, Mark, Reserve, entry_record, read_entry
from tidegate.ledger.machine import Ledger
from tidegate.ledger.snapshot import EVERY, farthest, is_due, snapshot_record
from tidegate.money import format_usd
from tidegate.process import PartitionReader
from tidegate.records import Inbound
from tidegate.topics import Topic

from tidegate_solver import events

_BACKOFF_S = 1.0
_LOST = (
    "The topic budget has lost records that no snapshot covers, so what was spent is not known any more and "
    "nothing may be bought: see docs/budgets.md, When the ledger is lost."
)

Waiting: TypeAlias = asyncio.Future[Decision | None]


class LedgerLog:
    """One process's view of the ledger, and its pen."""

    def __init__(
        self, sink: Sink, reader: PartitionReader, *, clock: Clock, random: Random, emit: Emit
    ) -> None:
        self._sink = sink
        self._reader = reader
        self._clock = clock
        self._emit = emit
        self._ledger = Ledger()
        self._waiting: dict[str, Waiting] = {}
        self._count = 0
        self._restored_from = 0
        self._snapshot_wanted = asyncio.Event()
        # A new name at every start: nothing that an earlier process wrote may be taken for ours.
        self.name = f"{random.getrandbits(64):016x}"

    @property
    def ledger(self) -> Ledger:
        """The state as far as it was read."""
        return self._ledger

    def next_id(self) -> str:
        """Return an id that nobody has used or will."""
        self._count += 1
        return f"{self.name}-{self._count}"

    async def run(self) -> None:
        """Restore and follow until cancelled.

        Raises ConfigurationError where the log cannot be believed: records are gone, or too new for this
        build.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_snapshots(), name="ledger snapshots")
            restored = False
            while True:
                try:
                    if not restored:
                        await self._restore()
                        restored = True
                    await self._follow()
                except OffsetsLostError as error:
                    raise ConfigurationError(_LOST) from error
                except BrokerError as error:
                    self._emit(events.LedgerInterrupted(offset=self._ledger.next_offset, error=str(error)))
                    await self._clock.sleep(_BACKOFF_S)

    async def _restore(self) -> None:
        read = self._reader.read(Topic.BUDGET_SNAPSHOTS, 0)
        self._ledger = farthest([record.value async for record in read if record.value])
        self._restored_from = self._ledger.next_offset

    async def restored(self) -> None:
        """Wait until the log was read to its end, and say what was found."""
        await self.catch_up()
        ledger, read = self._ledger, self._ledger.next_offset - self._restored_from
        if read >= EVERY:
            self._snapshot_wanted.set()
        self._emit(
            events.LedgerRestored(
                snapshot=self._restored_from,
                records=read,
                limits=len(ledger.limits),
                used_up=sum(ledger.used(scope) >= limit for scope, limit in ledger.limits.items()),
                open=len(ledger.open),
                spent=format_usd(ledger.spent),
                barred=ledger.providers_out,
            )
        )

    async def catch_up(self) -> None:
        """Wait until everything that was in the log at the call has been read."""
        await self.decided(Mark(by=self.name, id=self.next_id()))

    async def decided(self, entry: Reserve | Mark) -> Decision | None:
        """Append a record, read it back, and return how it was decided.

        Raises RecordError where the record does not fit, FatalProduceError where its fate is unknown for
        good and the process must end.
        """
        waiting: Waiting = asyncio.get_running_loop().create_future()
        self._waiting[entry.id] = waiting
        try:
            await self._sink.send(entry_record(entry))
            return await waiting
        finally:
            del self._waiting[entry.id]

    async def append(self, entry: Entry) -> None:
        """Append a record and wait for its acknowledgement; as ``decided`` raises."""
        await self._sink.send(entry_record(entry))

    async def _follow(self) -> None:
        log = self._reader.follow(Topic.BUDGET, 0, self._ledger.next_offset)
        async with aclosing(log) as batches:
            async for batch in batches:
                for record in batch:
                    self._take(record)

    def _take(self, record: Inbound) -> None:
        if record.offset < self._ledger.next_offset:
            return  # the embedded broker hands a batch out whole, whatever offset was asked for
        try:
            entry = read_entry(record.value)
        except RecordError as error:
            self._ledger.skip(record.offset)
            self._emit(events.LedgerRecordIgnored(offset=record.offset, kind="unreadable", why=error.message))
            return
        applied = self._ledger.apply(record.offset, record.timestamp_ms, entry)
        if entry.by == self.name:
            self._answer(entry, applied)
            for note in applied.notes:
                self._emit(_event(note, record.offset))
            if is_due(record.offset):
                self._snapshot_wanted.set()

    def _answer(self, entry: Entry, applied: Applied) -> None:
        if isinstance(entry, Reserve | Mark):
            waiting = self._waiting.get(entry.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(applied.decision)

    async def _keep_snapshots(self) -> None:
        while True:
            await self._snapshot_wanted.wait()
            self._snapshot_wanted.clear()
            record = snapshot_record(self._ledger)
            offset, size = self._ledger.next_offset, len(record.value or b"")
            try:
                await self._sink.send(record)
            except RecordError:
                self._emit(events.SnapshotTooLarge(offset=offset, size=size))
            else:
                self._emit(events.SnapshotWritten(offset=offset, size=size))


def _event(note: Note, offset: int) -> Event:
    match note:
        case LevelReached():
            return events.BudgetLevel(
                scope=str(note.scope),
                percent=note.percent,
                used=format_usd(note.used),
                limit=format_usd(note.limit),
            )
        case ChargedMore():
            return events.ProviderBarred(
                provider=note.provider,
                request_id=note.request_id,
                reserved=format_usd(note.reserved),
                cost=format_usd(note.cost),
            )
        case Dropped():
            return events.LedgerRecordIgnored(offset=offset, kind=note.kind, why=note.why)
