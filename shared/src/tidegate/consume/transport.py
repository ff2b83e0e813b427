"""The port between the runtime and a broker, so that a fake and Kafka pass the same contract suite."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.records import Inbound


class Position(NamedTuple):
    """Where a partition begins for its new owner: the committed offset and its metadata."""

    offset: int
    metadata: str


class Listener(Protocol):
    """Hears of rebalances. Both calls are awaited before the group goes on."""

    async def on_assigned(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Partitions are ours from these positions on."""
        ...

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are about to be somebody else's: finish, commit, let go."""
        ...


class Source(Protocol):
    """A member of a consumer group. Records wait in the broker until they are asked for."""

    async def start(self, listener: Listener) -> None:
        """Join the group. Raises BrokerError where that fails; it may be called again then."""
        ...

    async def poll(
        self, partitions: Iterable[TopicPartition], *, max_records: int, timeout_s: float
    ) -> list[Inbound]:
        """Return records of just these partitions, in offset order for each; empty after ``timeout_s``.

        Never records of an assignment that began after the call: those come with a later call.
        Raises OffsetsLostError for records that are gone, BrokerError for what may pass.
        """
        ...

    def check(self) -> None:
        """Raise what went wrong in a rebalance: with nothing to poll, nothing else tells of it.

        RebalanceError where the process has to end, BrokerError for what may pass.
        """
        ...

    async def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Commit. Raises CommitRefusedError when it was refused or its answer did not come."""
        ...

    async def stop(self) -> None:
        """Leave the group."""
        ...
