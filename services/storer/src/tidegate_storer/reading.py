"""Reading what arrives: a record of ``pages``, ``solves`` or ``dead-letter`` becomes an item. Pure.

A page or a solve that cannot be read is refused and becomes a dead letter. A dead letter never does: what
cannot be read of it becomes a row that says so (delivery.md O5).
"""

import msgspec
from tidegate import records
from tidegate.captcha_records import SolveRecord
from tidegate.consume.service import Work
from tidegate.errors import RecordError
from tidegate.outcome import Reason
from tidegate.records import DeadMeta, Inbound, Job, JobState, PageMeta, stray_job
from tidegate.topics import Topic


class Page(msgspec.Struct, frozen=True):
    """A page; its body is the record's value, still compressed."""

    meta: PageMeta


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter; without ``meta``, ``problem`` says what could not be read."""

    meta: DeadMeta | None
    problem: str = ""


class Solve(msgspec.Struct, frozen=True):
    """What a request cost."""

    record: SolveRecord


Item = Page | DeadLetter | Solve

_PAGE = records.decoder(PageMeta)
_DEAD = records.decoder(DeadMeta)
_SOLVE = records.decoder(SolveRecord)


def read(record: Inbound) -> Work[Item]:
    """Read any record that the storer consumes. Raises RecordError with a sentence for people."""
    if record.topic == Topic.PAGES:
        return _read_page(record)
    if record.topic == Topic.SOLVES:
        solve = records.decode(_SOLVE, record.value, "the solve")
        # Its own identity: a solve whose row is refused must not end the job that it was bought for.
        return Work(record, stray_job(record, solve.site), Solve(solve))
    return _read_dead_letter(record)


def _read_page(record: Inbound) -> Work[Item]:
    original = record.headers.get(records.HEADER_ORIGINAL)
    state = records.job_state(record.headers)
    if state is None:
        raise RecordError(Reason.BAD_STATE, f"The page has no header {records.HEADER_JOB}.")
    # The value is the page's body; a dead letter must carry the job's bytes, even if none are left.
    job = Job(original or b"", state)
    data = record.headers.get(records.HEADER_PAGE)
    if data is None:
        raise RecordError(Reason.BAD_STATE, f"The page has no header {records.HEADER_PAGE}.", job)
    if original is None:
        raise RecordError(Reason.BAD_STATE, f"The page has no header {records.HEADER_ORIGINAL}.", job)
    try:
        meta = records.decode(_PAGE, data, f"the header {records.HEADER_PAGE}")
    except RecordError as error:
        raise RecordError(error.reason, error.message, job) from error
    return Work(record, job, Page(meta))


def _read_dead_letter(record: Inbound) -> Work[Item]:
    problems = []
    state: JobState | None = None
    meta: DeadMeta | None = None
    try:
        state = records.job_state(record.headers)
    except RecordError as error:
        problems.append(error.message)
    data = record.headers.get(records.HEADER_DEAD)
    if data is None:
        problems.append(f"the header {records.HEADER_DEAD} is missing")
    else:
        try:
            meta = records.decode(_DEAD, data, f"the header {records.HEADER_DEAD}")
        except RecordError as error:
            problems.append(error.message)
    job = stray_job(record) if state is None else Job(record.value, state)
    problem = f"A record on {record.topic} was not written by this version: {'; '.join(problems)}."
    return Work(record, job, DeadLetter(meta, problem))
