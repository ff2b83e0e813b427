"""Follows the topic ``runs``: what operators say of runs reaches every fetcher within a moment."""

from contextlib import aclosing

from tidegate.clock import Clock
from tidegate.errors import BrokerError, OffsetsLostError, RecordError
from tidegate.events import Emit
from tidegate.process import PartitionReader
from tidegate.records import Inbound
from tidegate.runs import Runs
from tidegate.topics import Topic

from tidegate_fetcher.events import RunChanged, RunRecordIgnored, RunsUnknown

_BACKOFF_S = 1.0


class RunWatch:
    """The states of all runs, kept up to date by ``run``."""

    def __init__(self, reader: PartitionReader, clock: Clock, emit: Emit) -> None:
        self.runs = Runs()
        self._reader = reader
        self._clock = clock
        self._emit = emit
        self._next = 0

    async def restore(self) -> None:
        """Read all that is there, however long the broker is away: no job is begun before."""
        while True:
            try:
                async for record in self._reader.read(Topic.RUNS, 0):
                    self._take(record)
            except BrokerError as error:
                self._emit(RunsUnknown(error=str(error)))
                await self._clock.sleep(_BACKOFF_S)
            else:
                return

    async def run(self) -> None:
        """Follow until cancelled. While the broker is away, what was known last holds."""
        while True:
            try:
                async with aclosing(self._reader.follow(Topic.RUNS, 0, self._next)) as batches:
                    async for batch in batches:
                        for record in batch:
                            self._take(record, told=True)
            except OffsetsLostError as error:
                # Somebody deleted records, or made the topic anew: what is left is the truth.
                self._emit(RunsUnknown(error=str(error)))
                self.runs = Runs()
                self._next = max(0, *(left for _, left in error.lost.values()))
                await self._clock.sleep(_BACKOFF_S)
                await self.restore()
            except BrokerError as error:
                self._emit(RunsUnknown(error=str(error)))
                await self._clock.sleep(_BACKOFF_S)

    def _take(self, record: Inbound, *, told: bool = False) -> None:
        if record.offset < self._next:
            return
        self._next = record.offset + 1
        try:
            self.runs.apply(record)
        except RecordError as error:
            self._emit(RunRecordIgnored(offset=record.offset, error=error.message))
            return
        if told:
            run = (record.key or b"").decode(errors="replace")
            self._emit(RunChanged(run=run, state=self.runs.state(run)))
