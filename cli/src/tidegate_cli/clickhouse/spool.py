"""Temporary files under the data folder, with one bound on all of them together."""

import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tidegate_cli.clickhouse.errors import Fault


class Spool:
    """A folder of temporary files that hold at most ``limit_bytes`` together.

    What an earlier process left there is deleted. Safe to use from several threads.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes in files that are open now."""
        return self._used_bytes

    def file(self) -> "SpoolFile":
        """Return a new, empty file; the caller closes it."""
        return SpoolFile(self, self._folder)

    def take(self, count: int) -> None:
        """Reserve bytes; raises Fault 243 when the spool is full."""
        with self._lock:
            if self._used_bytes + count > self._limit_bytes:
                raise Fault(243, f"The spool of {self._limit_bytes} bytes is full: try again later")
            self._used_bytes += count

    def give_back(self, count: int) -> None:
        """Free reserved bytes."""
        with self._lock:
            self._used_bytes -= count


class SpoolFile:
    """One temporary file, deleted when it is closed."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self._spool = spool
        self._file: IO[bytes] = tempfile.NamedTemporaryFile(dir=folder, prefix="b-", buffering=0)  # noqa: SIM115 -- closed by close()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> str:
        """Where the engine finds the file."""
        return str(self._file.name)

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises Fault 243 when the spool is full."""
        self._spool.take(len(data))
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:  # an unbuffered write may take less than it was given
                view = view[self._file.write(view) :]
        except OSError as error:
            raise Fault(243, f"The spool cannot be written: {error.strerror}") from error

    def adopt(self) -> None:
        """Count what the engine wrote to the file; raises Fault 243 when the spool is full."""
        written = os.fstat(self._file.fileno()).st_size - self.size
        self._spool.take(written)
        self.size += written

    def rewind(self) -> None:
        """Go back to the first byte, to read."""
        self._file.seek(0)

    def read(self, count: int) -> bytes:
        """Return the next bytes, nothing at the end."""
        return self._file.read(count)

    def close(self) -> None:
        """Delete the file. A second call does nothing."""
        if not self._file.closed:
            self._file.close()
            self._spool.give_back(self.size)
