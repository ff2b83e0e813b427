"""Tiny children for the supervisor's tests, and a supervisor as a process that can be killed."""

import asyncio
import os
import sys
from pathlib import Path

import psutil
from tidegate.clock import SystemClock
from tidegate.events import Event
from tidegate_cli.stack.folder import lock_folder
from tidegate_cli.stack.probes import LineReady, Probe
from tidegate_cli.stack.processes import ProcessSpec
from tidegate_cli.stack.supervisor import supervising

CLOCK = SystemClock()
READY = "import sys, time; print('{\"port\": 1}', flush=True); "
SLEEP = READY + "time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


def parent(pid_file: Path, *, own_session: bool) -> str:
    """Return the code of a child that starts one itself, writes its pid to a file, and sleeps."""
    return (
        "import subprocess, sys; "
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
        f"start_new_session={own_session}); "
        f"open({str(pid_file)!r}, 'w').write(str(c.pid)); " + SLEEP
    )


def child(
    name: str,
    code: str = SLEEP,
    *,
    ready: Probe | None = None,
    after: tuple[str, ...] = (),
    revive: bool = True,
    start_timeout_s: float = 60.0,
    stop_timeout_s: float = 10.0,
) -> ProcessSpec:
    """Describe a small Python child; ready by its line unless another probe is given."""
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-I", "-S", "-c", code),
        env=dict(os.environ),
        ready=LineReady("port") if ready is None else ready,
        after=after,
        revive=revive,
        start_timeout_s=start_timeout_s,
        stop_timeout_s=stop_timeout_s,
    )


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def until_gone(pids: list[int], timeout_s: float = 60.0) -> list[int]:
    """Wait until none of these processes runs; return those that still do at the deadline."""
    deadline = CLOCK.monotonic() + timeout_s
    while (left := [pid for pid in pids if alive(pid)]) and CLOCK.monotonic() < deadline:
        await CLOCK.sleep(0.05)
    return left


async def supervise_until_killed(data: Path) -> None:
    """Be a supervisor with three children, one deaf to SIGTERM and one with a hidden grandchild."""

    def emit(event: Event) -> None:
        print(type(event).__name__, getattr(event, "name", ""), flush=True)  # noqa: T201 -- read by the test

    folder = await lock_folder(data, CLOCK)
    async with supervising(folder, emit, CLOCK) as supervisor:
        await supervisor.start(child("first"))
        await supervisor.start(child("deaf", DEAF, stop_timeout_s=1.0, after=("first",)))
        grandchild = data / "grandchild"
        await supervisor.start(child("parent", parent(grandchild, own_session=True), after=("deaf",)))
        pids = [each.pid for each in supervisor.children] + [int(grandchild.read_text())]
        print("PIDS", *pids, flush=True)  # noqa: T201 -- read by the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(supervise_until_killed(Path(sys.argv[1])))
