"""Tells whether a Kafka broker answers, by real ApiVersions and Metadata requests."""

import asyncio
import contextlib

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

_ATTEMPT_S = 5.0


async def brokers_known(host: str, port: int) -> int:
    """Return how many brokers this one's metadata names; 0 while it does not answer.

    A bare connection is tried first: the client would log each refusal as an error.
    """
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _ATTEMPT_S)
    except (OSError, TimeoutError):
        return 0
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    client = AIOKafkaClient(bootstrap_servers=f"{host}:{port}")
    try:
        await asyncio.wait_for(client.bootstrap(), _ATTEMPT_S)
        return len(client.cluster.brokers())
    except (KafkaError, OSError, TimeoutError):
        return 0
    finally:
        await client.close()


async def cluster_ready(addresses: tuple[tuple[str, int], ...]) -> bool:
    """Tell whether each of these brokers answers and knows all of them."""
    known = await asyncio.gather(*(brokers_known(host, port) for host, port in addresses))
    return all(count >= len(addresses) for count in known)
