"""One child process: how it is described, started, watched and ended.

Children are plain ``subprocess.Popen`` objects that are polled, not asyncio's: nothing of them belongs to
an event loop, so a test may start one in one loop and stop it in another. Each has a session and process
group of its own: Ctrl-C in a terminal reaches the supervisor alone, which then stops its children in
order, and what a child leaves behind can be ended as a group. Output goes to a file, never to a pipe:
no child can block on us, and none dies of our end.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
from tidegate.clock import Clock
from tidegate.errors import TidegateError

from tidegate_cli.stack.folder import appending, tail, turn_over
from tidegate_cli.stack.probes import AtOnce, Probe

_POLL_S = 0.02


class StackError(TidegateError):
    """A process of the stack did not start, or died for good; the message ends with its log's tail."""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is. ``env`` is its whole environment; ``after`` names what it needs while it runs.

    What it needs is stopped after it. When it is started is the caller's business (``graph``).

    ``revive``: started again when it dies unexpectedly. It is False where that would lose data behind a
    run's back, as with a broker in memory: its death ends the run.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    ready: Probe = AtOnce()
    after: tuple[str, ...] = ()
    revive: bool = True
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0


class Child:
    """A child process and what is known of it.

    Attributes:
        name: Its name in the stack.
        log_path: Where its output goes.
        restarts: How often it was started again, on purpose or not.
    """

    def __init__(self, spec: ProcessSpec, log_path: Path, clock: Clock) -> None:
        self.spec = spec
        self.name = spec.name
        self.log_path = log_path
        self.restarts = 0
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._since = 0

    @property
    def pid(self) -> int:
        """Return the process id; of the last run when it is not running, 0 before the first."""
        return 0 if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return how the last run ended: negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    def spawn(self) -> None:
        """Start the process; StackError when its program cannot be run."""
        assert not self.running
        turn_over(self.log_path)
        with appending(self.log_path) as output:
            self._since = os.fstat(output).st_size
            try:
                self._process = subprocess.Popen(  # noqa: S603 -- the stack's own commands
                    self.spec.command,
                    env=dict(self.spec.env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{self.name}: {self.spec.command[0]}: {error.strerror}") from error

    async def wait_ready(self) -> None:
        """Wait for readiness; StackError when the process ends before, or takes too long."""
        deadline = self._clock.monotonic() + self.spec.start_timeout_s
        while not await self.spec.ready.ready(self.log_path, self._since):
            if not self.running:
                self.end_group()
                raise StackError(self.describe(f"ended with {ending(self.exit_code)} before it was ready"))
            if self._clock.monotonic() > deadline:
                message = f"was not ready within {self.spec.start_timeout_s:.0f} s"
                raise StackError(self.describe(message))
            await self._clock.sleep(_POLL_S)

    async def wait_exit(self, timeout_s: float) -> bool:
        """Wait for the process to end; tell whether it did in time."""
        deadline = self._clock.monotonic() + timeout_s
        while self.running:
            if self._clock.monotonic() > deadline:
                return False
            await self._clock.sleep(_POLL_S)
        return True

    async def stop(self) -> bool:
        """End the process: SIGTERM, the deadline, SIGKILL for its group; tell whether it had to be killed."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)  # one that was stopped by a signal could not hear the first
        killed = not await self.wait_exit(self.spec.stop_timeout_s)
        self.end_group()
        if self._process is not None:
            self._process.wait()
        return killed

    def send(self, signal_number: int) -> None:
        """Send a signal to the process itself, if it is alive."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(signal_number)

    def end_group(self) -> None:
        """SIGKILL whatever is left of the process's group: what it started and did not end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def describe(self, what: str) -> str:
        """Return a sentence about the process with the end of its log."""
        text = tail(self.log_path)
        return f"{self.name} {what}; {self.log_path} ends:\n{text}" if text else f"{self.name} {what}"


def ending(exit_code: int | None) -> str:
    """Return how a process ended, in words."""
    if exit_code is None:
        return "no exit code"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"
