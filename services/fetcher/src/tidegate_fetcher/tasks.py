"""Reading what arrives: an intake record, a delayed one or a solution becomes a task. Pure.

An intake value is JSON (``UrlJob``) when it begins with a brace, else the bare text of a URL. A byte order
mark and white space around it are forgiven. Fields that ``UrlJob`` does not know are ignored, because
producers may be newer than we are; the first one's name is kept so that a misspelt field can be reported.
Fields that it knows must fit, to the letter.

A record whose identity could be read keeps it when the rest is refused, so that its dead letter bears
the id under which it was submitted.
"""

import math
import re
from functools import cached_property
from typing import NoReturn

import msgspec
from tidegate import records
from tidegate.captcha_records import CaptchaSolution
from tidegate.consume.service import Work
from tidegate.errors import RecordError
from tidegate.outcome import Reason
from tidegate.proxies import is_id, proxy_of
from tidegate.records import Inbound, Job, JobState, Lane, SolveSummary, UrlJob
from tidegate.sites import plain_site_of, site_of
from tidegate.topics import LANES, Topic
from yarl import URL

from tidegate_fetcher import urls
from tidegate_fetcher.field_values import is_sendable

_LANE_OF_TOPIC: dict[str, Lane] = {topic: lane for lane, topic in LANES.items()}
_MAX_NAME_CHARACTERS = 256
_MAX_HEADERS = 100
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_METHODS = ("CONNECT", "TRACE")


