"""Runs: what an operator says of a run, and what that means for its jobs. Pure.

The last record of a run counts; the topic ``runs`` is compacted, so nothing may depend on those before it. A
run that nobody created is running, without a budget and without a deadline. Spending is stopped by the ledger
(``Stop``), which is exact; this is for everything else.
"""

from enum import StrEnum

import msgspec

from tidegate.money import MicroUsd
from tidegate.outcome import Outgoing
from tidegate.records import VERSION, Inbound, Milliseconds, decode, decoder, encode
from tidegate.topics import Topic

MOST_RUNS = 100_000

# Codes of a solver's answer to the request of a run that does not spend.
RUN_PAUSED = "run_paused"
RUN_CANCELLED = "run_cancelled"


class RunState(StrEnum):
    """Whether a run's jobs are worked on; a cancelled run never is again."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run as its operator wants it. ``budget`` in millionths of a US dollar, as it was when it was said.

    ``deadline_s`` counts from the creation: the append time of the run's first record, which the later ones
    carry in ``created_at_ms``.
    """

    version: int = VERSION
    run: str
    state: RunState = RunState.RUNNING
    budget: MicroUsd | None = None
    deadline_s: float | None = None
    created_at_ms: Milliseconds | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands; times by the broker's clock."""

    record: RunRecord
    created_at_ms: int
    changed_at_ms: int

    @property
    def deadline_ms(self) -> int | None:
        """When its jobs end, None for never."""
        seconds = self.record.deadline_s
        return None if seconds is None else self.created_at_ms + int(seconds * 1000)


_RUN = decoder(RunRecord)


def run_record(record: RunRecord) -> Outgoing:
    """Return the record that says how a run stands."""
    return Outgoing(topic=Topic.RUNS, site="", key=record.run.encode(), partition=0, value=encode(record))


class Runs:
    """All runs that somebody created; the ones changed least recently go beyond 100,000."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def apply(self, record: Inbound) -> None:
        """Take the next record of the topic. Raises RecordError for one that cannot be read."""
        if not record.value:
            self._runs.pop((record.key or b"").decode(errors="replace"), None)
            return
        said = decode(_RUN, record.value, "a run's record")
        created_at_ms = record.timestamp_ms if said.created_at_ms is None else said.created_at_ms
        self._runs.pop(said.run, None)
        self._runs[said.run] = Run(
            record=said, created_at_ms=created_at_ms, changed_at_ms=record.timestamp_ms
        )
        if len(self._runs) > MOST_RUNS:
            del self._runs[next(iter(self._runs))]

    def get(self, run: str) -> Run | None:
        """Return a run, None for one that nobody created."""
        return self._runs.get(run)

    def all(self) -> tuple[Run, ...]:
        """Return every run, the one changed last at the end."""
        return tuple(self._runs.values())

    def state(self, run: str) -> RunState:
        """Return whether a run's jobs are worked on."""
        found = self._runs.get(run)
        return RunState.RUNNING if found is None else found.record.state
