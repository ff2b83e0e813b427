"""The way out that a request takes: directly, through a proxy, or none for now. Pure."""

import msgspec
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Reason, Retry
from tidegate.proxies import Proxy, is_id, proxy_of
from tidegate.records import JobState
from tidegate.topics import SHORTEST_DELAY_S, Topic

from tidegate_fetcher.exchange import Request
from tidegate_fetcher.proxy_standing import ProxyOutcome

# Later than that nobody looks whether the list has changed.
_LONGEST_S = 60.0
_OTHER_PROXY = frozenset({ErrorClass.NETWORK, ErrorClass.RATE_LIMITED, ErrorClass.BLOCKED})


class NoWay(msgspec.Struct, frozen=True):
    """No proxy can be used; one may in ``wait_s`` seconds. ``unknown`` is an id that is not on the list."""

    wait_s: float = 0.0
    unknown: str | None = None


def pinned(pin: str) -> Proxy | None:
    """Return the proxy that a job brought along, in whichever form; None for an id.

    Its form was judged when the job was read. It has no id: what it does is nobody's business.
    """
    return None if is_id(pin) else Proxy(id="", url=proxy_of(pin).url, host="")


def through(request: Request, proxy: Proxy | None) -> Request:
    """Return the request as it goes out through a proxy, None for none."""
    if proxy is None:
        return request
    return msgspec.structs.replace(request, proxy=proxy.url, proxy_id=proxy.id or None)


def is_other(way: Proxy | NoWay | None, proxy_id: str | None) -> bool:
    """Say whether a way leads through something else than the proxy of that id, None for no listed one."""
    return not isinstance(way, NoWay) and (None if way is None else way.id or None) != proxy_id


def missed(way: NoWay, state: JobState) -> Defer | Dead:
    """Return the outcome of a job that has no way out."""
    if way.unknown is not None:
        return Dead(
            reason=Reason.UNKNOWN_PROXY,
            error_class=ErrorClass.BAD_INPUT,
            message=f"The job names the proxy {way.unknown}, which is not on the list of proxies.",
            state=state,
        )
    wait_s = min(max(way.wait_s, SHORTEST_DELAY_S), _LONGEST_S)
    return Defer(delay_s=wait_s, message="No proxy is healthy.", state=state)


def outcome_of(outcome: Outcome, *, proxy_failed: bool) -> ProxyOutcome | None:
    """Return what a try's outcome says of its proxy; None: nothing.

    ``proxy_failed``: the proxy could not be reached, or refused the tunnel. An answer never says that, be it
    407: a site could take all proxies out with it. What the site itself is to blame for
    (a server error, a body too large) is an answer that came through.
    """
    if proxy_failed:
        return ProxyOutcome.FAULT
    if isinstance(outcome, Done):  # nearly always: this is on every page's way
        topics = [record.topic for record in outcome.outgoing]
        return ProxyOutcome.CAPTCHA if Topic.CAPTCHA_REQUESTS in topics else ProxyOutcome.SUCCESS
    match outcome:
        case Retry(error_class=error_class) if error_class in _OTHER_PROXY:
            return ProxyOutcome.FAILURE
        case Dead(reason=Reason.SOLVE_NOT_ALLOWED | Reason.SHED | Reason.BUDGET_EXHAUSTED):
            return ProxyOutcome.CAPTCHA
        case Retry(error_class=ErrorClass.SERVER_ERROR):
            return ProxyOutcome.SUCCESS
        case _:
            return None


def elsewhere(outcome: Outcome, state: JobState, proxy_id: str) -> Outcome:
    """Return the outcome with a note for the next try, where it should take another proxy."""
    if not isinstance(outcome, Retry) or outcome.error_class not in _OTHER_PROXY:
        return outcome
    noted = msgspec.structs.replace(outcome.state or state, failed_proxy=proxy_id)
    return msgspec.structs.replace(outcome, state=noted)
