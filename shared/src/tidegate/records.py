"""The records that travel on the topics: shapes, units, and how they are read and written.

Version N of a record reads version N-1; an unknown version is a dead letter, never a crash. The JSON
Schemas in ``docs/schemas`` are generated from these classes (``tidegate.schemas``).

Custody (delivery.md C1): every internal record carries the whole job: its original bytes and its
``JobState``. On lanes, delay topics, pages and dead letters the state is the header ``tidegate-job``;
``captcha-requests`` and ``captcha-solutions`` embed both in their JSON.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from tidegate.errors import RecordError
from tidegate.outcome import Reason

VERSION = 1

HEADER_JOB = "tidegate-job"
HEADER_ORIGINAL = "tidegate-original"
HEADER_PAGE = "tidegate-page"
HEADER_DEAD = "tidegate-dead"
HEADER_TRACE = "traceparent"
# On the record that replays a dead letter: the trace context of that dead letter, empty where it had none.
HEADER_REPLAY_OF = "tidegate-replay-of"

DEFAULT_RUN = "default"

# As wide as Kafka's own numbers: a header anybody may have written holds nothing that cannot be written on.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Lane(StrEnum):
    """Priority of a job; each has an intake topic."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Route(StrEnum):
    """What the solver's router optimises for a job."""

    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    RELIABLE = "reliable"


class ChallengeKind(StrEnum):
    """What stands in the way of a page; ``tidegate.challenge_kinds`` says what each needs and brings.

    Invisible reCAPTCHA v2 is ``recaptcha_v2`` with the parameter ``invisible``: the same product and task.
    """

    RECAPTCHA_V2 = "recaptcha_v2"
    RECAPTCHA_V2_ENTERPRISE = "recaptcha_v2_enterprise"
    RECAPTCHA_V3 = "recaptcha_v3"
    RECAPTCHA_V3_ENTERPRISE = "recaptcha_v3_enterprise"
    HCAPTCHA = "hcaptcha"
    TURNSTILE = "turnstile"
    CLOUDFLARE_CHALLENGE = "cloudflare_challenge"
    GEETEST_V3 = "geetest_v3"
    GEETEST_V4 = "geetest_v4"
    FUNCAPTCHA = "funcaptcha"
    AWS_WAF = "aws_waf"
    DATADOME = "datadome"
    IMAGE = "image"


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """A consumed record. ``topic`` is the logical name; ``timestamp_ms`` the broker's append time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]


class UrlJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a user produces onto an intake topic; ``url`` is the only required field.

    ``body`` is sent as UTF-8. ``deadline`` is in seconds, counted from the broker's append time.
    ``max_solve_cost`` is in US dollars. ``metadata`` is passed through untouched to the page row.
    """

    version: int = VERSION
    url: str
    id: str | None = None
    run: str = DEFAULT_RUN
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    method: str = "GET"
    headers: dict[str, str] = {}
    body: str | None = None
    priority: Lane | None = None
    parser: str | None = None
    proxy: str | None = None
    route: Route | None = None
    max_retries: int | None = None
    max_solve_cost: float | None = None
    deadline: float = 86_400.0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job was first accepted."""

    topic: str
    partition: Count
    offset: Offset
    timestamp_ms: Milliseconds


class SolveSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One solve that was spent on a job; ``cost`` in US dollars."""

    request_id: str
    kind: ChallengeKind
    provider: str
    cost: float


