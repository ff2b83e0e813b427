"""What a service gives the runtime, and what the runtime gives back.

A service is two functions: ``decode`` says which job a record carries, ``handle`` does the work and
says how it ended. The runtime does the rest: it bounds what is in flight, produces what an outcome asks
for, waits for the acknowledgement, and commits (delivery.md C).
"""

from typing import Generic, Protocol, TypeVar

import msgspec

from tidegate.outcome import Outcome, Outgoing
from tidegate.records import Inbound, Job

P = TypeVar("P")


class Work(msgspec.Struct, Generic[P], frozen=True):
    """One record in hand: where it stands, the job it carries, and what the service decoded.

    ``alone``: no other record of its partition is handed out until it is done. Who gathers records must not
    wait for more of them.
    """

    record: Inbound
    job: Job
    payload: P
    alone: bool = False


class Service(Protocol[P]):
    """One of the services, as the runtime sees it."""

    def decode(self, record: Inbound) -> Work[P]:
        """Read a record. Raises RecordError for what no retry can help; must not block."""
        ...

    async def handle(self, work: Work[P]) -> Outcome:
        """Do the work and say how it ended. May be cancelled at the handler's deadline."""
        ...

    async def prepare(self, partition: int) -> None:
        """Restore what must be known before this partition number is worked on (M6).

        Runs outside the rebalance, once per assignment; records wait until it returns.
        """
        ...

    def release(self, partition: int) -> None:
        """Forget what was restored for a partition number that is no longer ours."""
        ...


class Ack(msgspec.Struct, frozen=True):
    """The broker's acknowledgement of a produced record."""

    partition: int
    offset: int
    timestamp_ms: int


class Sink(Protocol):
    """Produces records. A custody produce is never timed out (C5)."""

    async def send(self, record: Outgoing) -> Ack:
        """Produce and wait for the acknowledgement. Raises FatalProduceError: the process must end."""
        ...
