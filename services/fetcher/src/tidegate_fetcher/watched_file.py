"""A file that operators change while the service runs, read when it did."""

import asyncio
from pathlib import Path

from tidegate.errors import ConfigurationError


class WatchedFile:
    """Read when its time, size or inode changed; a mounted secret changes its inode.

    ``what`` names it in sentences; no more than ``most`` bytes and one are read.
    """

    def __init__(self, path: Path, *, what: str, most: int) -> None:
        self._path = path
        self._what = what
        self._most = most
        self._seen: tuple[int, int, int] | None = None

    async def read(self) -> bytes | None:
        """Return what stands in it, None where it has not changed. Raises ConfigurationError."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:
            self._seen = None
            sentence = f"{self._what} {self._path} cannot be read: {error.strerror}"
            raise ConfigurationError(sentence) from None

    def _read(self) -> bytes | None:
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return None
        with self._path.open("rb") as file:
            data = file.read(self._most + 1)
        self._seen = seen
        return data
