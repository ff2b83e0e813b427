"""Whose record is it: the identity of the job that any record of custody carries. Pure."""

from typing import NamedTuple

import msgspec
from tidegate.records import DEFAULT_RUN, Inbound, JobState, decoder, default_id, origin_of
from tidegate.salvage import unread_job
from tidegate.topics import LANES

_INTAKE = frozenset(LANES.values())


class Identity(NamedTuple):
    """A job's identity; ``state`` is None for a record as its producer wrote it."""

    run: str
    id: str
    state: JobState | None


class _Named(msgspec.Struct, frozen=True):
    id: str | None = None
    run: str = DEFAULT_RUN


_NAMED = decoder(_Named)


def identity_of(record: Inbound) -> Identity:
    """Return the identity by the job's state, by the intake record's own words, or by its place."""
    job = unread_job(record)
    here = default_id(origin_of(record))
    if record.topic not in _INTAKE or job.state.id != here:
        return Identity(job.state.run, job.state.id, job.state)
    text = record.value.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        named = _NAMED.decode(text) if text[:1] == b"{" else _Named()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        named = _Named()
    return Identity(named.run, named.id or here, None)
