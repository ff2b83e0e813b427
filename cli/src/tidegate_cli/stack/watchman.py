"""Starts and dismisses the guard of ``guard``: the side of the supervisor."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from tidegate_cli.stack import guard

_TIMEOUT_S = guard.GRACE_S + 10.0


class Watchman:
    """A guard process, and the token by which it knows whom to end."""

    def __init__(self, lock_fd: int | None = None) -> None:
        """Start it; ``lock_fd`` is kept open until it ends."""
        self.token = uuid4().hex
        self._process = subprocess.Popen(  # noqa: S603 -- our own script
            (sys.executable, str(Path(guard.__file__)), self.token),
            env={key: value for key, value in os.environ.items() if key != guard.VARIABLE},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=() if lock_fd is None else (lock_fd,),
        )

    @property
    def mark(self) -> dict[str, str]:
        """Return what each child's environment must carry."""
        return {guard.VARIABLE: self.token}

    def dismiss(self) -> None:
        """Close the pipe and wait until the guard has ended what is left, which is nothing as a rule."""
        try:
            self._process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
