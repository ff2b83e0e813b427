"""Learns from the delay topics which of a site's turns the fetcher before us has booked.

Turns are booked in memory, and a booking travels with its job as ``due_at_ms``. Whoever takes a partition
over and does not know of them books the same turns again, and each job then comes round in vain once more for
every rebalance. A site's latest bookings stand at the ends of the delay topics, so a short look there is
enough; what it misses costs a second round, never a job. Only sites with a limit of requests a second have
certain turns, so without such limits nothing is read.
"""

from tidegate.clock import BrokerClock
from tidegate.errors import RecordError
from tidegate.process import PartitionReader
from tidegate.records import job_state
from tidegate.topics import DELAYS

from tidegate_fetcher.limiter import SiteLimiter

_LAST_RECORDS = 200


class SlotMemory:
    """Restores a partition number's bookings when it is assigned."""

    def __init__(
        self, reader: PartitionReader, limiter: SiteLimiter, broker_clock: BrokerClock, *, rates: bool
    ) -> None:
        """``rates`` says whether any site has a limit of requests a second."""
        self._reader = reader
        self._limiter = limiter
        self._broker_clock = broker_clock
        self._rates = rates

    async def restore(self, partition: int) -> None:
        """Read what is booked. Raises BrokerError where the broker does not answer."""
        if not self._rates:
            return
        async for record in self._reader.tails(tuple(DELAYS), partition, _LAST_RECORDS):
            try:
                state = job_state(record.headers)
            except RecordError:
                continue  # a dead letter, once its turn has come
            # A failed job waits for a back-off, not for a turn.
            if state is None or state.due_at_ms is None or not state.deferrals or state.attempts:
                continue
            left_s = (state.due_at_ms - self._broker_clock.now_ms()) / 1000
            if left_s > 0:
                self._limiter.learn(state.site, state.lane, left_s)
