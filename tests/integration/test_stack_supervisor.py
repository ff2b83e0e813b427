"""The supervisor with real, tiny children."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
from support.stack import CLOCK, DEAF, READY, alive, child, parent, until_gone
from tidegate.errors import ConfigurationError
from tidegate.events import Event
from tidegate_cli.stack.events import (
    ProcessDied,
    ProcessReady,
    ProcessRestarting,
    ProcessStarting,
    ProcessStopped,
)
from tidegate_cli.stack.folder import Addresses, addresses, lock_folder, release_folder
from tidegate_cli.stack.graph import Step, run_steps
from tidegate_cli.stack.ports import PortPool, is_free
from tidegate_cli.stack.probes import TcpReady
from tidegate_cli.stack.processes import StackError
from tidegate_cli.stack.supervisor import RestartPolicy, Supervisor, supervising

QUICK = RestartPolicy(limit=3, within_s=60.0, first_delay_s=0.01)
Supervise = Callable[[], AbstractAsyncContextManager[tuple[Supervisor, list[Event]]]]


@pytest.fixture
def supervise(tmp_path: Path) -> Supervise:
    """Return a supervisor over a folder of the test's own, with the events it emits."""

    @asynccontextmanager
    async def run() -> AsyncIterator[tuple[Supervisor, list[Event]]]:
        events: list[Event] = []
        folder = await lock_folder(tmp_path / "data", CLOCK)
        try:
            async with supervising(folder, events.append, CLOCK, policy=QUICK) as supervisor:
                yield supervisor, events
        finally:
            release_folder(folder)

    return run


def names(events: list[Event], kind: type[Event]) -> list[str]:
    """Return the names in the events of one kind, in order."""
    return [getattr(each, "name", "") for each in events if isinstance(each, kind)]


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for something; fail after a time."""
    deadline = CLOCK.monotonic() + timeout_s
    while not condition():
        assert CLOCK.monotonic() < deadline
        await CLOCK.sleep(0.02)


async def test_children_stop_in_reverse_order_of_need(supervise: Supervise) -> None:
    """What is needed by others goes last, whatever the order of the start."""
    async with supervise() as (supervisor, events):
        specs = (child("service", after=("broker", "house")), child("broker"), child("house"))
        starts = ((each, partial(supervisor.start, each)) for each in specs)
        await run_steps([Step(name=each.name, after=each.after, run=start) for each, start in starts])
        pids = [each.pid for each in supervisor.children]
        assert all(alive(pid) for pid in pids)
        assert names(events, ProcessStarting)[-1] == "service"
    assert names(events, ProcessStopped)[0] == "service"
    assert set(names(events, ProcessStopped)) == {"broker", "house", "service"}
    assert names(events, ProcessDied) == []
    assert not any(alive(pid) for pid in pids)


async def test_a_child_that_ends_before_it_is_ready_is_an_error_with_its_log(
    supervise: Supervise,
) -> None:
    """The person sees why, without looking for a log."""
    with pytest.raises(StackError, match=r"(?s)broken ended with exit code 3 .*out of cheese"):
        async with supervise() as (supervisor, _):
            await supervisor.start(child("broken", "print('out of cheese'); raise SystemExit(3)"))


async def test_a_child_that_is_never_ready_is_an_error_and_is_stopped(supervise: Supervise) -> None:
    """Waiting has an end."""
    # A shell has said its word long before the time is up, whatever else the machine does.
    shell = ("/bin/sh", "-c", "echo thinking; exec sleep 600")
    slow = msgspec.structs.replace(child("slow", start_timeout_s=1.0), command=shell)
    async with supervise() as (supervisor, _):
        with pytest.raises(StackError, match=r"(?s)slow was not ready within 1 s.*thinking"):
            await supervisor.start(slow)
        pid = supervisor.child("slow").pid
    assert not alive(pid)


async def test_a_program_that_is_not_there_is_an_error(supervise: Supervise) -> None:
    """A missing program is told by name."""
    spec = msgspec.structs.replace(child("ghost"), command=("/nonexistent/ghost",))
    with pytest.raises(StackError, match="ghost: /nonexistent/ghost: No such file"):
        async with supervise() as (supervisor, _):
            await supervisor.start(spec)


async def test_a_child_that_dies_is_started_again(supervise: Supervise) -> None:
    """A crash of a service is mended without a person."""
    async with supervise() as (supervisor, events):
        service = await supervisor.start(child("service"))
        first = service.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(names(events, ProcessReady)) == 2)
        assert service.running
        assert service.pid != first
        assert service.restarts == 1
        assert names(events, ProcessRestarting) == ["service"]


async def test_a_child_that_dies_too_often_ends_the_run(supervise: Supervise) -> None:
    """Restarts are bounded; the body is cancelled and the error names the child."""

    async def run() -> None:
        async with supervise() as (supervisor, _):
            code = READY + "time.sleep(0.1); print('short life'); sys.exit(1)"
            await supervisor.start(child("mayfly", code))
            await asyncio.Event().wait()

    with pytest.raises(StackError, match=r"(?s)mayfly died 4 times within 60 s.*short life"):
        await run()


async def test_a_child_that_may_not_be_revived_ends_the_run(supervise: Supervise) -> None:
    """The broker in memory is never started again behind a run's back."""
    seen: list[Event] = []

    async def run() -> None:
        async with supervise() as (supervisor, events):
            await supervisor.start(child("other"))
            broker = await supervisor.start(child("broker", revive=False))
            os.kill(broker.pid, signal.SIGKILL)
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(events[-1])
        seen.extend(events)

    with pytest.raises(StackError, match=r"broker died \(SIGKILL\) and cannot be started again"):
        await run()
    assert isinstance(seen[0], ProcessDied)


