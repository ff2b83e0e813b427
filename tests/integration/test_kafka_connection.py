"""What aiokafka makes of connections that have gone, mended."""

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from tidegate.consume import kafka_connection


async def _send_on_a_dead_connection() -> None:
    """Connect to a server that says nothing, lose the connection, and send before anybody has noticed."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = AIOKafkaConnection("127.0.0.1", port)
    # Without the handshake, which our server does not know.
    connection._reader, connection._writer = await asyncio.open_connection("127.0.0.1", port)
    connection._read_task = asyncio.get_running_loop().create_future()
    connection._versions = {MetadataRequest.API_KEY: (0, 1)}
    connection._writer.transport.abort()
    await asyncio.sleep(0)  # noqa: TID251 -- one turn of the loop: the transport has closed its handle
    try:
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()
        server.close()
        await server.wait_closed()


def test_a_write_on_a_dead_connection_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What aiokafka does not know would end its background tasks for good."""
    monkeypatch.setattr(AIOKafkaConnection, "send", kafka_connection._send)
    with pytest.raises(RuntimeError, match="handler is closed"):
        uvloop.run(_send_on_a_dead_connection())
    kafka_connection.mend_connections()
    with pytest.raises(KafkaConnectionError):
        uvloop.run(_send_on_a_dead_connection())


async def test_a_cancellation_of_nobody_does_not_end_who_closes() -> None:
    """It comes out of stop() where aiokafka has cancelled a task of its own."""

    async def stop() -> None:
        raise asyncio.CancelledError

    await kafka_connection.close_quietly(stop)


async def test_a_cancellation_of_who_closes_ends_the_closing() -> None:
    """A deadline for the closing holds."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await kafka_connection.close_quietly(asyncio.Event().wait)
