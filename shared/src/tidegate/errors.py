"""The exception tree. Foreign errors are mapped to it once, at the adapter, ``from`` the original.

TidegateError
├── ConfigurationError      a setting, topic or schema that an operator must mend; the process ends
├── RecordError             input that can never be handled; becomes a dead letter with its reason
├── IllegalTransitionError  a state machine was asked for a step that it does not have; nothing changed
├── BrokerError             Kafka refused or lost something that the caller must judge
│   ├── FatalProduceError   whether a custody record was stored is unknown for good; the process ends
│   └── CommitRefusedError  the group moved on; the next owner redoes the work
└── RemoteError             another system failed
    ├── ClickHouseError     carries ClickHouse's own error code
    └── SolverError         carries the solving service's error code and its class
"""

from tidegate.outcome import Reason


class TidegateError(Exception):
    """Base of every error that Tidegate raises on purpose."""


class ConfigurationError(TidegateError):
    """A setting, a topic or a schema is wrong, and only a person can mend it."""


class RecordError(TidegateError):
    """A record that no retry can help.

    ``reason`` is the dead letter's reason; the message is a sentence that a person understands and
    holds no secret, because it is stored.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class IllegalTransitionError(TidegateError):
    """A pure state machine was asked for an illegal step; its state is unchanged."""


class BrokerError(TidegateError):
    """Kafka refused or lost something."""


class FatalProduceError(BrokerError):
    """A custody produce ended without an answer: neither success nor failure, so the process ends."""


class CommitRefusedError(BrokerError):
    """The group has moved on; the result is dropped and the new owner redoes the work."""


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
