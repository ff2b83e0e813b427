"""What a handler says of a job: ``Done``, ``Retry``, ``Defer`` or ``Dead``.

These are values, never exceptions. The runtime alone acts on them: it produces what they ask for,
waits for the broker's acknowledgement, and only then lets the offset be committed (delivery.md C).
"""

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from tidegate.records import JobState


class ErrorClass(StrEnum):
    """Why a try failed; attempts are counted by class."""

    CHALLENGE = "challenge"
    SOLVE_FAILED = "solve_failed"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"
    SERVER_ERROR = "server_error"
    NETWORK = "network"
    PARSE_ERROR = "parse_error"
    REFUSED = "refused"
    BAD_INPUT = "bad_input"
    INTERNAL = "internal"


class Reason(StrEnum):
    """Why a job ended as a dead letter. A closed set: dashboards and replays filter by it."""

    NOT_A_JOB = "not_a_job"
    NOT_A_URL = "not_a_url"
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"
    JOB_TOO_LARGE = "job_too_large"
    BAD_STATE = "bad_state"
    UNKNOWN_VERSION = "unknown_version"
    ADDRESS_REFUSED = "address_refused"
    NOT_ALLOWED = "not_allowed"
    ROBOTS = "robots"
    SOLVE_NOT_ALLOWED = "solve_not_allowed"
    UNSOLVABLE = "unsolvable"
    SHED = "shed"
    BUDGET_EXHAUSTED = "budget_exhausted"
    RETRIES_EXHAUSTED = "retries_exhausted"
    DEFERRED_TOO_LONG = "deferred_too_long"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    PARSE_ERROR = "parse_error"
    UNKNOWN_PARSER = "unknown_parser"
    UNKNOWN_PROXY = "unknown_proxy"
    ROW_REFUSED = "row_refused"
    CRASHED_THE_SERVICE = "crashed_the_service"


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A record to produce.

    ``topic`` is the logical name, without the installation's prefix. ``site`` is the key and decides
    the partition, unless ``partition`` or ``key`` say otherwise. A ``value`` of None is a tombstone.
    """

    topic: str
    site: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    partition: int | None = None


class Done(msgspec.Struct, frozen=True):
    """The job is finished here once everything in ``outgoing`` is acknowledged by the broker."""

    outgoing: tuple[Outgoing, ...] = ()


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """The try failed; another one is due, at the cost of an attempt of ``error_class``.

    ``after_s`` is the least wait in seconds (a Retry-After); None leaves it to the class's back-off.
    ``max_retries`` is the job's own cap, None where it has none. ``state`` replaces the job's state
    where the handler learnt something that the next try needs. ``besides`` are further records, produced
    first.
    """

    error_class: ErrorClass
    message: str
    after_s: float | None = None
    max_retries: int | None = None
    last_status: int | None = None
    final_url: str | None = None
    state: "JobState | None" = None
    besides: tuple[Outgoing, ...] = ()


class Defer(msgspec.Struct, frozen=True, kw_only=True):
    """The job's turn has not come: it waits ``delay_s`` seconds at no attempt.

    ``besides`` are further records, produced first.
    """

    delay_s: float
    message: str
    state: "JobState | None" = None
    besides: tuple[Outgoing, ...] = ()


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """The job ends here as a dead letter. ``message`` is stored and read by people: no secrets.

    ``body_hash`` names a body that is kept although its job failed (a parse error); ``page`` is the page's
    header ``tidegate-page`` then, from which a replay parses that body again without a fetch (O6).
    ``besides`` are further records, produced first.
    """

    reason: Reason
    error_class: ErrorClass
    message: str
    last_status: int | None = None
    final_url: str | None = None
    body_hash: str | None = None
    page: bytes | None = None
    state: "JobState | None" = None
    besides: tuple[Outgoing, ...] = ()


Outcome: TypeAlias = Done | Retry | Defer | Dead
