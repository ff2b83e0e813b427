"""The exception tree. Foreign errors are mapped to it once, at the adapter, ``from`` the original.

TidegateError
├── ConfigurationError      a setting, topic or schema that an operator must mend; the process ends
├── RecordError             input that can never be handled; becomes a dead letter with its reason
├── IllegalTransitionError  a state machine was asked for a step that it does not have; nothing changed
├── RebalanceError          an assignment was not taken up and its partitions stand still; the process ends
├── BrokerError             Kafka refused or lost something that the caller must judge
│   ├── FatalProduceError   whether a custody record was stored is unknown for good; the process ends
│   ├── CommitRefusedError  the group moved on, or nobody knows; the next owner redoes the work
│   └── OffsetsLostError    records went before they were read; those partitions stop with an alarm
└── RemoteError             another system failed
    ├── ClickHouseError     carries ClickHouse's own error code
    └── SolverError         carries the solving service's error code and its class
"""

from typing import TYPE_CHECKING

from tidegate.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tidegate.records import Job


class TidegateError(Exception):
    """Base of every error that Tidegate raises on purpose."""


class ConfigurationError(TidegateError):
    """A setting, a topic or a schema is wrong, and only a person can mend it."""


class RecordError(TidegateError):
    """A record that no retry can help.

    ``reason`` is the dead letter's reason; the message is a sentence that a person understands and
    holds no secret, because it is stored. ``job`` is what could be read of the job all the same, so that
    its dead letter bears its own identity; None where nothing could.
    """

    def __init__(self, reason: Reason, message: str, job: "Job | None" = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.job = job


class IllegalTransitionError(TidegateError):
    """A pure state machine was asked for an illegal step; its state is unchanged."""


class RebalanceError(TidegateError):
    """What the group gave us could not be taken up: nothing else would ever read it, so the process ends."""


class BrokerError(TidegateError):
    """Kafka refused or lost something."""


class FatalProduceError(BrokerError):
    """A custody produce ended without an answer: neither success nor failure, so the process ends."""


class CommitRefusedError(BrokerError):
    """The commit was refused, or its answer did not come: the result is dropped and redone."""


class OffsetsLostError(BrokerError):
    """Records were deleted before they were read (C6).

    ``lost`` maps (topic, partition) to the first offset that is gone and the first that is left.
    """

    def __init__(self, lost: "dict[tuple[str, int], tuple[int, int]]") -> None:
        super().__init__(f"records are gone: {lost}")
        self.lost = lost


class RemoteError(TidegateError):
    """A system that Tidegate talks to failed."""


class ClickHouseError(RemoteError):
    """ClickHouse answered with an error; ``code`` is its number, 0 when there was no answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SolverError(RemoteError):
    """A solving service answered with an error; ``code`` is its own error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that a foreign error and its causes came through; call it where it is mapped.

    Client libraries keep errors in variables of these frames, or in objects that they know. So each keeps
    itself and what its callers had in hand, megabytes of a body or a batch, until garbage is looked for:
    after so many objects that enough failures would have filled the memory before.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def cause_of(error: BaseException) -> BaseException:
    """Return what an error is about, where task groups wrapped it.

    A configuration error comes first, since only a person can mend it, then another one of ours, then
    whatever else there is: what tasks meet while they are being ended says little.
    """
    leaves = list(_leaves(error))
    for kind in (ConfigurationError, TidegateError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def _leaves(error: BaseException) -> "Iterator[BaseException]":
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
