"""Since when each partition number is ours: whether an earlier owner can have had a record in hand.

A token is good once. Who hands one in and dies leaves its solution to the next owner, who hands it in again
and is refused; that says nothing of the token, nor of the site or of who sold it. What the dead one had in
hand nobody knows, but it cannot have had what was appended after the partition had come to us.
"""

from tidegate.clock import BrokerClock, Clock
from tidegate.records import Inbound

# By so much the estimate of the broker's clock may be wrong before an alarm says so (T1).
_DOUBT_S = 2.0


class Tenures:
    """When the partition numbers came to us."""

    def __init__(self, clock: Clock, broker_clock: BrokerClock) -> None:
        self._clock = clock
        self._broker_clock = broker_clock
        self._since_s: dict[int, float] = {}

    def began(self, partition: int) -> None:
        """A partition number is ours from now on; it may have been before."""
        self._since_s[partition] = self._clock.monotonic()

    def ended(self, partition: int) -> None:
        """A partition number is somebody else's."""
        self._since_s.pop(partition, None)

    def is_first(self, record: Inbound) -> bool:
        """Say whether nobody before us can have had a record in hand: it is younger than our tenure."""
        since_s = self._since_s.get(record.partition)
        if since_s is None:
            return False
        age_s = (self._broker_clock.now_ms() - record.timestamp_ms) / 1000
        return age_s + _DOUBT_S <= self._clock.monotonic() - since_s
