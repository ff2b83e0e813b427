"""One child process: how it is described, started, watched and ended."""

from pathlib import Path

from tidegate.errors import TidegateError


class StackError(TidegateError):
    """A process of the stack did not start, or died for good; the message ends with its log's tail."""


class Child:
    """A child process and what is known of it."""

    name: str
    log_path: Path
    restarts: int

    @property
    def pid(self) -> int:
        """Return the process id; of the last run when it is not running."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Tell whether the process is alive."""
        raise NotImplementedError

    @property
    def exit_code(self) -> int | None:
        """Return how the last run ended: negative for a signal; None while it runs."""
        raise NotImplementedError
