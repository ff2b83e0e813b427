"""The createTask/getTaskResult family: JSON in, JSON out. Pure."""

from typing import Any

import msgspec
from tidegate.captcha_records import CaptchaRequest
from tidegate.records import ChallengeKind

from tidegate_solver import wire
from tidegate_solver.profiles import ErrorKind, KindProfile, Profile, ReportStyle
from tidegate_solver.wire import Call, Created, Failed, Pending, Proxy, Rejected


class CreateTask:
    """The family's side of ``wire.Family``."""

    def __init__(self, profile: Profile, key: str) -> None:
        self._profile = profile
        self._key = key

    def create(self, kind: KindProfile, request: CaptchaRequest, proxy: Proxy | None) -> Call:
        """Return createTask; the proxy goes in split fields, which all of these vendors take."""
        proxied = proxy is not None and self._profile.goes_through_proxy(kind)
        task: dict[str, Any] = {
            "type": kind.proxied_type if proxied and kind.proxied_type else kind.task_type,
            "websiteURL": request.challenge.page_url,
        }
        wire.put_fields(task, kind, request)
        task.update(kind.fixed)
        if proxied and proxy is not None:
            task |= {"proxyType": proxy.scheme, "proxyAddress": proxy.host, "proxyPort": proxy.port}
            if proxy.login:
                task |= {"proxyLogin": proxy.login, "proxyPassword": proxy.password}
        task.update(self._profile.extra_task_fields)
        return Call(path="/createTask", json={"clientKey": self._key, "task": task})

    def result(self, task_id: str) -> Call:
        """Return getTaskResult, the task id in the vendor's own type."""
        return Call(
            path="/getTaskResult", json={"clientKey": self._key, "taskId": _own_type(self._profile, task_id)}
        )

    def balance(self) -> Call:
        """Return getBalance."""
        return Call(path="/getBalance", json={"clientKey": self._key})

    def report(self, task_id: str, kind: ChallengeKind, *, good: bool) -> Call | None:
        """Return the vendor's report of that word, if it has one for the kind."""
        path = self._profile.reports.call_for(kind, good=good)
        if path is None:
            return None
        body: dict[str, Any] = {"clientKey": self._key, "taskId": _own_type(self._profile, task_id)}
        if self._profile.reports.style is ReportStyle.FEEDBACK:
            body["result"] = {"invalid": not good}
        return Call(path=path, json=body)

    def read_create(self, kind: KindProfile, status: int, body: bytes) -> wire.CreateReply:
        """Say what a reply to createTask proves."""
        reply = _parse(body)
        if reply is not None:
            rejected = _rejected(self._profile, reply)
            if rejected is not None:
                return rejected
            task_id = wire.read_task_id(reply.get("taskId"))
            if task_id is not None:
                ready = _ready(kind, reply) if reply.get("status") == "ready" else None
                return Created(task_id=task_id, ready=ready)
        return wire.refused_at_the_door(status)

    def read_result(self, kind: KindProfile, status: int, body: bytes) -> wire.ResultReply:
        """Say how a task stands."""
        reply = _parse(body)
        if reply is None:
            return wire.unreadable(self._profile, status)
        error = _error(self._profile, reply)
        cost = wire.read_cost(reply.get("cost"))
        if error is not None:
            return wire.failure(self._profile, error, status, cost)
        state = reply.get("status")
        if state in ("processing", "idle"):
            return Pending()
        if state == "ready":
            text = "the task is ready but its solution is not what it should be"
            empty = Failed(code="no_token", kind=ErrorKind.RETRY, message=text, cost=cost)
            return _ready(kind, reply) or empty
        if state == "failed":
            return Failed(code="failed", kind=ErrorKind.RETRY, message="the task failed, no reason was given")
        return Pending(trouble=f"HTTP {status} with the status {str(state)[:32]!r}")

    def read_balance(self, status: int, body: bytes) -> wire.BalanceReply:
        """Say what the account has left."""
        reply = _parse(body)
        if reply is not None:
            rejected = _rejected(self._profile, reply)
            if rejected is not None:
                return rejected
            amount = wire.read_cost(reply.get("balance"))
            if amount is not None:
                return wire.Balance(amount)
        return wire.refused_at_the_door(status)

    def read_report(self, status: int, body: bytes) -> wire.Rejected | wire.InDoubt | None:
        """Return None where a report was taken."""
        reply = _parse(body)
        if reply is None:
            return wire.refused_at_the_door(status)
        return _rejected(self._profile, reply)


def _own_type(profile: Profile, task_id: str) -> str | int:
    numeric = profile.numeric_task_ids and task_id.isascii() and task_id.isdigit()
    return int(task_id) if numeric else task_id


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None


def _rejected(profile: Profile, reply: dict[str, Any]) -> Rejected | None:
    error = _error(profile, reply)
    if error is None:
        return None
    code, kind, message = error
    return Rejected(code=code, kind=kind, message=message)


def _error(profile: Profile, reply: dict[str, Any]) -> tuple[str, ErrorKind, str] | None:
    error_id = reply.get("errorId")
    code = reply.get("errorCode")
    if error_id in (None, 0, "0", "", False) and not code:
        return None
    text = str(reply.get("errorDescription") or "")[: wire.LONGEST_TEXT]
    if code:
        name = str(code)[: wire.LONGEST_TEXT]
    else:  # a service that has only descriptions may put the family's codes there
        name = text if text in profile.errors else f"error_id_{str(error_id)[:16]}"
    return name, profile.classify(name), text or name


def _ready(kind: KindProfile, reply: dict[str, Any]) -> wire.Ready | None:
    solution = reply.get("solution")
    if not isinstance(solution, dict):
        return None
    return wire.read_ready(kind, solution, wire.read_cost(reply.get("cost")))
