"""The createTask/getTaskResult family as bytes and values: what is asked, and what a reply means. Pure.

Replies come from strangers: HTML instead of JSON, half a document, numbers as text. Nothing here raises
for them. What matters is what a reply proves about money: an error reply to createTask proves that no task
was made; anything else that is not a task id proves nothing, and in doubt is spent (M3).
"""

import math
from typing import Any, TypeAlias

import msgspec
from tidegate.captcha_records import Challenge

from tidegate_solver.profiles import ErrorKind, KindProfile, Profile

CREATE = "/createTask"
RESULT = "/getTaskResult"

_LONGEST_TEXT = 200
_LONGEST_TASK_ID = 256
_LONGEST_TOKEN = 65_536


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The token. ``cost`` in US dollars where the reply named it."""

    token: str
    user_agent: str | None = None
    cost: float | None = None


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A task exists. ``ready`` where the service solved it on the spot."""

    task_id: str
    ready: Ready | None = None


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """No task was made, for certain: nothing was spent."""

    code: str
    kind: ErrorKind
    message: str


class InDoubt(msgspec.Struct, frozen=True, kw_only=True):
    """The request went out and what became of it is not known: it counts as spent."""

    message: str


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Not ready. ``trouble`` says why a reply was not understood; ``busy`` asks for a slower pace."""

    trouble: str | None = None
    busy: bool = False


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The task ended without a token."""

    code: str
    kind: ErrorKind
    message: str
    cost: float | None = None


CreateReply: TypeAlias = Created | Rejected | InDoubt
ResultReply: TypeAlias = Ready | Pending | Failed


def create_body(profile: Profile, kind: KindProfile, key: str, challenge: Challenge) -> dict[str, Any]:
    """Return the body of createTask. ``isInvisible`` and its like travel as booleans."""
    task: dict[str, Any] = {"type": kind.task_type, "websiteURL": challenge.page_url}
    for ours, theirs in kind.fields.items():
        value = challenge.params.get(ours)
        if not value:
            continue
        place = task
        *levels, last = theirs.split(".")
        for level in levels:
            place = place.setdefault(level, {})
        place[last] = {"true": True, "false": False}.get(value, value) if ours == "invisible" else value
    task.update(profile.extra_task_fields)
    return {"clientKey": key, "task": task}


def result_body(profile: Profile, key: str, task_id: str) -> dict[str, Any]:
    """Return the body of getTaskResult, the task id in the vendor's own type."""
    numeric = profile.numeric_task_ids and task_id.isascii() and task_id.isdigit()
    return {"clientKey": key, "taskId": int(task_id) if numeric else task_id}


def read_create(profile: Profile, kind: KindProfile, status: int, body: bytes) -> CreateReply:
    """Say what a reply to createTask proves."""
    reply = _parse(body)
    if reply is not None:
        error = _error(profile, reply)
        if error is not None:
            code, error_kind, message = error
            return Rejected(code=code, kind=error_kind, message=message)
        task_id = _task_id(reply.get("taskId"))
        if task_id is not None:
            ready = _ready(kind, reply) if reply.get("status") == "ready" else None
            return Created(task_id=task_id, ready=ready)
    if 300 <= status < 500 and status not in (408, 499):
        # Refused by its front door: a redirect or a client error never reached the service behind it.
        busy = ErrorKind.BUSY if status == 429 else ErrorKind.FATAL
        return Rejected(
            code=f"http_{status}", kind=busy, message=f"createTask was refused with HTTP {status}"
        )
    return InDoubt(
        message=f"createTask was answered with HTTP {status} and nothing that says what became of it"
    )


def read_result(profile: Profile, kind: KindProfile, status: int, body: bytes) -> ResultReply:
    """Say how a task stands. What is not understood is not ready yet: the time limit bounds it."""
    reply = _parse(body)
    if reply is None:
        return Pending(trouble=f"HTTP {status} without JSON", busy=status == 429)
    error = _error(profile, reply)
    if error is not None:
        return _failure(error, status, _cost(reply.get("cost")))
    state = reply.get("status")
    if state in ("processing", "idle"):
        return Pending()
    if state == "ready":
        cost = _cost(reply.get("cost"))
        text = "the task is ready but its solution has no token"
        return _ready(kind, reply) or Failed(code="no_token", kind=ErrorKind.RETRY, message=text, cost=cost)
    if state == "failed":
        return Failed(code="failed", kind=ErrorKind.RETRY, message="the task failed, no reason was given")
    return Pending(trouble=f"HTTP {status} with the status {str(state)[:32]!r}")


def _failure(error: tuple[str, ErrorKind, str], status: int, cost: float | None) -> ResultReply:
    code, kind, message = error
    if kind in (ErrorKind.WAIT, ErrorKind.BUSY):
        return Pending(trouble=code if kind is ErrorKind.BUSY else None, busy=kind is ErrorKind.BUSY)
    if kind is ErrorKind.UNKNOWN and status >= 500:
        return Pending(trouble=f"HTTP {status} with {code}")
    return Failed(code=code, kind=kind, message=message, cost=cost)


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None


def _error(profile: Profile, reply: dict[str, Any]) -> tuple[str, ErrorKind, str] | None:
    error_id = reply.get("errorId")
    code = reply.get("errorCode")
    if error_id in (None, 0, "0", "", False) and not code:
        return None
    text = str(reply.get("errorDescription") or "")[:_LONGEST_TEXT]
    if code:
        name = str(code)[:_LONGEST_TEXT]
    else:  # a service that has only descriptions may put the family's codes there
        name = text if text in profile.errors else f"error_id_{str(error_id)[:16]}"
    return name, profile.classify(name), text or name


def _task_id(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str) or not value:
        return None
    text = str(value)
    return text if len(text) <= _LONGEST_TASK_ID else None


def _ready(kind: KindProfile, reply: dict[str, Any]) -> Ready | None:
    solution = reply.get("solution")
    if not isinstance(solution, dict):
        return None
    for name in kind.token:
        token = solution.get(name)
        if isinstance(token, str) and 0 < len(token) <= _LONGEST_TOKEN:
            agent = solution.get("userAgent")
            return Ready(
                token=token,
                user_agent=agent if isinstance(agent, str) and agent else None,
                cost=_cost(reply.get("cost")),
            )
    return None


def _cost(value: object) -> float | None:
    """Read a price given as a number or as text; what is no price is None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        cost = float(value)
    except (ValueError, OverflowError):
        return None
    return cost if math.isfinite(cost) and cost >= 0 else None
