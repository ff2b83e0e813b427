"""What a dead letter becomes when it is replayed: a record, or a sentence why it cannot be. Pure.

The record carries the job's own identity, one hop more, and no attempts (delivery.md O6). Of the dead
letter's headers nothing is copied: its state is written anew, and what says that it was dead
(``kafka_dlt-*`` and our own) ends here. The trace is a new one; ``tidegate-replay-of`` names the old one.
"""

import hashlib
from enum import StrEnum

import msgspec
from backports import zstd
from tidegate import records
from tidegate.errors import RecordError
from tidegate.outcome import Outgoing, Reason
from tidegate.records import DeadMeta, Inbound, Job, JobState, PageMeta
from tidegate.sites import site_of
from tidegate.topics import DELAYS, LANES, Topic

from tidegate_cli.dlq.letters import Letter

_DEAD = records.decoder(DeadMeta)
_PAGE = records.decoder(PageMeta)
_URL = msgspec.json.Decoder(records.UrlJob)
# Only what was accepted on these is a job; anything else that died is a record between the services.
_ACCEPTED_ON = frozenset({*LANES.values(), *DELAYS})
_ZSTD_LEVEL = 3


class Why(StrEnum):
    """Why a dead letter cannot be replayed."""

    GONE = "gone"
    TRUNCATED = "truncated"
    NO_JOB = "no_job"
    TOO_LARGE = "too_large"


class Refusal(msgspec.Struct, frozen=True):
    """A dead letter that cannot be replayed; the message is a sentence for people."""

    why: Why
    message: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A job that goes back. ``trace`` is the dead letter's ``traceparent``, empty where it had none.

    ``page`` is the metadata of a page whose body was kept, to be parsed again without a fetch.
    """

    job: Job
    trace: bytes
    page: PageMeta | None = None


def judge(letter: Letter, record: Inbound | None) -> Replay | Refusal:
    """Say whether a dead letter can be replayed. ``record`` stands where its row says, None if none does."""
    if record is None:
        return Refusal(Why.GONE, f"The topic {Topic.DEAD_LETTER} keeps it no longer.")
    try:
        state, meta = _read(record)
    except RecordError as error:
        return Refusal(Why.NO_JOB, f"{error.message.rstrip('.')}.")
    digest = meta.original_hash or hashlib.blake2b(record.value, digest_size=16).hexdigest()
    if (state.run, state.id, digest) != (letter.run, letter.id, letter.original_hash):
        return Refusal(Why.GONE, f"Another record stands in its place on {Topic.DEAD_LETTER}.")
    return _lacks(state, meta, record.value) or Replay(
        job=Job(record.value, again(state, record.value)),
        trace=record.headers.get(records.HEADER_TRACE, b""),
        page=_page(meta, record),
    )


def again(state: JobState, original: bytes) -> JobState:
    """Return the state of a replayed job: itself, one hop on, with attempts and deferrals reset (O6).

    What was paid for it stays booked. A job that died before its site was known gets it now.
    """
    return msgspec.structs.replace(
        state,
        site=state.site or _site(original),
        hop=state.hop + 1,
        attempts={},
        deferrals=0,
        due_at_ms=None,
    )


def fetched_again(replay: Replay, trace: bytes | None) -> Outgoing:
    """Return the record on the job's own lane; the fetcher takes it from there."""
    state = replay.job.state
    return Outgoing(
        topic=LANES[state.lane],
        site=state.site,
        value=replay.job.original,
        headers=(*records.job_headers(state), *_traces(replay, trace)),
    )


def parsed_again(replay: Replay, page: PageMeta, body: bytes, trace: bytes | None) -> Outgoing:
    """Return the record of the page as it was fetched; the storer parses it again (O6)."""
    state = replay.job.state
    return Outgoing(
        topic=Topic.PAGES,
        site=state.site,
        value=zstd.compress(body, level=_ZSTD_LEVEL),
        headers=(
            (records.HEADER_PAGE, records.encode(page)),
            *records.job_headers(state),
            (records.HEADER_ORIGINAL, replay.job.original),
            *_traces(replay, trace),
        ),
    )


def _traces(replay: Replay, trace: bytes | None) -> tuple[tuple[str, bytes], ...]:
    # The second is there even where it is empty: it also says that the job is accepted anew.
    new = () if trace is None else ((records.HEADER_TRACE, trace),)
    return (*new, (records.HEADER_REPLAY_OF, replay.trace))


def _read(record: Inbound) -> tuple[JobState, DeadMeta]:
    state = records.job_state(record.headers)
    data = record.headers.get(records.HEADER_DEAD)
    if state is None or data is None:
        raise RecordError(Reason.BAD_STATE, "It was not written by Tidegate: its headers are missing.")
    return state, records.decode(_DEAD, data, f"Its header {records.HEADER_DEAD}")


def _lacks(state: JobState, meta: DeadMeta, original: bytes) -> Refusal | None:
    """Return why the original is no job that could be fetched; None where it is one."""
    if meta.truncated_length is not None:
        kept, whole = len(original), meta.truncated_length
        return Refusal(Why.TRUNCATED, f"Only {kept:,} of its {whole:,} bytes were kept. Submit it anew.")
    if state.origin.topic not in _ACCEPTED_ON:
        return Refusal(Why.NO_JOB, f"It is a record of {state.origin.topic[:100]}, not a job.")
    if not original.strip():
        return Refusal(Why.NO_JOB, "It is empty: there is nothing to fetch.")
    return None


def _page(meta: DeadMeta, record: Inbound) -> PageMeta | None:
    data = record.headers.get(records.HEADER_PAGE)
    if meta.body_hash is None or data is None:
        return None
    try:
        page: PageMeta = records.decode(_PAGE, data, f"its header {records.HEADER_PAGE}")
    except RecordError:
        return None
    return page if page.body_hash == meta.body_hash else None


def _site(original: bytes) -> str:
    """Return the site of a job's bytes, empty where they have none."""
    text = original.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        return site_of(_URL.decode(text).url if text[:1] == b"{" else text.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RecordError):
        return ""
