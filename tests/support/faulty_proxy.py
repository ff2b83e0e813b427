"""A TCP proxy that breaks on command: latency, cut after n bytes, black hole, reset, canned answers.

On the loopback address only, in the test's own event loop. What a fault does to connections that are open
when it begins: latency, cut and black hole take hold of them, reset and answer end them. A black hole ends
as packets that were held back do: what waited goes on; with ``then_reset`` it is gone instead.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec

HOST = "127.0.0.1"
_CHUNK = 1 << 16
# SO_LINGER on with zero seconds: closing sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)
_ANSWER_PATIENCE_S = 0.3


class Kind(StrEnum):
    """What is wrong with the network."""

    NONE = "none"
    LATENCY = "latency"
    CUT = "cut"
    BLACK_HOLE = "black_hole"
    RESET = "reset"
    ANSWER = "answer"


class NetworkFault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault.

    ``latency_s`` holds up each piece in each direction; ``after_bytes`` is what a connection still carries,
    both directions together, until it is cut; ``answer`` is what a client is told, whatever it asks.
    """

    kind: Kind = Kind.NONE
    latency_s: float = 0.0
    after_bytes: int = 0
    then_reset: bool = False
    answer: bytes = b""


HEALTHY = NetworkFault()


class _Connection:
    """Two streams, and how many bytes the present fault has let pass."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = list(writers)
        self.fault = HEALTHY
        self.carried = 0

    def reset(self) -> None:
        for writer in self.writers:
            connection = writer.get_extra_info("socket")
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultyProxy:
    """Forwards connections to a port; made by ``faulty_proxy``."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._fault = HEALTHY
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Return the proxy's address as HTTP clients want it."""
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        assert self._server is not None
        self._server.close()
        self.break_with(NetworkFault(kind=Kind.RESET))
        await self._server.wait_closed()

    def break_with(self, fault: NetworkFault) -> None:
        """Be broken in this way from now on."""
        before, self._fault = self._fault, fault
        if fault.kind in (Kind.RESET, Kind.ANSWER) or before.then_reset:
            for connection in list(self._connections):
                connection.reset()
        self._changed.set()
        self._changed = asyncio.Event()

    def heal(self) -> None:
        """Be a good network again."""
        self.break_with(HEALTHY)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        if self._fault.kind is Kind.RESET:
            connection.reset()
            return
        self._connections.add(connection)
        try:
            if self._fault.kind is Kind.ANSWER:
                await self._answer(reader, writer)
            else:
                await self._forward(connection, reader, writer)
        except OSError:
            connection.reset()
        finally:
            self._connections.discard(connection)
            for each in connection.writers:
                each.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear the client out, as far as it goes without a pause, and give the canned answer."""
        heard = await reader.read(_CHUNK)
        try:
            async with asyncio.timeout(_ANSWER_PATIENCE_S):
                while heard:
                    heard = await reader.read(_CHUNK)
        except TimeoutError:
            pass
        writer.write(self._fault.answer)
        await writer.drain()

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection(HOST, self._target)
        connection.writers.append(back)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(connection, reader, back))
            tasks.create_task(self._pump(connection, there, writer))

    async def _pump(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                while self._fault.kind is Kind.BLACK_HOLE:
                    await self._changed.wait()
                fault = self._fault
                if fault.kind is Kind.LATENCY:
                    await asyncio.sleep(fault.latency_s)  # noqa: TID251 -- a real network's real time
                if fault is not connection.fault:
                    connection.fault, connection.carried = fault, 0
                if fault.kind is Kind.CUT and connection.carried + len(data) > fault.after_bytes:
                    sink.write(data[: fault.after_bytes - connection.carried])
                    await sink.drain()
                    break
                connection.carried += len(data)
                sink.write(data)
                await sink.drain()
            else:
                if sink.can_write_eof():
                    sink.write_eof()
                return
        for each in connection.writers:
            each.close()


@asynccontextmanager
async def faulty_proxy(port: int, target: int) -> AsyncIterator[FaultyProxy]:
    """Run a proxy from ``port`` to ``target``."""
    proxy = FaultyProxy(port, target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
