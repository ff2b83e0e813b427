"""What a client does that a vendor bans for: counted always, banned for where the behaviour says so."""

from collections import deque
from enum import StrEnum

from tidegate_cli.simulator.vendors import Vendor

_BURST_S = 3.0
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
        self.same = 0
        self.dead = 0
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

    def refused(self, vendor: Vendor, key: str, code: str, *, dead: bool, busy: bool) -> Offence | None:
        """Take note of a refusal: for the account's sake (``dead``), or for want of room (``busy``)."""
        account, rules = self._account(vendor, key), vendor.rules
        account.same = 0 if busy else account.same + 1 if code == account.code else 1
        account.code = code
        account.dead = account.dead + 1 if dead else 0
        if rules.dead_account and account.dead > rules.dead_account:
            return Offence.DEAD_ACCOUNT
        if rules.same_error and account.same > rules.same_error:
            return Offence.SAME_ERROR
        return None

    def accepted(self, vendor: Vendor, key: str) -> None:
        """Take note of an order that was taken."""
        account = self._account(vendor, key)
        account.same = account.dead = 0

    def _account(self, vendor: Vendor, key: str) -> _Account:
        place = (vendor.name, key)
        found = self._accounts.get(place)
        if found is None:
            found = self._accounts[place] = _Account()
            if len(self._accounts) > _MOST_KEYS:
                del self._accounts[next(iter(self._accounts))]
        return found
