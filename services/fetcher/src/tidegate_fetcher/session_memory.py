"""Takes over what is known of a partition's visitors, and lets go of it (delivery.md M6)."""

from tidegate.clock import BrokerClock
from tidegate.errors import RecordError
from tidegate.events import Emit
from tidegate.process import PartitionReader
from tidegate.records import Inbound
from tidegate.sites import partition_of
from tidegate.topics import Topic

from tidegate_fetcher.events import SessionsRestored
from tidegate_fetcher.identities import Identities


class SessionMemory:
    """Reads ``sessions`` when a partition number is assigned. ``partitions`` is their count."""

    def __init__(
        self,
        reader: PartitionReader,
        identities: Identities,
        broker_clock: BrokerClock,
        *,
        partitions: int,
        emit: Emit,
    ) -> None:
        self._reader = reader
        self._identities = identities
        self._broker_clock = broker_clock
        self._partitions = partitions
        self._emit = emit

    async def restore(self, partition: int) -> None:
        """Read the topic to its end; the last record of a visitor counts.

        What we knew ourselves is forgotten: somebody else may have had the partition since. Raises
        BrokerError where the broker does not answer.
        """
        latest: dict[bytes, Inbound] = {}
        async for record in self._reader.read(Topic.SESSIONS, partition):
            key = record.key or b""
            if record.value:
                latest[key] = record
            else:
                latest.pop(key, None)
        self.forget(partition)
        unreadable = 0
        for record in latest.values():
            try:
                self._identities.learn(record, self._broker_clock.now_ms())
            except RecordError:
                unreadable += 1  # a visitor comes as nobody then, at the price of a solve
        if latest:
            visitors = len(latest) - unreadable
            self._emit(SessionsRestored(partition=partition, visitors=visitors, unreadable=unreadable))

    def forget(self, partition: int) -> None:
        """Forget what is known of the partition's sites: whoever has it now knows better."""
        self._identities.forget(lambda site: partition_of(site.encode(), self._partitions) == partition)