class FetchTask(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Fetch a URL.

    ``first_sight`` says that the record carries no state yet: it may have to be forwarded (S1).
    """

    job: UrlJob
    first_sight: bool = False
    unknown_field: str | None = None

    @cached_property
    def url(self) -> URL:
        """The job's URL, parsed and without user, password and fragment.

        It is parsed for who is fetched, not for the many that are only sent away (T3).
        """
        return _parsed(self.job.url)


class ResumeTask(msgspec.Struct, frozen=True, kw_only=True):
    """Go on where a challenge was met, with the solver's answer."""

    job: UrlJob
    url: URL
    solution: CaptchaSolution


Task = FetchTask | ResumeTask


class _Strict(UrlJob, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class _Identity(msgspec.Struct, frozen=True):
    id: str | None = None
    run: str = records.DEFAULT_RUN


_STRICT = records.decoder(_Strict)
_LENIENT = records.decoder(UrlJob)
_IDENTITY = records.decoder(_Identity)
_SOLUTION = records.decoder(CaptchaSolution)
_UNKNOWN = re.compile(r"unknown field `([^`]{1,64})`")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(record: Inbound, max_job_bytes: int) -> Work[Task]:
    """Read any record that the fetcher consumes. Raises RecordError with a sentence for people."""
    if record.topic == Topic.CAPTCHA_SOLUTIONS:
        return _read_solution(record)
    state = records.job_state(record.headers)
    if state is not None and records.HEADER_REPLAY_OF in record.headers:
        # A replay is accepted anew: its deadline counts from this record's append time (T1).
        state = msgspec.structs.replace(state, accepted_at_ms=record.timestamp_ms)
    _check_size(record, state, max_job_bytes)
    text = record.value.removeprefix(b"\xef\xbb\xbf").strip()
    job, unknown = (
        _read_json(record, text, state) if text[:1] == b"{" else (_read_text(record, text, state), None)
    )
    known = state is not None
    try:
        site = plain_site_of(job.url)
        if site is None:
            site = site_of(job.url)
            _parsed(job.url)
    except RecordError as error:
        state = state or _new_state(record, job.id, job.run, lane=job.priority)
        _refuse(error.reason, error.message, Job(record.value, state))
    if state is None:
        state = _new_state(record, job.id, job.run, site=site, lane=job.priority)
    problem = _problem(job)
    if problem is not None:
        _refuse(Reason.NOT_A_JOB, problem, Job(record.value, state))
    task = FetchTask(job=job, first_sight=not known, unknown_field=unknown)
    return Work(record, Job(record.value, state), task)


def _read_solution(record: Inbound) -> Work[Task]:
    """Read a solution; what was bought for it, and from whom, is added to the job's state.

    Also a task that failed for nothing: the router asks another provider next time.
    """
    solution = records.decode(_SOLUTION, record.value, "the captcha solution")
    request = solution.request
    state = request.state
    if solution.cost > 0 or solution.task_id is not None:
        paid = SolveSummary(
            request_id=request.request_id,
            kind=request.challenge.kind,
            provider=solution.provider or "unknown",
            cost=solution.cost,
        )
        if all(solve.request_id != paid.request_id for solve in state.solves):
            state = msgspec.structs.replace(state, solves=(*state.solves, paid))
    text = request.original.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        job: UrlJob = _LENIENT.decode(text) if text[:1] == b"{" else UrlJob(url=text.decode())
        url = _parsed(job.url)
    except (*_UNREADABLE, RecordError) as error:
        raise RecordError(
            Reason.BAD_STATE,
            "The captcha solution carries a job that cannot be read.",
            Job(request.original, state),
        ) from error
    return Work(record, Job(request.original, state), ResumeTask(job=job, url=url, solution=solution))


def _check_size(record: Inbound, state: JobState | None, most: int) -> None:
    if len(record.value) > most:
        sentence = f"The record has {len(record.value)} bytes; a job may have {most}."
        _refuse(Reason.JOB_TOO_LARGE, sentence, None if state is None else Job(record.value, state))


def _read_json(record: Inbound, text: bytes, state: JobState | None) -> tuple[UrlJob, str | None]:
    """Return the job and the name of the first field that nobody knows."""
    unknown = None
    try:
        try:
            job: UrlJob = _STRICT.decode(text)
        except msgspec.ValidationError as error:
            match = _UNKNOWN.search(str(error))
            if match is None:
                raise
            unknown = match[1]
            job = _LENIENT.decode(text)
    except _UNREADABLE as error:
        sentence = f"The record looks like a JSON job and is none: {error}."
        _refuse(Reason.NOT_A_JOB, sentence, _salvaged(record, text, state))
    if job.version not in (records.VERSION, records.VERSION - 1):
        sentence = f"The job has version {job.version}; this build reads {records.VERSION}."
        _refuse(Reason.UNKNOWN_VERSION, sentence, _salvaged(record, text, state))
    return job, unknown


def _read_text(record: Inbound, text: bytes, state: JobState | None) -> UrlJob:
    job = None if state is None else Job(record.value, state)
    if not text:
        _refuse(Reason.NOT_A_JOB, "The record is empty; a job is a URL or a JSON object with one.", job)
    try:
        url = text.decode()
    except UnicodeDecodeError:
        _refuse(Reason.NOT_A_URL, "This is neither a URL nor JSON: it is not even UTF-8 text.", job)
    return UrlJob(url=url)


def _salvaged(record: Inbound, text: bytes, state: JobState | None) -> Job | None:
    """Return the job with the identity that a refused record names, None where it names none."""
    if state is not None:
        return Job(record.value, state)
    try:
        named = _IDENTITY.decode(text)
    except _UNREADABLE:
        return None
    if not (named.run and len(named.run) <= _MAX_NAME_CHARACTERS):
        return None
    return Job(record.value, _new_state(record, named.id, named.run))


def _new_state(
    record: Inbound, job_id: str | None, run: str, *, site: str = "", lane: Lane | None = None
) -> JobState:
    origin = records.origin_of(record)
    usable = job_id is not None and 0 < len(job_id) <= _MAX_NAME_CHARACTERS
    return JobState(
        run=run,
        id=job_id if usable and job_id is not None else records.default_id(origin),
        site=site,
        lane=lane or _LANE_OF_TOPIC.get(record.topic, Lane.NORMAL),
        origin=origin,
        accepted_at_ms=record.timestamp_ms,
    )


def _parsed(text: str) -> URL:
    """Return the URL that is requested: as a browser would write it, without credentials and fragment."""
    url = urls.parsed(text)
    if url is None or not urls.is_web(url):
        raise RecordError(Reason.NOT_A_URL, "This is not a URL that can be requested.")
    return url.with_user(None).with_fragment(None) if "@" in text or "#" in text else url


def _problem(job: UrlJob) -> str | None:
    """Return what is wrong with the job's fields beside its URL, as a sentence; None where all is well."""
    for name in (job.id, job.run, job.parser):
        if name is not None and not 0 < len(name) <= _MAX_NAME_CHARACTERS:
            return _name_problem(job)
    if not 0 < job.deadline < math.inf:
        return f"The job's deadline must be a positive number of seconds; it is {job.deadline}."
    if job.max_retries is not None and job.max_retries < 0:
        return f"The job's max_retries must not be negative; it is {job.max_retries}."
    if job.max_solve_cost is not None and not (math.isfinite(job.max_solve_cost) and job.max_solve_cost >= 0):
        return f"The job's max_solve_cost must not be negative; it is {job.max_solve_cost}."
    if job.method != "GET" and _is_no_method(job.method):
        return "The job's method is not an HTTP method that fetches a page."
    return (_header_problem(job) if job.headers else None) or _proxy_problem(job)


def _name_problem(job: UrlJob) -> str | None:
    for name, value in (("id", job.id), ("run", job.run), ("parser", job.parser)):
        if value is not None and not 0 < len(value) <= _MAX_NAME_CHARACTERS:
            return f"The job's {name} must have 1 to {_MAX_NAME_CHARACTERS} characters; it has {len(value)}."
    return None


def _is_no_method(method: str) -> bool:
    return not _TOKEN.fullmatch(method) or len(method) > 32 or method.upper() in _NOT_METHODS


def _header_problem(job: UrlJob) -> str | None:
    if len(job.headers) > _MAX_HEADERS:
        return f"The job has {len(job.headers)} headers; at most {_MAX_HEADERS} are sent."
    for name, value in job.headers.items():
        if not _TOKEN.fullmatch(name):
            return "One of the job's headers has a name that HTTP does not allow."
        if not is_sendable(value):
            return f"The job's header {name} has a value that HTTP does not allow: no line breaks."
    return None


def _proxy_problem(job: UrlJob) -> str | None:
    """Judge the proxy without ever printing it: it may hold a password."""
    if job.proxy is None:
        return None
    if is_id(job.proxy):
        return None
    try:
        proxy_of(job.proxy)
    except ValueError:
        return (
            "The job's proxy must be a URL such as http://host:3128 or socks5://user:password@host:1080, or "
            "the id of a listed one."
        )
    return None


def _refuse(reason: Reason, message: str, job: Job | None) -> NoReturn:
    raise RecordError(reason, message, job)
