"""What a service consumes, as data: the runtime and the topic checks read it."""

from enum import StrEnum

import msgspec

from tidegate.consume.retries import DEFAULTS, RetryPolicy
from tidegate.topics import Topic


class Fault(StrEnum):
    """What becomes of a record whose handler raised something unforeseen.

    RETRY sends the job back through a delay topic, at an attempt of class ``internal``. HOLD tries the
    handler again in place until it succeeds, for a service whose input must not be produced again.
    """

    RETRY = "retry"
    HOLD = "hold"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The topics of one consumer group.

    ``reserved`` topics come first and are never deferred (solutions); they have ``reserved_slots`` of the
    window of their own, at most half of it. ``delays`` wait until their records are due; a due record takes
    its own lane's share. ``held`` are lanes of their own that the service's valve opens and shuts
    (``consume.intake``). ``window`` is how many records are at work at once, waiting ones included; as many
    again may wait for the broker to take what became of them, and thousands that needed no handler.
    ``deadline_s`` is how long a handler may take; None for a batching one, which waits for as long as its
    sink is away. ``prefix`` is the installation's, which stands before the group's name at the broker.
    """

    group: str
    prefix: str = ""
    topics: tuple[Topic, ...]
    reserved: tuple[Topic, ...] = ()
    delays: tuple[Topic, ...] = ()
    held: tuple[Topic, ...] = ()
    retries: RetryPolicy = DEFAULTS
    window: int = 128
    reserved_slots: int = 16
    deadline_s: float | None = 120.0
    fault: Fault = Fault.RETRY

    @property
    def all_topics(self) -> tuple[Topic, ...]:
        """Every topic that the group subscribes to."""
        return (*self.reserved, *self.topics, *self.held, *self.delays)
