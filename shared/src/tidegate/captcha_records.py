"""The records around a captcha: what is asked of the solver, what it answers, what it remembers of it.

A request embeds the whole job (delivery.md C1), a solution the whole request, so that any fetcher resumes
any job. The rest of the records, and how all of them are read and written: ``tidegate.records``.
"""

import hashlib
from enum import StrEnum
from typing import Literal

import msgspec

from tidegate.ledger.entries import Scope
from tidegate.records import VERSION, ChallengeKind, JobState, Route


class Cookie(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A cookie; ``domain`` without a leading dot, host-only when ``host_only``."""

    name: str
    value: str
    domain: str
    path: str = "/"
    secure: bool = False
    host_only: bool = True
    expires_at_ms: int | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Session, proxy and user agent as one unit: a page is resumed as who asked for it.

    ``proxy_id`` names a proxy of the operator's pool; credentials never travel in a record. ``id`` names the
    visitor at his site, as on ``sessions``; None where the job has cookies or credentials of its own.
    """

    user_agent: str
    cookies: tuple[Cookie, ...] = ()
    proxy_id: str | None = None
    id: str | None = None


class ChallengeForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The page's own form through which a token goes back.

    ``action`` is absolute. ``fields`` are the form's inputs with their values, in page order;
    ``token_fields`` are the names that take the token.
    """

    action: str
    method: Literal["GET", "POST"]
    fields: tuple[tuple[str, str], ...] = ()
    token_fields: tuple[str, ...]


class Challenge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found on a page: its kind, the parameters a solving service needs, the signatures hit.

    ``params`` are named in ``tidegate.challenge_kinds``; every value is text. ``lifetime_s`` is how long
    the challenge can still be answered, in seconds from when it was shown; None is for ever, as a static
    site key is.
    """

    kind: ChallengeKind
    page_url: str
    params: dict[str, str]
    form: ChallengeForm | None = None
    signatures: tuple[str, ...] = ()
    lifetime_s: float | None = None


class CaptchaRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Asks the solver for an answer. ``request_id`` = hash(run, id, hop) (M4).

    ``lifetime_s`` counts from the record's append time (T1). ``max_cost`` in US dollars.
    """

    version: int = VERSION
    request_id: str
    challenge: Challenge
    identity: Identity
    lifetime_s: float
    route: Route | None = None
    max_cost: float | None = None
    original: bytes
    state: JobState


class SolutionStatus(StrEnum):
    """How a request was answered; every request is (C2)."""

    SOLVED = "solved"
    FAILED = "failed"
    EXPIRED_UNBOUGHT = "expired_unbought"
    REFUSED = "refused"
    UNSOLVABLE = "unsolvable"


class CaptchaSolution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The solver's answer, with the whole request in it, so that any fetcher resumes any job.

    ``token`` is a token, or the text of an image. ``values`` are the parts of an answer that has several,
    ``cookies`` those that a clearance consists of; both by the names in ``tidegate.challenge_kinds``.
    ``lifetime_s`` is what is left of the answer's life, counted from this record's append time.
    ``cost`` in US dollars is what was paid, also where the answer is not ``solved``. ``code`` is the solving
    service's error code, or ours; ``exhausted`` the budget that is used up, where that is why. ``repeated``:
    the same answer may have been given before, so that a site may refuse a token because it was used.
    ``answered_before``: it was given, and to a record of this very job, which goes on by that one.
    """

    version: int = VERSION
    status: SolutionStatus
    request: CaptchaRequest
    message: str = ""
    token: str | None = None
    values: dict[str, str] = {}
    cookies: dict[str, str] = {}
    user_agent: str | None = None
    provider: str | None = None
    task_id: str | None = None
    cost: float = 0.0
    lifetime_s: float = 0.0
    code: str | None = None
    exhausted: Scope | None = None
    repeated: bool = False
    answered_before: bool = False


class SolutionVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a site took an answer, on ``captcha-verdicts``; keyed by request id, on the site's partition.

    ``solved_at_ms`` is the append time of the solution (T1). Not custody: a lost one costs a report.
    """

    version: int = VERSION
    request_id: str
    site: str
    kind: ChallengeKind
    provider: str
    task_id: str
    accepted: bool
    solved_at_ms: int


class SolveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one request cost, for the ``solves`` table. Times in epoch milliseconds, broker clock.

    ``cost`` in US dollars; ``in_doubt`` where nobody knows whether it was charged (M3).
    """

    version: int = VERSION
    request_id: str
    run: str
    job_id: str
    site: str
    kind: ChallengeKind
    status: SolutionStatus
    provider: str | None
    task_id: str | None
    cost: float
    polls: int
    error_code: str | None
    requested_at_ms: int
    created_at_ms: int | None
    answered_at_ms: int
    in_doubt: bool = False


class TaskState(StrEnum):
    """Life of a request in the journal; it only advances (M4)."""

    RESERVED = "reserved"
    TASK = "task"
    ANSWERED = "answered"


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The solver's journal entry on ``captcha-tasks``, keyed by request id: pay once.

    ``answer`` is what was answered, without the request in it, to answer a duplicate from: a whole one
    would not fit where the request is near its own limit (C9). ``accepted_at_ms`` is the job's: it tells a
    copy of a job from another job under the same id; 0 where it is not known.
    """

    version: int = VERSION
    request_id: str
    state: TaskState
    provider: str
    task_id: str | None = None
    created_at_ms: int | None = None
    polls: int = 0
    max_cost: float
    answer: bytes | None = None
    accepted_at_ms: int = 0


def request_id(state: JobState) -> str:
    """Return the id of the captcha request of this hop of the job (M4)."""
    text = f"{len(state.run)}:{state.run}/{len(state.id)}:{state.id}/{state.hop}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
