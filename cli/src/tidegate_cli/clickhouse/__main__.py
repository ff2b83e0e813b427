"""``python -m tidegate_cli.clickhouse``: the server as a process.

Prints one line, ``{"port": N}``, when it is ready, and stops cleanly on SIGTERM and SIGINT. Exit codes: 0
after a clean stop, 2 when the arguments or the data folder are wrong, 3 when a statement outlived the
stop's deadline (its client has no answer, so nothing acknowledged is lost).
"""

import argparse
import asyncio
import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO

from tidegate.errors import ConfigurationError

from tidegate_cli.clickhouse.spool import Spool

_DEFAULTS = {
    "async_insert": "0",  # an acknowledged row is a stored row
    "implicit_select": "0",  # chdb's own convenience; a server refuses bare expressions
    "max_execution_time": "600",  # one statement at a time: none may hold the others for ever
    "min_insert_block_size_bytes": str(64 << 20),  # memory of an insert, instead of 256 MiB
}
_SPOOL_BYTES = 4 << 30


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tidegate_cli.clickhouse", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the tables")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="also write the ready line to this file")
    parser.add_argument("--user", default="", help="let only this user in (default: anybody on this machine)")
    parser.add_argument("--password-file", type=Path, help="file that holds that user's password")
    parser.add_argument(
        "--max-body-mb", type=int, default=512, help="largest request body, MiB, decompressed"
    )
    parser.add_argument("--max-memory-mb", type=int, default=0, help="memory of one statement, MiB; 0: half")
    parser.add_argument(
        "--max-requests", type=int, default=64, help="requests at once, waiting ones included"
    )
    parser.add_argument(
        "--stop-seconds", type=float, default=20.0, help="time for a running statement to end"
    )
    return parser.parse_args(arguments)


def lock(folder: Path) -> IO[str]:
    """Take the data folder for this process; the lock goes with the returned file, or with the process.

    Raises:
        ConfigurationError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(32).strip() or "unknown"
        file.close()
        message = (
            f"the data folder {folder} is in use by process {holder}: stop that one or choose another --data"
        )
        raise ConfigurationError(message) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _announce(port: int, ready_file: Path | None) -> None:
    line = json.dumps({"port": port})
    if ready_file is not None:
        part = ready_file.with_name(f"{ready_file.name}.part")
        part.write_text(f"{line}\n")
        part.replace(ready_file)
    print(line, flush=True)  # noqa: T201 -- the ready line is this process's interface


async def _serve(options: argparse.Namespace, folder: Path) -> int:
    from tidegate_cli.clickhouse.engine import Engine  # noqa: PLC0415 -- see below

    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    memory = options.max_memory_mb << 20 if options.max_memory_mb else half
    spool = Spool(folder / "spool", _SPOOL_BYTES)
    engine = Engine(folder / "engine", spool, _DEFAULTS | {"max_memory_usage": str(memory)})
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(engine.open())
        # The engine's thread has begun to load; the server's modules are read beside it.
        await asyncio.to_thread(__import__, "tidegate_cli.clickhouse.server")
        from aiohttp import web  # noqa: PLC0415 -- loaded beside the engine
        from tidegate.clock import SystemClock, seeded_random  # noqa: PLC0415
        from tidegate.events import log_emitter  # noqa: PLC0415

        from tidegate_cli.clickhouse.intake import Limits  # noqa: PLC0415
        from tidegate_cli.clickhouse.server import Access, Bounds, Server  # noqa: PLC0415

        await opening
    secret = options.password_file.read_text().strip() if options.password_file else ""
    server = Server(
        engine,
        spool,
        clock=SystemClock(),
        random=seeded_random(),
        emit=log_emitter("clickhouse"),
        access=Access(user=options.user, password=secret),
        bounds=Bounds(requests=options.max_requests, limits=Limits(body_bytes=options.max_body_mb << 20)),
    )
    runner = server.runner(options.stop_seconds)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port)
    try:
        await site.start()
    except OSError as error:
        await engine.close()
        raise ConfigurationError(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}") from error
    _announce(runner.addresses[0][1], options.ready_file)
    await stopped.wait()
    await site.stop()
    try:
        async with asyncio.timeout(options.stop_seconds):
            await server.drain()
            await runner.cleanup()
            await engine.close()
    except TimeoutError:
        return 3
    return 0


def main(arguments: list[str]) -> int:
    """Serve until a signal; return the exit code."""
    options = _arguments(arguments)
    # The engine changes the working directory while it loads.
    folder = options.data.resolve()
    if options.ready_file is not None:
        options.ready_file = options.ready_file.resolve()
    os.environ["TZ"] = "UTC"
    try:
        with lock(folder):
            code = asyncio.run(_serve(options, folder))
            if code:
                os._exit(code)  # the engine's thread is still busy and would be waited for
    except ConfigurationError as error:
        print(f"clickhouse: {error}", file=sys.stderr)  # noqa: T201 -- for the person who started it
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
