"""The proxy does to connections what it says."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.faulty_proxy import HEALTHY, FaultyProxy, Kind, NetworkFault, faulty_proxy
from tidegate.clock import SystemClock
from tidegate_cli.stack.ports import PortPool

CLOCK = SystemClock()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    """A proxy before a server that says what it hears."""
    ports = PortPool()
    target = ports.take()
    server = await asyncio.start_server(_echo, "127.0.0.1", target)
    async with faulty_proxy(ports.take(), target) as running:
        yield running
    server.close()
    await server.wait_closed()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, proxy: FaultyProxy) -> "Client":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def say(self, data: bytes, within_s: float = 60.0) -> bytes:
        """Send, and return what comes back: as many bytes, or what there was until the end."""
        self.writer.write(data)
        await self.writer.drain()
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.readexactly(len(data))
            except asyncio.IncompleteReadError as error:
                return error.partial

    async def close(self) -> None:
        """Close, whatever the state."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


async def test_it_forwards_whole(proxy: FaultyProxy) -> None:
    """Both directions, any size."""
    client = await Client.of(proxy)
    data = bytes(range(256)) * 4000
    assert await client.say(data) == data
    await client.close()


async def test_latency_holds_up_and_changes_nothing(proxy: FaultyProxy) -> None:
    """Each direction for as long as it says."""
    client = await Client.of(proxy)
    proxy.break_with(NetworkFault(kind=Kind.LATENCY, latency_s=0.05))
    began_s = CLOCK.monotonic()
    assert await client.say(b"hello") == b"hello"
    assert CLOCK.monotonic() - began_s >= 0.1
    await client.close()


async def test_a_cut_lets_so_many_bytes_pass(proxy: FaultyProxy) -> None:
    """Counted over both directions from the beginning of the fault, on connections that are open already."""
    client = await Client.of(proxy)
    assert await client.say(b"before") == b"before"
    proxy.break_with(NetworkFault(kind=Kind.CUT, after_bytes=7))
    assert await client.say(b"hello") == b"he"
    await client.close()


async def test_a_black_hole_ends_and_what_waited_goes_on(proxy: FaultyProxy) -> None:
    """Nothing is lost, as with packets that are sent again."""
    client = await Client.of(proxy)
    proxy.break_with(NetworkFault(kind=Kind.BLACK_HOLE))
    with pytest.raises(TimeoutError):
        await client.say(b"hello", within_s=0.1)
    proxy.heal()
    async with asyncio.timeout(60):
        assert await client.reader.readexactly(5) == b"hello"
    await client.close()


async def test_a_black_hole_may_end_with_a_reset(proxy: FaultyProxy) -> None:
    """As when a device between has forgotten the connection."""
    client = await Client.of(proxy)
    proxy.break_with(NetworkFault(kind=Kind.BLACK_HOLE, then_reset=True))
    with pytest.raises(TimeoutError):
        await client.say(b"hello", within_s=0.1)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        await client.reader.read(1)
    await client.close()


async def test_a_reset_ends_what_is_open_and_what_comes(proxy: FaultyProxy) -> None:
    """And it is over when it is healed."""
    client = await Client.of(proxy)
    assert await client.say(b"hello") == b"hello"
    proxy.break_with(NetworkFault(kind=Kind.RESET))
    with pytest.raises(ConnectionResetError):
        await client.reader.read(1)
    await client.close()
    late = await Client.of(proxy)
    with pytest.raises(ConnectionResetError):
        await late.reader.read(1)
    await late.close()
    proxy.break_with(HEALTHY)
    again = await Client.of(proxy)
    assert await again.say(b"hello") == b"hello"
    await again.close()


async def test_a_canned_answer_is_given_to_whatever_is_asked(proxy: FaultyProxy) -> None:
    """And the connection is closed then."""
    proxy.break_with(NetworkFault(kind=Kind.ANSWER, answer=b"HTTP/1.1 500 no\r\n\r\n"))
    client = await Client.of(proxy)
    client.writer.write(b"POST / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
    async with asyncio.timeout(60):
        assert await client.reader.read() == b"HTTP/1.1 500 no\r\n\r\n"
    await client.close()


async def test_a_server_that_is_away_is_a_reset() -> None:
    """As the connection itself would have met."""
    ports = PortPool()
    async with faulty_proxy(ports.take(), ports.take()) as proxy:
        client = await Client.of(proxy)
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        await client.close()
