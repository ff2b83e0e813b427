"""What a solving service is asked and what its replies mean, whichever wire family they come by. Pure.

Replies come from strangers: HTML instead of JSON, half a document, numbers as text. Nothing here raises
for them. What matters is what a reply proves about money: an error reply to createTask proves that no task
was made; anything else that is not a task id proves nothing, and in doubt is spent (M3).
"""

import base64
import math
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Protocol, TypeAlias

import msgspec
from tidegate.captcha_records import CaptchaRequest
from tidegate.challenge_kinds import FACTS
from tidegate.records import ChallengeKind
from yarl import URL

from tidegate_solver.profiles import ErrorKind, KindProfile, Profile

LONGEST_TEXT = 200
_LONGEST_TASK_ID = 256
_LONGEST_VALUE = 65_536


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a solving service: a JSON body, a form, or the fields of a query."""

    path: str
    json: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    query: dict[str, str] | None = None


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy through which a service is to solve: the fetcher's own, because the answer is bound to it."""

    scheme: str
    host: str
    port: int
    login: str = ""
    password: str = ""

    def suits(self, profile: Profile) -> bool:
        """Say whether the service takes such a proxy."""
        return self.scheme in profile.proxy_types and not (profile.proxy_ip_only and not _is_ip(self.host))


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: a token (or a text), values by our names, or cookies. ``cost`` in US dollars, if named."""

    token: str | None = None
    values: dict[str, str] = {}
    cookies: dict[str, str] = {}
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


class Balance(msgspec.Struct, frozen=True):
    """What the account has left, in US dollars; for a seller of threads, how many are free."""

    amount: float


CreateReply: TypeAlias = Created | Rejected | InDoubt
ResultReply: TypeAlias = Ready | Pending | Failed
BalanceReply: TypeAlias = Balance | Rejected | InDoubt


class Family(Protocol):
    """A wire family, spoken with one profile and one key: what is sent, and what a reply means."""

    def create(self, kind: KindProfile, request: CaptchaRequest, proxy: Proxy | None) -> Call:
        """Return the call that makes a task."""
        ...

    def result(self, task_id: str) -> Call:
        """Return the call that asks after a task."""
        ...

    def balance(self) -> Call:
        """Return the call that asks what the account has left."""
        ...

    def report(self, task_id: str, kind: ChallengeKind, *, good: bool) -> Call | None:
        """Return the call that gives a word on a token, None where the vendor wants none."""
        ...

    def read_create(self, kind: KindProfile, status: int, body: bytes, /) -> CreateReply:
        """Say what a reply to the making of a task proves."""
        ...

    def read_result(self, kind: KindProfile, status: int, body: bytes) -> ResultReply:
        """Say how a task stands. What is not understood is not ready yet: the time limit bounds it."""
        ...

    def read_balance(self, status: int, body: bytes) -> BalanceReply:
        """Say what the account has left, or why nobody says."""
        ...

    def read_report(self, status: int, body: bytes) -> Rejected | InDoubt | None:
        """Return None where a report was taken, else what was answered."""
        ...


def refused_at_the_door(status: int) -> Rejected | InDoubt:
    """Say what a reply without a word of the service proves, by its HTTP status alone."""
    if 300 <= status < 500 and status not in (408, 499):
        # Refused by its front door: a redirect or a client error never reached the service behind it.
        busy = ErrorKind.BUSY if status == 429 else ErrorKind.FATAL
        return Rejected(code=f"http_{status}", kind=busy, message=f"it was refused with HTTP {status}")
    return InDoubt(message=f"it was answered with HTTP {status} and nothing that says what became of it")


def failure(
    profile: Profile, error: tuple[str, ErrorKind, str], status: int, cost: float | None = None
) -> Pending | Failed:
    """Say what an error reply to a poll means: some of them only ask to wait."""
    code, kind, message = error
    if kind in (ErrorKind.WAIT, ErrorKind.BUSY):
        return Pending(trouble=code if kind is ErrorKind.BUSY else None, busy=kind is ErrorKind.BUSY)
    if kind is ErrorKind.UNKNOWN and status >= 500:
        return Pending(trouble=None if profile.server_error_is_wait else f"HTTP {status} with {code}")
    return Failed(code=code, kind=kind, message=message, cost=cost)


def unreadable(profile: Profile, status: int) -> Pending:
    """Say what a reply to a poll means that is not in the family's language."""
    wait = profile.server_error_is_wait and status == 500
    return Pending(trouble=None if wait else f"HTTP {status} with nothing readable", busy=status == 429)


