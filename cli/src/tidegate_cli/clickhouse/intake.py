"""Takes a request's body in: decompresses it, finds the statement, spools an insert's data to a file.

Nothing is held in memory but the statement and one piece of data at a time.
"""

from types import TracebackType
from typing import Self

import msgspec

from tidegate_cli.clickhouse.errors import Fault
from tidegate_cli.clickhouse.frames import Decoder
from tidegate_cli.clickhouse.spool import Spool, SpoolFile
from tidegate_cli.clickhouse.statement import Insert, Statement, read


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``body_bytes`` bounds a body, decompressed; ``sql_bytes`` the text of a statement.

    ``peek_bytes`` is how much of a body is gathered before the statement is looked for, so that it is
    looked for once and not at each piece.
    """

    body_bytes: int = 512 << 20
    sql_bytes: int = 1 << 20
    peek_bytes: int = 256 << 10


class Intake:
    """Feed it the body, then ``finish``; close it when the statement has run."""

    def __init__(self, sql: bytes, decoder: Decoder, spool: Spool, limits: Limits) -> None:
        self._head = bytearray(sql)
        self._decoder = decoder
        self._spool = spool
        self._limits = limits
        self._size = 0
        self._statement: Statement | None = None
        self.data: SpoolFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.data is not None:
            self.data.close()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body, as they came.

        Raises:
            Fault: the body is too large (307), not what its encoding says, or no statement of ours.
        """
        for piece in self._decoder.feed(data):
            self._size += len(piece)
            if self._size > self._limits.body_bytes:
                raise Fault(307, f"The request's body is larger than {self._limits.body_bytes} bytes")
            if self.data is not None:
                self.data.write(piece)
                continue
            self._head += piece
            if len(self._head) >= self._limits.peek_bytes:
                self._look(complete=False)

    def finish(self) -> Statement:
        """Say that the body is complete and return its statement; an insert's rows are in ``data`` now."""
        self._decoder.finish()
        if self._statement is None:
            self._look(complete=True)
        if self._statement is None:
            raise Fault(62, "Syntax error: the statement cannot be read")
        return self._statement

    def _look(self, *, complete: bool) -> None:
        self._statement = read(bytes(self._head), complete=complete)
        if isinstance(self._statement, Insert):
            self.data = self._spool.file()
            self.data.write(memoryview(self._head)[self._statement.data_at :])
            self._head = bytearray()
        elif len(self._head) > self._limits.sql_bytes:
            raise Fault(229, f"The statement is larger than {self._limits.sql_bytes} bytes")
