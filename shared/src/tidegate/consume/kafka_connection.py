"""Traps of aiokafka's connections, mended in one place.

On uvloop: a transport of asyncio takes a write after its connection has gone, and drops it. One of uvloop
raises RuntimeError. aiokafka is prepared for OSError only, so in the moment between a reset and its notice of
it the error escapes into whatever sent the request: a commit, and the process ends; the task that renews the
metadata or the one that sends batches, and that task ends for good while the process looks alive.

On closing over TLS: asyncio and uvloop send a good-bye and wait for the broker's, which does not always come;
uvloop then waits for thirty seconds, and with it everybody who closes a client: a reader that restores a
journal, a member that leaves. What is still on its way is failed by the closing anyway, so nothing is lost by
cutting the connection.

On closing: a client cancels tasks of its own and waits for them, and where one of them was in a pause after
an error its CancelledError comes out of ``stop()``, in the name of nobody who cancelled anything. It would
end whoever closes, silently.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

_send: Callable[..., Any] = AIOKafkaConnection.send
_close: Callable[..., Any] = AIOKafkaConnection.close


def mend_connections() -> None:
    """Make a write on a connection that has gone the error that aiokafka handles, and a close over TLS quick.

    For the whole process.
    """
    AIOKafkaConnection.send = _send_or_close  # type: ignore[method-assign]
    AIOKafkaConnection.close = _close_at_once  # type: ignore[method-assign]


def _close_at_once(self: AIOKafkaConnection, reason: Any = None, exc: BaseException | None = None) -> Any:
    writer = self._writer
    closed = _close(self, reason, exc)
    if writer is not None and writer.get_extra_info("ssl_object") is not None:
        writer.transport.abort()
    return closed


def _send_or_close(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except KafkaError:
        raise  # every one of them is a RuntimeError too
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection has gone: {error}") from error


async def close_quietly(close: Callable[[], Awaitable[object]]) -> None:
    """Close a client of aiokafka; whatever it meets there is nobody's business any more.

    A cancellation of the caller is one, and ends the closing.
    """

    async def run() -> None:
        with contextlib.suppress(KafkaError, OSError):
            await close()

    # A child's own CancelledError is no error to the group.
    async with asyncio.TaskGroup() as group:
        group.create_task(run())


def cancelled_by_somebody() -> bool:
    """Say whether the CancelledError at hand is ours: the task itself was told to end.

    A future that a library cancels raises the same error in whoever waits for it, and would end that task
    in silence.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
