"""Where an intake record goes before anybody looks at it: its own partition, or aside. Pure."""

from tidegate.consume.service import Work
from tidegate.outcome import Done, Outgoing
from tidegate.records import job_headers
from tidegate.sites import partition_of
from tidegate.topics import HELD, LANES

from tidegate_fetcher.tasks import FetchTask, Task

_INTAKE = frozenset(LANES.values())
_HELD = frozenset(HELD.values())


def forwarded(work: Work[Task], partitions: int) -> Done | None:
    """Send an intake record to its site's partition and its job's lane; None where it is there (S1).

    Only what has no state yet is forwarded, and the copy has one: nothing is ever forwarded twice,
    even while two fetchers disagree on the number of partitions. No attempt is counted.
    """
    record, state, task = work.record, work.job.state, work.payload
    if not (isinstance(task, FetchTask) and task.first_sight) or record.topic not in _INTAKE:
        return None
    lane = LANES[state.lane]
    if lane == record.topic and record.partition == partition_of(state.site.encode(), partitions):
        return None
    return Done((Outgoing(topic=lane, site=state.site, value=record.value, headers=job_headers(state)),))


def may_be_put_aside(work: Work[Task]) -> bool:
    """Say whether a job is put aside while its site is held: what comes from aside has its turn."""
    return isinstance(work.payload, FetchTask) and work.record.topic not in _HELD


def aside(work: Work[Task]) -> Done:
    """Put a job of a held site onto its lane's held topic. No attempt counts."""
    state = work.job.state
    job = Outgoing(
        topic=HELD[state.lane], site=state.site, value=work.job.original, headers=job_headers(state)
    )
    return Done((job,))