def put_fields(task: dict[str, Any], kind: KindProfile, request: CaptchaRequest) -> None:
    """Put the challenge's parameters into a task, by the vendor's names."""
    params = {**request.challenge.params, "user_agent": request.identity.user_agent}
    for ours, theirs in kind.fields.items():
        text = params.get(ours)
        if not text:
            continue
        conversion, _, name = theirs.rpartition(":")
        value = _converted(conversion, text)
        if value is None:
            continue
        place = task
        *levels, last = name.split(".")
        for level in levels:
            place = place.setdefault(level, {})
        place[last] = value


def _converted(conversion: str, text: str) -> Any:
    """Return a parameter as the vendor wants it; None where the text is not of that shape."""
    match conversion:
        case "json":
            try:
                return msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError):
                return None
        case "bool" | "flag":
            yes = text == "true"
            return yes if conversion == "bool" else str(int(yes))
        case "base64":
            return base64.b64encode(text.encode()).decode()
        case "blob":
            return msgspec.json.encode({"blob": text}).decode()
    return text


def read_ready(kind: KindProfile, solution: Any, cost: float | None) -> Ready | None:
    """Return the answer where a solution has one, whole; None where any part of it is missing.

    ``solution`` is what the vendor calls so: an object, or for the older family often a bare text.
    """
    agent = header_text(_at(solution, "userAgent")) or header_text(_at(solution, "headers.User-Agent"))
    if kind.values:
        values = {name: _first(solution, places) for name, places in kind.values.items()}
        if not all(values.values()):
            return None
        return Ready(values={n: v for n, v in values.items() if v}, user_agent=agent, cost=cost)
    if kind.cookies and kind.kind is not None:
        found: dict[str, str] = {}
        for place in kind.cookies:
            found = _cookies(_at(solution, place), FACTS[kind.kind].cookies)
            if found:
                break
        return Ready(cookies=found, user_agent=agent, cost=cost) if found else None
    token = _first(solution, kind.token or ("",))
    return Ready(token=token, user_agent=agent, cost=cost) if token else None


def _at(value: Any, path: str) -> Any:
    """Return what stands at a dotted path; an empty path is the value itself."""
    for name in path.split(".") if path else ():
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # GeeTest's gen_time comes as a number from some
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_VALUE else None


def header_text(value: Any) -> str | None:
    """Return a text as a header can carry it, stripped; None where control characters are left in it.

    A request with one is never sent: the answer that brought it would be lost as our own fault.
    """
    text = (_text(value) or "").strip()
    return text if text and text.isprintable() else None


def _first(solution: Any, places: tuple[str, ...]) -> str | None:
    for place in places:
        found = _text(_at(solution, place))
        if found is not None:
            return found
    return None


def _cookies(value: Any, wanted: tuple[str, ...]) -> dict[str, str]:
    """Return the wanted cookies from any of the shapes that vendors use.

    ``{name: value}``, a list of objects with name and value, ``name=value; Path=/``, or the bare value of
    the one cookie that is wanted.
    """
    if isinstance(value, list):
        rows = [row for row in value if isinstance(row, dict) and isinstance(row.get("name"), str)]
        value = {row["name"]: row.get("value") for row in rows}
    if isinstance(value, dict):
        return _sound(value, wanted)
    text = _text(value)
    if text is None:
        return {}
    if len(wanted) == 1 and "=" not in text and ";" not in text:
        return _sound({wanted[0]: text}, wanted)
    return _sound(dict(part.strip().partition("=")[::2] for part in text.split(";")), wanted)


def _sound(values: Mapping[Any, Any], wanted: tuple[str, ...]) -> dict[str, str]:
    return {name: text for name in wanted if (text := header_text(values.get(name))) is not None}


def read_task_id(value: object) -> str | None:
    """Return a task's id as text, None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not value:
        return None
    text = str(value)
    return text if len(text) <= _LONGEST_TASK_ID else None


def read_cost(value: object) -> float | None:
    """Read a price given as a number or as text; what is no price is None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        cost = float(value)
    except (ValueError, OverflowError):
        return None
    return cost if math.isfinite(cost) and cost >= 0 else None


def read_proxy(text: str) -> Proxy | None:
    """Read a proxy's URL; None for what is none."""
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        return None
    if not host or not port:
        return None
    scheme = "socks5" if url.scheme == "socks5h" else url.scheme
    return Proxy(scheme=scheme, host=host, port=port, login=url.user or "", password=url.password or "")


def proxies_by_id(table: Mapping[str, str]) -> dict[str, Proxy]:
    """Read a table of proxies' URLs; those that are none are left out."""
    read = {name: read_proxy(text) for name, text in table.items()}
    return {name: proxy for name, proxy in read.items() if proxy is not None}


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
