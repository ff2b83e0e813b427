"""A service as a process: settings, signals, health, the runtime, in that order.

Every service's ``__main__`` is one call of ``main`` with its settings, its plan and its ``build``.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Generic, Protocol, TypeVar

import msgspec

from tidegate.clock import BrokerClock, Clock
from tidegate.consume.plan import Plan
from tidegate.consume.service import Service, Sink
from tidegate.events import Emit
from tidegate.records import Inbound
from tidegate.settings import Settings

S = TypeVar("S", bound=Settings)


class PartitionReader(Protocol):
    """Reads a whole partition outside the consumer group, for journals."""

    def read(self, topic: str, partition: int) -> AsyncIterator[Inbound]:
        """Yield the partition's records from its start to the end captured at the call (M6)."""
        ...


class Context(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What a service is built from. ``partitions`` is the count of every site-keyed topic."""

    settings: S
    emit: Emit
    clock: Clock
    broker_clock: BrokerClock
    random: Random
    sink: Sink
    reader: PartitionReader
    partitions: int


Build = Callable[[Context[S]], AbstractAsyncContextManager[Service]]


def main(name: str, settings_kind: type[S], plan: Plan, build: Build[S]) -> int:
    """Run a service until SIGTERM or SIGINT; return the exit code.

    0 after a clean drain, 2 for a configuration error, 1 for anything else.
    ``python -m <service> health`` asks a running one's /ready and exits 0 or 1.
    """
    raise NotImplementedError
