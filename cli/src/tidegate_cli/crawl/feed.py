"""Lines from a thread that may block (a pipe whose writer is slow), as bounded batches on the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError

import msgspec

from tidegate_cli.crawl.source import Line

_BATCH_LINES = 500
_BATCH_BYTES = 4 << 20
_BATCHES_AHEAD = 2


class _End(msgspec.Struct, frozen=True):
    error: BaseException | None


def _batched(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line.data)
        if len(batch) >= _BATCH_LINES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def batches(read: Callable[[], Iterator[Line]]) -> AsyncIterator[list[Line]]:
    """Yield the lines in batches of at most 500 lines or about 4 MiB, reading two batches ahead.

    The thread is a daemon: one that waits for a terminal's input must not hold up Ctrl-C. Raises whatever
    the reading raises.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[Line] | _End] = asyncio.Queue(_BATCHES_AHEAD)

    def put(item: list[Line] | _End) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()

    def work() -> None:
        try:
            try:
                for batch in _batched(read()):
                    put(batch)
            except Exception as error:  # noqa: BLE001 -- handed over to the loop, which raises it
                put(_End(error))
            else:
                put(_End(None))
        except (CancelledError, RuntimeError):
            return  # the loop has ended; nobody waits for more

    threading.Thread(target=work, name="input", daemon=True).start()
    while True:
        item = await queue.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
