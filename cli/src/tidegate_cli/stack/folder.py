"""The data folder of a stack: one lock, and a fixed layout.

::

    DATA/
      lock             held while a stack runs on the folder; its text is the supervisor's process id
      stack.json       addresses of the running stack, for other terminals; absent while none runs
      logs/NAME.log    output of each process; NAME.log.1 is the part before, when it grew too long
      clickhouse/      the embedded ClickHouse's data, kept between runs
      kafka/node-N/    Apache Kafka's data and its server.properties, kept between runs

The embedded broker keeps nothing on disk.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
from tidegate.clock import Clock
from tidegate.errors import ConfigurationError

LOG_BYTES = 16 << 20
_TAIL_BYTES = 8192
_TAIL_LINES = 15
_POLL_S = 0.1
# Longer than the guard's grace, so that the remains of a killed stack are waited for.
_WAIT_FOR_REMAINS_S = 10.0


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running stack is; the content of ``stack.json``. ``pid`` is the supervisor's."""

    bootstrap: str
    clickhouse_url: str
    prefix: str = ""
    simulator_url: str | None = None
    demo_url: str | None = None
    monitor_url: str | None = None
    pid: int = 0


class DataFolder:
    """A locked data folder."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd

    def log_path(self, name: str) -> Path:
        """Return where a process's output goes."""
        return self.path / "logs" / f"{name}.log"

    def subfolder(self, name: str) -> Path:
        """Return a folder for a process's own data, made if it is missing."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self, addresses: Addresses) -> None:
        """Write ``stack.json`` in one step."""
        new = self.path / "stack.json.new"
        new.write_bytes(msgspec.json.encode(msgspec.structs.replace(addresses, pid=os.getpid())))
        new.replace(self.path / "stack.json")

    def withdraw(self) -> None:
        """Remove ``stack.json``."""
        (self.path / "stack.json").unlink(missing_ok=True)


async def lock_folder(path: Path, clock: Clock) -> DataFolder:
    """Make the folder if need be and lock it; ``release_folder`` gives it back.

    The remains of a stack that was killed still hold the lock for a moment; those are waited for.
    Raises ConfigurationError when a living stack holds it, or the folder cannot be written.
    """
    try:
        path = path.resolve()  # noqa: ASYNC240 -- a local folder, once
        (path / "logs").mkdir(parents=True, exist_ok=True)
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"the data folder {path} cannot be used: {error.strerror}") from error
    deadline = clock.monotonic() + _WAIT_FOR_REMAINS_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            alive = holder.isdigit() and _alive(int(holder))
            if alive or clock.monotonic() > deadline:
                os.close(fd)
                message = f"the data folder {path} is in use by another stack (process {holder or 'unknown'})"
                raise ConfigurationError(message) from None
            await clock.sleep(_POLL_S)
        else:
            break
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return DataFolder(path, fd)


def release_folder(folder: DataFolder) -> None:
    """Give the lock back."""
    folder.withdraw()
    os.close(folder.lock_fd)


def addresses(path: Path) -> Addresses | None:
    """Return the addresses of the stack that runs on a data folder; None when none does."""
    try:
        found = msgspec.json.decode((path / "stack.json").read_bytes(), type=Addresses)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if _alive(found.pid) else None


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def appending(path: Path) -> Iterator[int]:
    """Open a log for a child to append to; the child keeps its own copy of the descriptor."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def turn_over(path: Path, limit: int = LOG_BYTES) -> bool:
    """Move a log's content aside when it is longer than ``limit`` bytes; tell whether it was.

    The child appends, so truncating under it is safe; what it writes between copy and truncation is lost.
    """
    try:
        if path.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True


def tail(path: Path) -> str:
    """Return the last lines of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
