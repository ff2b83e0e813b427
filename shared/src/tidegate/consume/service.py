"""What a service gives the runtime, and what the runtime gives back.

A service is two functions: ``decode`` says which job a record carries, ``handle`` does the work and
says how it ended. The runtime does the rest: it bounds what is in flight, produces what an outcome asks
for, waits for the acknowledgement, and commits (delivery.md C).
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from tidegate.outcome import Dead, Defer, Outcome, Outgoing
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


@runtime_checkable
class Sifting(Protocol[P]):
    """A service that can say of some records at once what becomes of them (``passing``).

    Both are asked in the middle of the loop's turn and must not block. Solutions are never sifted (C3).
    """

    def sifts(self) -> bool:
        """Say whether it is worth decoding a record to ask about it; costs next to nothing."""
        ...

    def sift(self, work: Work[P]) -> Defer | Dead | None:
        """Say what becomes of it, without anything ``besides``; None, and nothing changed: ask ``handle``."""
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


class BatchSink(Sink, Protocol):
    """A sink that also takes many records at a time."""

    async def send_batch(self, records: Sequence[Outgoing]) -> None:
        """Produce them and wait until all are acknowledged; of one partition in their order.

        Raises RecordError where one can never fit, and then nobody knows which of them were produced;
        FatalProduceError as ``send`` does.
        """
        ...