class JobState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that Tidegate knows of a job beside its original bytes.

    Identity is (``run``, ``id``). ``site`` stays the original URL's, whatever redirects say (O2).
    ``hop`` grows with each retry, challenge round and replay (M4). ``accepted_at_ms`` is the broker's
    append time at intake, or of the last replay; ``due_at_ms``, if any, is when a delayed job may run again.
    ``failed_proxy`` is the id of the proxy that its last try failed through, so that the next takes another.
    """

    version: int = VERSION
    run: str
    id: str
    site: str
    lane: Lane = Lane.NORMAL
    origin: Origin
    accepted_at_ms: Milliseconds
    due_at_ms: Milliseconds | None = None
    attempts: dict[str, Count] = {}
    hop: Count = 0
    deferrals: Count = 0
    solves: tuple[SolveSummary, ...] = ()
    failed_proxy: str | None = None


class Job(msgspec.Struct, frozen=True):
    """The whole job in custody: its original bytes and its state."""

    original: bytes
    state: JobState


class PageMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Header ``tidegate-page``: everything about a page but its body, which is the value, zstd.

    ``url`` is the job's, ``final_url`` after redirects, both without credentials. ``content_type`` as
    served; ``length`` and ``body_hash`` (BLAKE2b-128, hex) are those of the body before compression.
    ``elapsed_ms`` is the last request's. ``metadata`` is the job's own, untouched.
    """

    version: int = VERSION
    url: str
    final_url: str
    status: Count
    content_type: str = ""
    charset: str | None = None
    headers: dict[str, str] = {}
    length: Count
    body_hash: str
    fetched_at_ms: Milliseconds
    elapsed_ms: Milliseconds
    parser: str | None = None
    challenges: Count = 0
    proxy_id: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class DeadMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Header ``tidegate-dead``: why a job ended. The value is the job's original bytes.

    Where those did not fit, ``truncated_length`` and ``original_hash`` say what they were (C9).
    ``final_url`` is without credentials and without the values of its query.
    """

    version: int = VERSION
    reason: Reason
    error_class: str
    message: str
    service: str
    dead_at_ms: int
    last_status: int | None = None
    final_url: str | None = None
    body_hash: str | None = None
    truncated_length: int | None = None
    original_hash: str | None = None


_encoder = msgspec.json.Encoder()
_JOB_STATE = msgspec.json.Decoder(JobState)
R = TypeVar("R")


def encode(record: msgspec.Struct) -> bytes:
    """Return the record as compact JSON."""
    return _encoder.encode(record)


def decoder(record_type: type[R]) -> msgspec.json.Decoder[R]:
    """Return a decoder to keep: building one is dear, using it is cheap."""
    return msgspec.json.Decoder(record_type)


def decode(reader: msgspec.json.Decoder[R], data: bytes, what: str) -> R:
    """Decode an internal record. Raises RecordError with a sentence that names ``what``."""
    try:
        record = reader.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(Reason.BAD_STATE, f"{what} cannot be read: {error}") from error
    version = getattr(record, "version", VERSION)
    if version not in (VERSION, VERSION - 1):
        raise RecordError(Reason.UNKNOWN_VERSION, f"{what} has version {version}; this build reads {VERSION}")
    return record


def job_state(headers: Mapping[str, bytes]) -> JobState | None:
    """Return the state in the header ``tidegate-job``, None where there is none."""
    data = headers.get(HEADER_JOB)
    return None if data is None else decode(_JOB_STATE, data, f"the header {HEADER_JOB}")


def job_headers(state: JobState) -> tuple[tuple[str, bytes], ...]:
    """Return the headers by which a record carries the state of its job."""
    return ((HEADER_JOB, encode(state)),)


def origin_of(record: Inbound) -> Origin:
    """Return where a record stands."""
    return Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
    )


def default_id(origin: Origin) -> str:
    """Return the id of a job that names none (O3).

    The timestamp is part of it: a broker that begins again at offset 0 must not reuse an identity.
    """
    text = f"{origin.topic}/{origin.partition}/{origin.offset}/{origin.timestamp_ms}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def body_hash(body: bytes) -> str:
    """Return BLAKE2b-128 of a body, in hex: the identity of its content."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def stray_job(record: Inbound, site: str = "") -> Job:
    """Return a job made of where a record stands, for one that carries no job."""
    origin = origin_of(record)
    state = JobState(
        run=DEFAULT_RUN,
        id=default_id(origin),
        site=site,
        origin=origin,
        accepted_at_ms=record.timestamp_ms,
    )
    return Job(record.value, state)
