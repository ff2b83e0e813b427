"""What a client does that a vendor bans for: counted always, banned for where the behaviour says so."""

from collections import deque
from enum import StrEnum

from tidegate_cli.simulator.vendors import Vendor

_BURST_S = 3.0
_ROW_S = 60.0
_MOST_KEYS = 1_000


class Offence(StrEnum):
    """The rules, by what breaks them."""

    EARLY_POLL = "early_poll"
    TOO_MANY_POLLS = "too_many_polls"
    POLLED_AFTER_END = "polled_after_end"
    SAME_ERROR = "same_error"
    DEAD_ACCOUNT = "dead_account"
    BURST = "burst"
    WHILE_BANNED = "while_banned"


class _Account:
    def __init__(self) -> None:
        self.code = ""
        self.same: deque[float] = deque(maxlen=1_000)
        self.dead: deque[float] = deque(maxlen=1_000)
        self.orders: deque[float] = deque(maxlen=1_000)


class Offences:
    """Follows the orders of each key at each vendor; at most 1,000 of them, the oldest go first."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], _Account] = {}

    def ordered(self, vendor: Vendor, key: str, now: float) -> Offence | None:
        """Take note of an order; return the rule that it breaks."""
        account = self._account(vendor, key)
        account.orders.append(now)
        burst = vendor.rules.burst
        if burst and len(account.orders) > burst and now - account.orders[-burst - 1] < _BURST_S:
            return Offence.BURST
        return None

    def refused(
        self, vendor: Vendor, key: str, code: str, now: float, *, dead: bool, busy: bool
    ) -> Offence | None:
        """Take note of a refusal: for the account's sake (``dead``), or for want of room (``busy``)."""
        account, rules = self._account(vendor, key), vendor.rules
        if busy or code != account.code:
            account.same.clear()
        if not busy:
            account.same.append(now)
        account.code = code
        if dead:
            account.dead.append(now)
        else:
            account.dead.clear()
        if rules.dead_account and _lately(account.dead, now) > rules.dead_account:
            return Offence.DEAD_ACCOUNT
        if rules.same_error and _lately(account.same, now) > rules.same_error:
            return Offence.SAME_ERROR
        return None

    def accepted(self, vendor: Vendor, key: str) -> None:
        """Take note of an order that was taken."""
        account = self._account(vendor, key)
        account.same.clear()
        account.dead.clear()

    def _account(self, vendor: Vendor, key: str) -> _Account:
        place = (vendor.name, key)
        found = self._accounts.get(place)
        if found is None:
            found = self._accounts[place] = _Account()
            if len(self._accounts) > _MOST_KEYS:
                del self._accounts[next(iter(self._accounts))]
        return found


def _lately(moments: deque[float], now: float) -> int:
    """Count the moments of the last minute, and forget the others."""
    while moments and moments[0] < now - _ROW_S:
        moments.popleft()
    return len(moments)
