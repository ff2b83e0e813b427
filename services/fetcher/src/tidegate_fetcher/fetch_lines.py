"""The one line that is told of a job's fetch. Pure."""

from tidegate.captcha_records import Challenge
from tidegate.consume.service import Work
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Outgoing, Retry
from tidegate.topics import HELD, Topic

from tidegate_fetcher.events import FetchDone
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.tasks import ResumeTask, Task

_HELD = frozenset(HELD.values())


def forwarded(work: Work[Task]) -> FetchDone:
    """Return what is told of a job that belongs to another partition."""
    return _line(work, "forwarded", None, challenged=False)


def copy(work: Work[Task]) -> FetchDone:
    """Return what is told of a job that goes on by another record."""
    return _line(work, "copy", None, challenged=False)


def ended(work: Work[Task], outcome: Outcome, response: Response | None) -> FetchDone:
    """Return what is told of a job: where, how it ended, what it cost."""
    met = response is not None and isinstance(response.found, Challenge)
    # A token that a site did not take says something of its solver, and of the site nothing new.
    refused = isinstance(outcome, Retry) and outcome.error_class is ErrorClass.SOLVE_FAILED
    return _line(work, _name_of(outcome), response, challenged=met and not refused)


def _line(work: Work[Task], outcome: str, response: Response | None, *, challenged: bool) -> FetchDone:
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
        challenged=challenged,
    )


def _name_of(outcome: Outcome) -> str:
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
        case Defer():
            return "deferred"
