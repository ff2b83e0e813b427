"""What the consumer runtime says of itself."""

from typing import ClassVar

from tidegate.events import Event


class PartitionsAssigned(Event, frozen=True):
    """The group gave us partitions; ``restored`` is how many done offsets their metadata remembered."""

    partitions: int
    restored: int


class PartitionsRevoked(Event, frozen=True):
    """The group took partitions away; ``abandoned`` is the work that was cut off and is redone elsewhere."""

    partitions: int
    abandoned: int


class PartitionPrepared(Event, frozen=True):
    """What a partition number needs was restored, and work on it begins."""

    level: ClassVar[str] = "debug"
    partition: int


class PrepareFailed(Event, frozen=True):
    """Restoring a partition's state failed; it is tried again."""

    level: ClassVar[str] = "warning"
    partition: int
    error: str


class JobRetried(Event, frozen=True):
    """A try failed and another is due."""

    run: str
    job_id: str
    site: str
    error_class: str
    wait_s: float
    message: str


class JobDeferred(Event, frozen=True):
    """A job's turn has not come."""

    level: ClassVar[str] = "debug"
    run: str
    job_id: str
    site: str
    wait_s: float
    message: str


class JobDead(Event, frozen=True):
    """A job ended as a dead letter."""

    level: ClassVar[str] = "warning"
    run: str
    job_id: str
    site: str
    reason: str
    message: str


class HandlerFaulted(Event, frozen=True):
    """A handler raised something unforeseen: a fault of ours."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int
    error: str


class ResultStale(Event, frozen=True):
    """A result came after its partition had gone to somebody else; it changed nothing."""

    topic: str
    partition: int
    offset: int


class CommitRefused(Event, frozen=True):
    """A commit was refused or went unanswered; what it covered may be done again."""

    level: ClassVar[str] = "warning"
    error: str


class OffsetsLost(Event, frozen=True):
    """Records were deleted before they were read; the partition stops until a person decides."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    first_lost: int
    first_left: int


class CrashSuspected(Event, frozen=True):
    """Somebody died with records of this partition in hand; few are read until it gets further."""

    level: ClassVar[str] = "warning"
    topic: str
    partition: int
    offset: int
    crashes: int


class PartitionIsolated(Event, frozen=True):
    """The partition is read one record at a time: one of them kills the process."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int


class IsolationEnded(Event, frozen=True):
    """The partition is read as usual again."""

    level: ClassVar[str] = "warning"
    topic: str
    partition: int


class RecordCondemned(Event, frozen=True):
    """A record killed the process so often while it was in hand alone; it becomes a dead letter."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int
    crashes: int


class PartitionHeld(Event, frozen=True):
    """Too many dead letters for faults of our own: the partition waits, then one record is tried again."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int
    pause_s: float


class PartitionFreed(Event, frozen=True):
    """A record that was tried again went well: the partition goes on."""

    level: ClassVar[str] = "warning"
    topic: str
    partition: int


class PartitionStuck(Event, frozen=True):
    """Work waits in a partition, and it has got no further for longer than a handler may take."""

    level: ClassVar[str] = "error"
    topic: str
    partition: int
    offset: int
    stuck_s: float


class PartitionMoves(Event, frozen=True):
    """A partition that was stuck has got further, or has nothing to do any more."""

    topic: str
    partition: int
    offset: int


class RetentionNears(Event, frozen=True):
    """The oldest record that is not done has half of its topic's retention behind it: it may be deleted."""

    level: ClassVar[str] = "error"
    topic: str
    age_s: int
    retention_s: int


class RetentionFar(Event, frozen=True):
    """The oldest record that is not done is young enough again."""

    topic: str
    age_s: int
    retention_s: int


class ClockSkewed(Event, frozen=True):
    """The broker's clock is that much ahead of this host's; deadlines go by the broker's."""

    level: ClassVar[str] = "warning"
    offset_s: float


class ClockAgrees(Event, frozen=True):
    """The broker's clock and this host's agree again."""

    offset_s: float


class LoopLagged(Event, frozen=True):
    """The event loop came that much late: something blocks it, or the machine has no time for us."""

    level: ClassVar[str] = "warning"
    delay_s: float


class LoopRecovered(Event, frozen=True):
    """The event loop has been in time for a while; ``worst_s`` is the longest delay before."""

    worst_s: float


class BrokerAway(Event, frozen=True):
    """No broker answers while the service starts; it is asked again, and the service is not ready."""

    level: ClassVar[str] = "warning"
    error: str
    wait_s: float


class PollFailed(Event, frozen=True):
    """The broker could not be asked for records; it is asked again."""

    level: ClassVar[str] = "warning"
    error: str


class ProduceRetried(Event, frozen=True):
    """A produce got no answer and is sent again; two copies converge by identity (C5)."""

    level: ClassVar[str] = "warning"
    topic: str
    error: str


class BoundReached(Event, frozen=True):
    """A local bound is full: nothing more is taken in hand until it is free again, the source is held back.

    ``bound`` is ``window`` (records in hand) or ``window_bytes``.
    """

    level: ClassVar[str] = "debug"
    bound: str
    used: int
    most: int


class BoundFreed(Event, frozen=True):
    """A local bound is well below its mark again."""

    level: ClassVar[str] = "debug"
    bound: str
    used: int
    most: int


class StatsDropped(Event, frozen=True):
    """What the monitor would have been told could not be sent; told once an outage. Nothing else suffers."""

    level: ClassVar[str] = "warning"
    error: str


class RuntimeStopped(Event, frozen=True):
    """The runtime has drained and left its group."""

    abandoned: int
