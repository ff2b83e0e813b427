"""The one line that is told of a job's fetch. Pure."""

from tidegate.consume.service import Work
from tidegate.outcome import Dead, Done, Outgoing, Retry
from tidegate.topics import HELD, Topic

from tidegate_fetcher.events import FetchDone
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.tasks import ResumeTask, Task

_HELD = frozenset(HELD.values())


def line(work: Work[Task], outcome: str, response: Response | None) -> FetchDone:
    """Return what is told of a job: where, how it ended, what it cost."""
    state, task = work.job.state, work.payload
    return FetchDone(
        run=state.run,
        id=state.id,
        site=state.site,
        place=f"{task.url.origin()}{task.url.raw_path}",
        outcome=outcome,
        status=None if response is None else response.status,
        elapsed_ms=None if response is None else response.elapsed_ms,
        wire_bytes=None if response is None else response.wire_bytes,
        body_bytes=None if response is None else len(response.body),
        redirects=None if response is None else response.redirects,
        hop=state.hop,
        resumed=isinstance(task, ResumeTask),
        proxy=None if response is None else response.proxy_id,
    )


def name_of(outcome: Done | Retry | Dead) -> str:
    """Return the name of an outcome on its line."""
    match outcome:
        case Done(outgoing=(Outgoing(topic=Topic.PAGES),)):
            return "page"
        case Done(outgoing=(Outgoing(topic=topic),)) if topic in _HELD:
            return "held"
        case Done():
            return "challenge"
        case Retry():
            return outcome.error_class
        case Dead():
            return outcome.reason