async def test_a_child_killed_through_the_supervisor_stays_dead_until_restart(supervise: Supervise) -> None:
    """A test decides when the restart comes."""
    async with supervise() as (supervisor, events):
        service = await supervisor.start(child("service", revive=False))
        supervisor.kill("service")
        await until(lambda: not service.running)
        await CLOCK.sleep(0.3)
        assert service.exit_code == -signal.SIGKILL
        assert names(events, ProcessStarting) == ["service"]
        await supervisor.restart("service")
        assert service.running
        os.kill(service.pid, 0)


async def test_a_restart_stops_a_running_child_first(supervise: Supervise) -> None:
    """There are never two of one child."""
    async with supervise() as (supervisor, events):
        service = await supervisor.start(child("service"))
        first = service.pid
        await supervisor.restart("service")
        assert not alive(first)
        assert service.running
        assert names(events, ProcessDied) == []


async def test_a_deaf_or_frozen_child_is_killed_after_its_deadline(supervise: Supervise) -> None:
    """Stopping has an end, too."""
    async with supervise() as (supervisor, events):
        deaf = await supervisor.start(child("deaf", DEAF, stop_timeout_s=0.2))
        frozen = await supervisor.start(child("frozen"))
        supervisor.kill("frozen", signal.SIGSTOP)
        pids = [deaf.pid, frozen.pid]
    assert not any(alive(pid) for pid in pids)
    killed = {each.name: each.killed for each in events if isinstance(each, ProcessStopped)}
    assert killed == {"deaf": True, "frozen": False}


@pytest.mark.parametrize("how", ["stop", "death"])
async def test_what_a_child_started_goes_with_it(supervise: Supervise, tmp_path: Path, how: str) -> None:
    """Parser processes do not outlive their storer, killed or stopped."""
    async with supervise() as (supervisor, _):
        file = tmp_path / "grandchild"
        await supervisor.start(child("parent", parent(file, own_session=False)))
        grandchild = int(file.read_text())
        assert alive(grandchild)
        if how == "stop":
            await supervisor.stop("parent")
        else:
            os.kill(supervisor.child("parent").pid, signal.SIGKILL)
        assert await until_gone([grandchild]) == []


