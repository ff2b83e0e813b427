"""The job of a record that could not be read, as far as anything of it can be. Pure.

Even garbage has one outcome. Where a captcha record is unreadable as a whole (written by a newer build, say)
the job in it is looked for by itself: its dead letter must bear the identity under which it was submitted,
and hold the job's own bytes, never a solution's token and cookies (delivery.md C1).
"""

import msgspec

from tidegate.errors import RecordError
from tidegate.records import Inbound, Job, JobState, decoder, job_state, stray_job
from tidegate.topics import Topic


class _Request(msgspec.Struct, frozen=True):
    original: bytes
    state: JobState


class _Solution(msgspec.Struct, frozen=True):
    request: _Request


_REQUEST = decoder(_Request)
_SOLUTION = decoder(_Solution)


def unread_job(record: Inbound) -> Job:
    """Return the job by the state in the header, else the one embedded, else one made of where it stands."""
    try:
        state = job_state(record.headers)
    except RecordError:
        state = None
    if state is not None:
        return Job(record.value, state)
    return _embedded(record) or stray_job(record)


def _embedded(record: Inbound) -> Job | None:
    try:
        if record.topic == Topic.CAPTCHA_REQUESTS:
            request = _REQUEST.decode(record.value)
        elif record.topic == Topic.CAPTCHA_SOLUTIONS:
            request = _SOLUTION.decode(record.value).request
        else:
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Job(request.original, request.state)
