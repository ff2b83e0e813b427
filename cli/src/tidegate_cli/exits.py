"""The exit codes of ``tidegate``, and which error ends with which. Scripts rest on them."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    INCOMPLETE = 3
    DEAD_LETTERS = 4
    STACK = 5
    CHECK_FAILED = 6
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done: every job has an outcome, dead letters below the limit",
    Exit.ERROR: "an unexpected error; the message names the logs",
    Exit.USAGE: "wrong usage, input or configuration",
    Exit.INCOMPLETE: "jobs without an outcome, outcomes that do not add up, or dead letters not replayed",
    Exit.DEAD_LETTERS: "too many dead letters (--max-dead-share)",
    Exit.STACK: "Kafka, ClickHouse or a service did not start, or died",
    Exit.CHECK_FAILED: "a check failed: the demo's pages, the topics, a query",
    Exit.INTERRUPTED: "interrupted (Ctrl-C); all was stopped in good order",
}


def code_of(error: BaseException) -> Exit:
    """Return the exit code for an error that ends a command."""
    from tidegate.errors import BrokerError, ConfigurationError, RemoteError  # noqa: PLC0415 -- see main

    from tidegate_cli.stack.processes import StackError  # noqa: PLC0415 -- see main

    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, ConfigurationError):
        return Exit.USAGE
    if isinstance(error, StackError | BrokerError | RemoteError):
        return Exit.STACK
    return Exit.ERROR


def legend() -> str:
    """Return the codes for a help text; the mark at its head keeps the lines as they are."""
    return "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {text}" for code, text in MEANINGS.items())
