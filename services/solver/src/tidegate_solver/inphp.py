"""The older in.php/res.php family: forms in, a line of text or a small JSON document out. Pure.

``json=1`` is asked for, and text is understood all the same: proxies and errors of some vendors answer with
it. Note the vendors' spelling CAPCHA, without a T.
"""

import re
from typing import Any

import msgspec
from tidegate.captcha_records import CaptchaRequest
from tidegate.records import ChallengeKind

from tidegate_solver import wire
from tidegate_solver.profiles import ErrorKind, KindProfile, Profile
from tidegate_solver.wire import Call, Created, Failed, Pending, Proxy, Rejected

_LONGEST_CODE = 64
_CODE = re.compile(r"ERROR(?:_|: \d)")


class _Reply(msgspec.Struct, frozen=True):
    """A reply in either form: good or not, what it says, and the price or user agent where it names one.

    ``own`` says that its form alone proves whose words it is: a word of plain text may be a gateway's.
    """

    good: bool
    request: Any
    own: bool = False
    price: Any = None
    user_agent: Any = None


class InPhp:
    """The family's side of ``wire.Family``."""

    def __init__(self, profile: Profile, key: str) -> None:
        self._profile = profile
        self._key = key

    def create(self, kind: KindProfile, request: CaptchaRequest, proxy: Proxy | None) -> Call:
        """Return the form for in.php."""
        fields: dict[str, Any] = {
            "key": self._key,
            "method": kind.task_type,
            "pageurl": request.challenge.page_url,
            "json": "1",
        }
        wire.put_fields(fields, kind, request)
        fields.update(kind.fixed)
        if proxy is not None and self._profile.goes_through_proxy(kind):
            login = f"{proxy.login}:{proxy.password}@" if proxy.login else ""
            fields |= {"proxy": f"{login}{proxy.host}:{proxy.port}", "proxytype": proxy.scheme.upper()}
        fields.update(self._profile.extra_task_fields)
        return Call(path="/in.php", form={name: str(value) for name, value in fields.items()})

    def result(self, task_id: str) -> Call:
        """Return the question for res.php."""
        return _ask(self._key, self._profile.poll_action, task_id)

    def balance(self) -> Call:
        """Return the question for the balance, or for the threads where those are what is sold."""
        return _ask(self._key, "threadsinfo" if self._profile.sells_threads else "getbalance")

    def report(self, task_id: str, kind: ChallengeKind, *, good: bool) -> Call | None:
        """Return the vendor's report of that word, if it takes one."""
        action = self._profile.reports.call_for(kind, good=good)
        return None if action is None else _ask(self._key, action, task_id)

    def read_create(self, _kind: KindProfile, status: int, body: bytes, /) -> wire.CreateReply:
        """Say what a reply of in.php proves."""
        reply = _parse(body)
        if reply is None:
            return wire.refused_at_the_door(status)
        if not reply.good:
            refused = _rejected(self._profile, reply)
            return refused if self._is_word_of(reply, refused.code) else wire.refused_at_the_door(status)
        task_id = wire.read_task_id(reply.request)
        return wire.refused_at_the_door(status) if task_id is None else Created(task_id=task_id)

    def read_result(self, kind: KindProfile, status: int, body: bytes) -> wire.ResultReply:
        """Say how a task stands."""
        reply = _parse(body)
        if reply is None:
            return wire.unreadable(self._profile, status)
        cost = wire.read_cost(reply.price)
        if not reply.good:
            refused = _rejected(self._profile, reply)
            if not self._is_word_of(reply, refused.code):
                return wire.unreadable(self._profile, status)
            return wire.failure(self._profile, (refused.code, refused.kind, refused.message), status, cost)
        solution = reply.request
        if isinstance(solution, str) and solution[:1] == "{":
            try:
                solution = msgspec.json.decode(solution)
            except (msgspec.DecodeError, RecursionError):
                return Pending(trouble="an answer that is half a document")
        text = "the task is ready but its answer is not what it should be"
        empty = Failed(code="no_token", kind=ErrorKind.RETRY, message=text, cost=cost)
        ready = wire.read_ready(kind, solution, cost)
        if ready is None:
            return empty
        agent = wire.header_text(reply.user_agent)
        return ready if agent is None else msgspec.structs.replace(ready, user_agent=agent)

    def _is_word_of(self, reply: _Reply, code: str) -> bool:
        """Say whether the service said it: another word may be a gateway's, or half of OK|id."""
        return reply.own or code in self._profile.errors or _CODE.match(code) is not None

    def read_balance(self, status: int, body: bytes) -> wire.BalanceReply:
        """Say what the account has left; of threads, how many are free."""
        if self._profile.sells_threads:
            return _read_threads(self._profile, status, body)
        try:
            # A balance in plain text is all that a reply without json=1 holds.
            amount = wire.read_cost(body.decode().strip())
        except UnicodeDecodeError:
            amount = None
        if amount is not None:
            return wire.Balance(amount)
        reply = _parse(body)
        if reply is None:
            return wire.refused_at_the_door(status)
        if not reply.good:
            return _rejected(self._profile, reply)
        amount = wire.read_cost(reply.request)
        return wire.refused_at_the_door(status) if amount is None else wire.Balance(amount)

    def read_report(self, status: int, body: bytes) -> wire.Rejected | wire.InDoubt | None:
        """Return None where a report was taken."""
        reply = _parse(body)
        if reply is None:
            return wire.refused_at_the_door(status)
        taken = reply.good or reply.request == "OK_REPORT_RECORDED"
        return None if taken else _rejected(self._profile, reply)


def _ask(key: str, action: str, task_id: str | None = None) -> Call:
    query = {"key": key, "action": action, "json": "1"}
    return Call(path="/res.php", query=query if task_id is None else query | {"id": task_id})


def _rejected(profile: Profile, reply: _Reply) -> Rejected:
    text = str(reply.request)[: wire.LONGEST_TEXT]
    code = text if len(text) <= _LONGEST_CODE else f"{text[:_LONGEST_CODE]}…"
    return Rejected(code=code, kind=profile.classify(code), message=text)


def _parse(body: bytes) -> _Reply | None:
    """Read either form of reply; None for what is neither, as the HTML of a gateway is."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_text(body)
    if not isinstance(document, dict):
        return None
    # CaptchaAI puts some answers into ``result``, with the user agent that they are bound to.
    said = document.get("request", document.get("result"))
    if said is None:
        return None
    status = document.get("status")
    own = status in (0, "0") and isinstance(said, str)  # 0 is False, too; a gateway writes 502
    return _Reply(status in (1, "1"), said, own, document.get("price"), document.get("user_agent"))


def _parse_text(body: bytes) -> _Reply | None:
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return None
    word, bar, rest = text.partition("|")
    if word == "OK" and bar:
        return _Reply(good=True, request=rest)
    if word == "OK_REPORT_RECORDED":
        return _Reply(good=True, request=word)
    shouted = word.replace("_", "").replace(":", "").replace(" ", "")
    if not bar and 0 < len(word) <= _LONGEST_CODE and shouted.isalnum() and word == word.upper():
        return _Reply(good=False, request=word)
    return None


def _read_threads(profile: Profile, status: int, body: bytes) -> wire.BalanceReply:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if isinstance(document, dict):
        threads, busy = (wire.read_cost(document.get(name)) for name in ("threads", "working_threads"))
        if threads is not None:
            return wire.Balance(max(0.0, threads - (busy or 0.0)))
    reply = _parse(body)
    return (
        _rejected(profile, reply)
        if reply is not None and not reply.good
        else wire.refused_at_the_door(status)
    )