async def test_a_one_shot_must_end_well(supervise: Supervise) -> None:
    """A migration that fails ends the start with its output."""
    async with supervise() as (supervisor, _):
        await supervisor.run_once(child("migrate", "print('done')"))
        with pytest.raises(StackError, match=r"(?s)migrate ended with exit code 1.*no such table"):
            await supervisor.run_once(child("migrate", "print('no such table'); raise SystemExit(1)"))


async def test_an_error_of_the_body_comes_out_as_itself(supervise: Supervise) -> None:
    """The supervisor's task group is nobody else's business."""

    async def run() -> None:
        async with supervise() as (supervisor, _):
            await supervisor.start(child("service"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()


async def test_children_are_in_sessions_of_their_own(supervise: Supervise) -> None:
    """Ctrl-C in a terminal reaches the supervisor alone."""
    async with supervise() as (supervisor, _):
        service = await supervisor.start(child("service"))
        assert os.getsid(service.pid) == service.pid


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_no_child_outlives_its_supervisor(tmp_path: Path, signal_number: signal.Signals) -> None:
    """Killed outright, interrupted or ended: children and hidden grandchildren go, and the folder is free."""
    script = Path(__file__).parent.parent / "support" / "stack.py"
    data = tmp_path / "data"
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    with (
        (tmp_path / "out").open("w+") as output,
        subprocess.Popen(  # noqa: ASYNC220 -- it is to be killed without a loop knowing
            (sys.executable, str(script), str(data)), stdout=output, stderr=output, env=environment
        ) as supervisor,
    ):
        try:
            await until(lambda: "PIDS" in (tmp_path / "out").read_text() or supervisor.poll() is not None)
            said = (tmp_path / "out").read_text()
            pids = [int(pid) for pid in said.split("PIDS", 1)[1].split()]
            assert len(pids) == 4
            assert all(alive(pid) for pid in pids)
            supervisor.send_signal(signal_number)
            assert await until_gone(pids) == []
        finally:
            supervisor.kill()
            supervisor.wait()
    if signal_number == signal.SIGINT:
        stopped = [line for line in (tmp_path / "out").read_text().splitlines() if "ProcessStopped" in line]
        assert stopped == ["ProcessStopped parent", "ProcessStopped deaf", "ProcessStopped first"]
    release_folder(await lock_folder(data, CLOCK))


async def test_a_data_folder_belongs_to_one_stack(tmp_path: Path) -> None:
    """A second stack on the folder is refused with the process that holds it."""
    folder = await lock_folder(tmp_path / "data", CLOCK)
    with pytest.raises(ConfigurationError, match=f"in use by another stack .process {os.getpid()}."):
        await lock_folder(tmp_path / "data", CLOCK)
    folder.publish(Addresses(bootstrap="b:1", clickhouse_url="http://c"))
    found = addresses(folder.path)
    assert found is not None
    assert (found.bootstrap, found.pid) == ("b:1", os.getpid())
    release_folder(folder)
    assert addresses(folder.path) is None
    release_folder(await lock_folder(tmp_path / "data", CLOCK))


async def test_a_data_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The message names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file/data cannot be used: Not a directory"):
        await lock_folder(tmp_path / "file" / "data", CLOCK)


async def test_a_pool_gives_free_ports_once_each() -> None:
    """A taken port is refused when it is asked for by number."""
    pool = PortPool()
    ports = {pool.take() for _ in range(20)}
    assert len(ports) == 20
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert not is_free(port)
    with pytest.raises(ConfigurationError, match=f"port {port} "):
        pool.take(port)
    server.close()
    await server.wait_closed()


async def test_a_server_is_ready_when_it_listens(supervise: Supervise) -> None:
    """A port is enough of a sign where nothing better is offered."""
    port = PortPool().take()
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    async with supervise() as (supervisor, _):
        assert is_free(port)
        await supervisor.start(child("server", code, ready=TcpReady(port)))
        assert not is_free(port)
