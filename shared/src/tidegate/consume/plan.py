"""What a service consumes, as data: the runtime and the topic checks read it."""

import msgspec

from tidegate.consume.retries import RetryPolicy
from tidegate.topics import Topic


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The topics of one consumer group.

    ``reserved`` topics come first, have window slots of their own and are never deferred (solutions).
    ``delays`` wait until their records are due; a due record takes its own lane's share.
    """

    group: str
    topics: tuple[Topic, ...]
    reserved: tuple[Topic, ...] = ()
    delays: tuple[Topic, ...] = ()
    retries: RetryPolicy = RetryPolicy()

    @property
    def all_topics(self) -> tuple[Topic, ...]:
        """Every topic that the group subscribes to."""
        return (*self.reserved, *self.topics, *self.delays)
