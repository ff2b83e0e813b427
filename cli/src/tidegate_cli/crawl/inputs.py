"""From a line of input to a record on an intake topic. Pure.

A line is a URL or a JSON ``UrlJob``. A line that is neither is submitted as it is, so that it becomes a dead
letter that says why: bad input gets a clear error and loses nothing. Every submission carries its run and an
explicit id, so that each can be asked for by name at the end.
"""

import hashlib
from typing import TypeVar

import msgspec
from tidegate.errors import RecordError
from tidegate.records import DEFAULT_RUN, JobState, Lane, Origin, UrlJob, job_headers
from tidegate.sites import site_of
from tidegate.topics import LANES
from tidegate_storer import redact

from tidegate_cli.terminal import printable

MAX_LINE_BYTES = 11 << 20
"""Longest line that is taken, in bytes: below the intake topics' ``max.message.bytes``, headers included."""

_MAX_NAME_CHARACTERS = 256
"""Longest id and run that the services take."""

_MAX_QUOTED_BYTES = 4096

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JOB = msgspec.json.Decoder(UrlJob)
_TEXT = msgspec.json.Decoder(str)
_LANE = msgspec.json.Decoder(Lane)
_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs get that do not say it themselves.

    ``own_run`` lets a job's own ``run`` stand; otherwise all belong to ``run``, as in a crawl.
    """

    run: str = DEFAULT_RUN
    own_run: bool = False
    priority: Lane | None = None
    id: str | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One record to produce. ``site`` is empty and ``problem`` a sentence where the line is no job."""

    run: str
    id: str
    site: str
    lane: Lane
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    problem: str | None = None


def stable_id(position: int, text: bytes, run: str) -> str:
    """Return the id of a job that names none: the same input under the same run gives the same ids."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{position}\n{len(text)}\n".encode())
    digest.update(text)
    digest.update(run.encode())
    return digest.hexdigest()


def submission_of(line: bytes, position: int, defaults: Defaults, now_ms: int) -> Submission | None:
    """Return what a line submits, None for a blank one and a comment.

    ``position`` counts the lines of all inputs, so that the same URL on two lines is two jobs.
    """
    text = line.strip().removeprefix(b"\xef\xbb\xbf").strip()
    if not text or text.startswith(b"#"):
        return None
    if text.startswith(b"{"):
        return _from_json(text, position, defaults, now_ms)
    identity = defaults.id or stable_id(position, text, defaults.run)
    lane = defaults.priority or Lane.NORMAL
    try:
        url = text.decode()
        site = site_of(url)
    except UnicodeDecodeError:
        problem = "it is not UTF-8 text"
    except RecordError as error:
        problem = error.message
    else:
        job: dict[str, object] = {"url": url, "id": identity, "run": defaults.run}
        if defaults.priority is not None:
            job["priority"] = defaults.priority
        return Submission(run=defaults.run, id=identity, site=site, lane=lane, value=_encode(job))
    return _as_it_is(text, run=defaults.run, identity=identity, lane=lane, problem=problem, now_ms=now_ms)


def _from_json(text: bytes, position: int, defaults: Defaults, now_ms: int) -> Submission:
    """Read a JSON job. Fields that are there travel on untouched, unknown ones and ``metadata`` included."""
    fields: dict[str, msgspec.Raw] = {}
    identity, run, lane, problem, site = None, None, None, None, ""
    try:
        fields = _FIELDS.decode(text)
        identity = _own(fields, "id", _TEXT)
        run = _own(fields, "run", _TEXT) if defaults.own_run else None
        lane = _own(fields, "priority", _LANE)
        job = _JOB.decode(text)
        for name, value in (("id", job.id), ("run", job.run)):
            if value is not None and not 0 < len(value) <= _MAX_NAME_CHARACTERS:
                problem = f"its {name} must have 1 to {_MAX_NAME_CHARACTERS} characters"
        site = site_of(job.url)
    except RecordError as error:
        problem = error.message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"it is not a job: {error}"
    run = run if run and len(run) <= _MAX_NAME_CHARACTERS else defaults.run
    identity = identity if identity and len(identity) <= _MAX_NAME_CHARACTERS else None
    identity = identity or defaults.id or stable_id(position, text, run)
    lane = lane or defaults.priority or Lane.NORMAL
    if problem is not None:
        return _as_it_is(text, run=run, identity=identity, lane=lane, problem=problem, now_ms=now_ms)
    named = {"id": msgspec.Raw(_encode(identity)), "run": msgspec.Raw(_encode(run))}
    if lane is not Lane.NORMAL:
        named["priority"] = msgspec.Raw(_encode(lane))
    return Submission(run=run, id=identity, site=site, lane=lane, value=_encode({**fields, **named}))


def _own(fields: dict[str, msgspec.Raw], name: str, reader: msgspec.json.Decoder[_T]) -> _T | None:
    """Return a field's value where it is there and of its type; the job as a whole is judged elsewhere."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return reader.decode(raw)
    except msgspec.DecodeError:
        return None


def _as_it_is(text: bytes, *, run: str, identity: str, lane: Lane, problem: str, now_ms: int) -> Submission:
    """Return a submission of the very bytes; its run and id travel in the header of the job's state."""
    origin = Origin(topic=LANES[lane], partition=0, offset=0, timestamp_ms=now_ms)
    state = JobState(run=run, id=identity, site="", lane=lane, origin=origin, accepted_at_ms=now_ms)
    return Submission(
        run=run, id=identity, site="", lane=lane, value=text, headers=job_headers(state), problem=problem
    )


def quote(text: bytes, limit: int = 60) -> str:
    """Return the beginning of a line for a message: on one line, without control characters and secrets.

    A terminal is often a log that others read, and a bad line may hold a cookie or a token.
    """
    whole = redact.original(text[:_MAX_QUOTED_BYTES]).partition('"body"')[0]
    return printable(whole, limit)
