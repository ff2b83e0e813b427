"""The engine: chdb in one thread of its own, a fresh session for every request.

chdb allows one engine a process and any number of handles to it; USE, SET and temporary tables belong to
the handle. So each request gets its own handle, and nothing of it can leak into the next one. Opening a
handle costs about a millisecond.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tidegate_cli.clickhouse.errors import Fault, from_engine
from tidegate_cli.clickhouse.request import Call, set_clause, use_clause
from tidegate_cli.clickhouse.spool import Spool, SpoolFile
from tidegate_cli.clickhouse.statement import Insert, Query, Statement

# Blocks of these formats can be put one behind the other; the others have a head or a foot.
_STREAMED_NAMES = """
    Native RowBinary TabSeparated TSV TabSeparatedRaw TSVRaw TSKV CSV JSONEachRow JSONLines NDJSON
    JSONCompactEachRow JSONStringsEachRow LineAsString RawBLOB
"""
_STREAMED = frozenset(_STREAMED_NAMES.split())
# Formats with a head and a foot: not by blocks, but the engine itself writes them to a file by and by.
_BY_FILE = frozenset({"Parquet"})
_CHUNK_BYTES = 1 << 20
_NOT_STREAMED = "Streaming query is not supported"


class Answer(msgspec.Struct):
    """What a statement gave: the rows in ``format``, spooled, or no rows at all.

    The counts are ClickHouse's summary. The receiver closes ``body``.
    """

    body: SpoolFile
    format: str | None
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


class Engine:
    """One chdb engine on one folder; ``version`` and ``timezone`` are known once it is open."""

    def __init__(self, folder: Path, spool: Spool, defaults: dict[str, str]) -> None:
        """Take settings that every session begins with; a request's own come after them."""
        self._spool = spool
        options = "&".join(f"{name}={quote(value)}" for name, value in defaults.items())
        self._address = f"{folder}?{options}" if options else str(folder)
        self._thread = ThreadPoolExecutor(1, "clickhouse-engine")
        self._connect: Any = None
        self._base: Any = None
        self.version = ""
        self.timezone = "UTC"

    async def open(self) -> None:
        """Load the engine and open the folder."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    def _open(self) -> None:
        # The class below chdb.connect: that one imports pyarrow, half a second and 50 MB for nothing.
        from chdb import _chdb  # noqa: PLC0415 -- only this thread touches it, and other processes never load it

        self._connect = _chdb.connect  # type: ignore[attr-defined]  # a binary module
        self._base = self._connect(self._address)
        row = self._base.query("SELECT version(), timezone()", "TabSeparated").bytes().decode()
        self.version, self.timezone = row.rstrip("\n").split("\t")

    async def run(self, statement: Statement, call: Call, data: SpoolFile | None) -> Answer:
        """Run one statement to its end.

        When the caller is cancelled, a select stops at its next block and anything else goes on to its
        end; this returns only then, because the caller owns the data's file.

        Raises:
            Fault: what the engine says is wrong.
        """
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._run, statement, call, data, stop)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([future])
            if not future.cancelled() and future.exception() is None:
                future.result().body.close()
            raise

    async def close(self) -> None:
        """Close the session once the running statement has ended; the data are in the folder then."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def _run(self, statement: Statement, call: Call, data: SpoolFile | None, stop: threading.Event) -> Answer:
        answer = Answer(self._spool.file(), None)
        handle = self._connect(self._address)
        try:
            self._begin(handle, call)
            if isinstance(statement, Query):
                self._query(handle, statement, call, answer, stop)
            else:
                self._insert(handle, statement, call, data, answer)
        except BaseException as error:
            answer.body.close()
            if type(error) is RuntimeError:
                raise from_engine(str(error)) from error
            raise
        finally:
            handle.close()
        answer.body.rewind()
        return answer

    @staticmethod
    def _begin(handle: Any, call: Call) -> None:
        if call.database:
            handle.query(use_clause(call.database), "TabSeparated")
        if call.settings:
            handle.query(set_clause(call.settings), "TabSeparated")
        if call.readonly and "readonly" not in call.settings:
            handle.query("SET readonly = 2", "TabSeparated")

    @staticmethod
    def _insert(handle: Any, insert: Insert, call: Call, data: SpoolFile | None, answer: Answer) -> None:
        if data is None:
            raise Fault(62, "Syntax error: an insert without its data")
        result = handle.query(insert.from_file(data.path), "TabSeparated", params=call.parameters)
        answer.written_rows = result.rows_written()
        answer.written_bytes = result.bytes_written()
        answer.read_rows = answer.written_rows
        answer.read_bytes = answer.written_bytes
        answer.elapsed_ns = int(result.elapsed() * 1e9)

    def _query(self, handle: Any, query: Query, call: Call, answer: Answer, stop: threading.Event) -> None:
        if handle.classify_query(query.sql)["statement_count"] > 1:
            raise Fault(62, "Syntax error (Multi-statements are not allowed)")
        chosen = query.format or call.default_format
        if query.has_result:
            answer.format = chosen
        if query.streams and chosen in _STREAMED:
            try:
                self._stream(handle, query, call, answer, stop)
            except RuntimeError as error:
                if _NOT_STREAMED not in str(error):
                    raise
            else:
                return
        if query.streams and chosen in _BY_FILE:
            handle.query(query.into_file(answer.body.path, chosen), "TabSeparated", params=call.parameters)
            answer.body.adopt()
            return
        result = handle.query(query.sql, call.default_format, params=call.parameters)
        answer.read_rows = result.storage_rows_read() or result.rows_read()
        answer.read_bytes = result.storage_bytes_read() or result.bytes_read()
        answer.written_rows = result.rows_written()
        answer.written_bytes = result.bytes_written()
        answer.result_rows = result.rows_read()
        answer.elapsed_ns = int(result.elapsed() * 1e9)
        if result.size():
            view = memoryview(result.get_memview().view())
            for at in range(0, len(view), _CHUNK_BYTES):
                answer.body.write(view[at : at + _CHUNK_BYTES])

    @staticmethod
    def _stream(handle: Any, query: Query, call: Call, answer: Answer, stop: threading.Event) -> None:
        stream = handle.send_query(query.sql, call.default_format, params=call.parameters)
        while True:
            block = handle.streaming_fetch_result(stream)
            if block is None:
                return
            # The last block has no rows of its own, but perhaps the totals and extremes.
            answer.body.write(block.bytes())
            rows = block.rows_read()
            if rows == 0:
                return
            answer.result_rows += rows
            answer.read_rows = max(answer.read_rows, block.storage_rows_read())
            answer.read_bytes = max(answer.read_bytes, block.storage_bytes_read())
            answer.elapsed_ns = max(answer.elapsed_ns, int(block.elapsed() * 1e9))
            if stop.is_set():
                handle.streaming_cancel_query(stream)
                raise Fault(394, "Query was cancelled: the client is gone or the server stops")
