"""The journal's entries as records on ``captcha-tasks``, and back.

Compacted, keyed by request id, on the partition of the request itself, so that whoever owns the request
owns its journal. Answered entries are not yet deleted by tombstones: that takes knowing which offsets are
committed (M4), so for now the topic's own retention is what bounds it.
"""

import msgspec
from tidegate import records
from tidegate.captcha_records import TaskRecord, TaskState
from tidegate.clock import BrokerClock
from tidegate.errors import RecordError
from tidegate.outcome import Outgoing
from tidegate.process import PartitionReader
from tidegate.records import Inbound
from tidegate.topics import Topic

from tidegate_solver.answers import Answer
from tidegate_solver.journal import Entry, Journal

_TASK = records.decoder(TaskRecord)
_ANSWER = records.decoder(Answer)


def entry_record(site: str, partition: int, request_id: str, entry: Entry | None) -> Outgoing:
    """Return the record that says where a request stands; None is a voided reservation's tombstone."""
    value = None
    if entry is not None:
        value = records.encode(
            TaskRecord(
                request_id=request_id,
                state=entry.state,
                provider=entry.provider,
                task_id=entry.task_id,
                created_at_ms=entry.created_at_ms,
                max_cost=entry.max_cost,
                polls=0 if entry.answer is None else entry.answer.polls,
                answer=None if entry.answer is None else records.encode(entry.answer),
                accepted_at_ms=entry.accepted_at_ms,
            )
        )
    return Outgoing(
        topic=Topic.CAPTCHA_TASKS, site=site, key=request_id.encode(), partition=partition, value=value
    )


def read_entry(record: Inbound) -> tuple[str, Entry | None]:
    """Return a record's request id and entry. Raises RecordError where it cannot be read."""
    request_id = (record.key or b"").decode(errors="replace")
    if not record.value:
        return request_id, None
    task = records.decode(_TASK, record.value, "a journal entry")
    answer = None if task.answer is None else records.decode(_ANSWER, task.answer, "a journal entry's answer")
    return task.request_id, Entry(
        state=task.state,
        provider=task.provider,
        max_cost=task.max_cost,
        changed_at_ms=record.timestamp_ms if answer is None else answer.answered_at_ms,
        task_id=task.task_id,
        created_at_ms=task.created_at_ms,
        answer=answer,
        accepted_at_ms=task.accepted_at_ms,
    )


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A journal as read, how many records that took, and how many of them could not be read."""

    journal: Journal
    records: int
    unreadable: int


async def restore(
    reader: PartitionReader, partition: int, journal: Journal, broker_clock: BrokerClock
) -> Restored:
    """Read a partition's journal to the end captured at the call (M6).

    An entry that cannot be read still shows that something was begun: it stands as a reservation, so that
    its request is settled in doubt and never bought again.
    """
    count = unreadable = 0
    async for record in reader.read(Topic.CAPTCHA_TASKS, partition):
        count += 1
        try:
            request_id, entry = read_entry(record)
        except RecordError:
            unreadable += 1
            request_id = (record.key or b"").decode(errors="replace")
            entry = Entry(
                state=TaskState.RESERVED,
                provider="unknown",
                max_cost=0.0,
                changed_at_ms=record.timestamp_ms,
            )
        journal.restore(request_id, entry)
        if count % 1000 == 0:
            journal.forget(broker_clock.now_ms())
    journal.forget(broker_clock.now_ms())
    return Restored(journal=journal, records=count, unreadable=unreadable)
