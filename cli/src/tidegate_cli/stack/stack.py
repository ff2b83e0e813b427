"""The whole stack as one context manager: ``async with running_stack(options, emit) as stack``."""

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.settings import Settings

from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.processes import Child


class Stack:
    """A running stack.

    Attributes:
        bootstrap: The brokers, ``host:port[,host:port…]``.
        clickhouse_url: Address of ClickHouse's HTTP interface, embedded or given.
        simulator_url: Address of the simulated solving service; None when it was not asked for.
        demo_url: Address of the demo site; None when it was not asked for.
        data_dir: The data folder; each process logs to ``data_dir/logs/<name>.log``.
        settings: Kafka and ClickHouse settings as the services have them, for clients of one's own.
        env: The ``TIDEGATE_…`` variables that the services were given (no secret is logged from it).
    """

    bootstrap: str
    clickhouse_url: str
    simulator_url: str | None
    demo_url: str | None
    data_dir: Path
    settings: Settings
    env: Mapping[str, str]

    @property
    def processes(self) -> tuple[Child, ...]:
        """Return all children, in the order of their start."""
        raise NotImplementedError

    def process(self, name: str) -> Child:
        """Return a child by name: ``broker``, ``clickhouse``, ``fetcher``, ``fetcher-2`` …; or KeyError.

        A ``Child`` has ``name``, ``pid``, ``running``, ``exit_code``, ``restarts`` and ``log_path``.
        """
        raise NotImplementedError

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a child; if it dies of it, it stays dead until ``restart``."""
        raise NotImplementedError

    async def stop(self, name: str) -> None:
        """Stop one child in good order (SIGTERM, deadline, SIGKILL); it stays stopped until ``restart``."""
        raise NotImplementedError

    async def restart(self, name: str) -> None:
        """Start a child again, stopping it first if it runs; return when it is ready."""
        raise NotImplementedError


@asynccontextmanager
async def running_stack(
    options: StackOptions, emit: Emit, *, clock: Clock | None = None
) -> AsyncIterator[Stack]:
    """Start a stack, yield it when all of it is ready, stop it in reverse order.

    When something dies that must not be restarted (the in-memory broker), or dies too often, the body is
    cancelled and StackError is raised with the end of the dead process's log.

    Raises:
        ConfigurationError: a broker, a tool or a folder is missing or held by another stack.
        StackError: a process did not become ready, or died for good.
    """
    raise NotImplementedError(options, emit, clock)
    yield Stack()
