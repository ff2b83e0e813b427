"""What a reply says of the solving service's strength, as opposed to the request. Pure.

Two questions. Is it there and fit to take tasks from us (the breaker's)? Could it take this many at once
(the limit's)? Most errors answer neither: a bad site key is the page's fault.
"""

from tidegate.flow.adaptive_limit import Ending

from tidegate_solver import wire
from tidegate_solver.profiles import ErrorKind
from tidegate_solver.provider import GIVEN_UP, Harvest
from tidegate_solver.transport import NOT_SENT

# Refused at the front door for what the request holds; the next one may pass.
_OF_THE_REQUEST = frozenset({"http_400", "http_413", "http_414", "http_422"})


def is_of_the_request(code: str) -> bool:
    """Say whether a refusal is about what the request holds, and not about the account or this address."""
    return code in _OF_THE_REQUEST


def is_away(reply: wire.CreateReply) -> bool:
    """Say whether a reply to createTask shows a service that is of no use to anybody here.

    Not reachable, no answer that can be read, or the account or this address is at fault (no balance, a
    wrong key): going on would cost money in doubt or fail one job after the other.
    """
    match reply:
        case wire.Created():
            return False
        case wire.InDoubt():
            return True
        case wire.Rejected(code=code, kind=kind):
            return code == NOT_SENT or (kind is ErrorKind.FATAL and not is_of_the_request(code))


def ending_of_create(reply: wire.CreateReply) -> Ending:
    """Return how a call ended that made no task, IGNORED where one was made and the call goes on."""
    match reply:
        case wire.InDoubt() | wire.Rejected(kind=ErrorKind.BUSY):
            return Ending.DROPPED
        case _:
            return Ending.IGNORED


def ending_of_harvest(harvest: Harvest) -> Ending:
    """Return how a task ended.

    A task that was not ready in time counts as one that took as long: where that is our load, fewer at once
    will be faster; where it is not, the limit finds out. Polls that got no answer make the time say nothing.
    """
    if harvest.polls == 0 or harvest.troubled:
        return Ending.IGNORED
    if isinstance(harvest.result, wire.Ready) or harvest.result.code in GIVEN_UP:
        return Ending.SUCCESS
    return Ending.IGNORED
