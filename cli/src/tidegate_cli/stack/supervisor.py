"""Starts children, watches them, starts them again or gives up, and stops them in reverse order.

A child that dies unexpectedly is started again, with a growing delay, as long as it may be revived and
has not died too often lately. Otherwise the supervisor fails: the task that holds ``supervising`` open is
cancelled, everything is stopped, and StackError is raised there. What a caller killed or stopped through
the supervisor stays as it is until the caller restarts it. No child outlives the supervisor, whatever
ends it: see ``guard``.
"""

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from tidegate.clock import Clock
from tidegate.events import Emit

from tidegate_cli.stack.events import (
    ProcessDied,
    ProcessReady,
    ProcessRestarting,
    ProcessStarting,
    ProcessStopped,
)
from tidegate_cli.stack.folder import DataFolder, tail, turn_over
from tidegate_cli.stack.graph import layers
from tidegate_cli.stack.processes import Child, ProcessSpec, StackError, ending
from tidegate_cli.stack.watchman import Watchman

_POLL_S = 0.1
_LOG_CHECK_S = 5.0


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how soon a dead child is started again.

    Up to ``limit`` times within ``within_s``; the n-th of them after ``first_delay_s`` * 2^(n-1), at most
    ``longest_delay_s``.
    """

    limit: int = 5
    within_s: float = 60.0
    first_delay_s: float = 0.2
    longest_delay_s: float = 5.0

    def delay_s(self, earlier: int) -> float | None:
        """Return the delay after ``earlier`` restarts within the span; None to give up."""
        if earlier >= self.limit:
            return None
        return float(min(self.first_delay_s * 2**earlier, self.longest_delay_s))


class Supervisor:
    """Owns the children of a stack. Made by ``supervising``."""

    def __init__(
        self,
        folder: DataFolder,
        emit: Emit,
        clock: Clock,
        *,
        tasks: asyncio.TaskGroup,
        mark: Mapping[str, str],
        policy: RestartPolicy,
    ) -> None:
        self._folder = folder
        self._emit = emit
        self._clock = clock
        self._tasks = tasks
        self._mark = mark
        self._policy = policy
        self._children: dict[str, Child] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._history: dict[str, deque[float]] = {}

    @property
    def children(self) -> tuple[Child, ...]:
        """Return all children, in the order of their start."""
        return tuple(self._children.values())

    def child(self, name: str) -> Child:
        """Return a child by name; KeyError if there is none."""
        return self._children[name]

    async def start(self, spec: ProcessSpec) -> Child:
        """Start a child and return when it is ready; StackError when it does not get there."""
        assert spec.name not in self._children
        child = self._adopt(spec)
        self._children[spec.name] = child
        self._locks[spec.name] = asyncio.Lock()
        async with self._locks[spec.name]:
            await self._bring_up(child)
        return child

    async def run_once(self, spec: ProcessSpec) -> None:
        """Run a child to its end; StackError unless it ends in time with exit code 0."""
        child = self._adopt(spec)
        child.spawn()
        self._emit(ProcessStarting(name=spec.name, pid=child.pid))
        try:
            in_time = await child.wait_exit(spec.start_timeout_s)
        finally:
            await child.stop()
        if not in_time:
            raise StackError(child.describe(f"did not end within {spec.start_timeout_s:.0f} s"))
        if child.exit_code:
            raise StackError(child.describe(f"ended with {ending(child.exit_code)}"))

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a child; if it dies of it, it stays dead until ``restart``."""
        child = self._children[name]
        if signal_number in _DEADLY:
            self._unwatch(name)
        child.send(signal_number)

    async def stop(self, name: str) -> None:
        """Stop one child; it stays stopped until ``restart``."""
        child = self._children[name]
        self._unwatch(name)
        async with self._locks[name]:
            if not child.running:
                child.end_group()
                return
            started = self._clock.monotonic()
            killed = await child.stop()
            self._emit(
                ProcessStopped(
                    name=name,
                    exit_code=child.exit_code or 0,
                    seconds=self._clock.monotonic() - started,
                    killed=killed,
                )
            )

    async def restart(self, name: str) -> None:
        """Start a child again, stopping it first if it runs; return when it is ready."""
        await self.stop(name)
        child = self._children[name]
        async with self._locks[name]:
            child.restarts += 1
            await self._bring_up(child)

    async def stop_all(self) -> None:
        """Stop every child, those that need others before those that are needed."""
        for name in tuple(self._watchers):
            self._unwatch(name)
        after = {
            name: tuple(need for need in child.spec.after if need in self._children)
            for name, child in self._children.items()
        }
        for layer in reversed(layers(after)):
            await asyncio.gather(*(self.stop(name) for name in layer))

    def _adopt(self, spec: ProcessSpec) -> Child:
        marked = msgspec.structs.replace(spec, env={**spec.env, **self._mark})
        return Child(marked, self._folder.log_path(spec.name), self._clock)

    async def _bring_up(self, child: Child) -> None:
        started = self._clock.monotonic()
        child.spawn()
        self._emit(ProcessStarting(name=child.name, pid=child.pid))
        await child.wait_ready()
        self._emit(ProcessReady(name=child.name, seconds=self._clock.monotonic() - started))
        self._watchers[child.name] = self._tasks.create_task(self._watch(child), name=f"watch {child.name}")

    def _unwatch(self, name: str) -> None:
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            watcher.cancel()

    async def _watch(self, child: Child) -> None:
        """Wait for an unexpected death, and act on it; a new watcher is made with the next start."""
        checked = self._clock.monotonic()
        while child.running:
            await self._clock.sleep(_POLL_S)
            if self._clock.monotonic() - checked > _LOG_CHECK_S:
                checked = self._clock.monotonic()
                turn_over(child.log_path)
        child.end_group()
        code = child.exit_code or 0
        self._emit(ProcessDied(name=child.name, exit_code=code, log_tail=tail(child.log_path)))
        if not child.spec.revive:
            what = f"died ({ending(code)}) and cannot be started again without losing what it held"
            raise StackError(child.describe(what))
        async with self._locks[child.name]:
            await self._revive(child)

    async def _revive(self, child: Child) -> None:
        history = self._history.setdefault(child.name, deque())
        while True:
            now = self._clock.monotonic()
            while history and now - history[0] > self._policy.within_s:
                history.popleft()
            delay_s = self._policy.delay_s(len(history))
            if delay_s is None:
                what = f"died {len(history) + 1} times within {self._policy.within_s:.0f} s"
                raise StackError(child.describe(what))
            history.append(now)
            child.restarts += 1
            self._emit(ProcessRestarting(name=child.name, attempt=len(history), delay_s=delay_s))
            await self._clock.sleep(delay_s)
            try:
                await self._bring_up(child)
            except StackError:
                await child.stop()
            else:
                return


_DEADLY = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT})


@asynccontextmanager
async def supervising(
    folder: DataFolder, emit: Emit, clock: Clock, *, policy: RestartPolicy | None = None
) -> AsyncIterator[Supervisor]:
    """Yield a supervisor whose children are stopped on leaving, whatever the reason.

    Raises StackError, after cancelling the body, when a child died for good.
    """
    watchman = Watchman(folder.lock_fd)
    try:
        async with asyncio.TaskGroup() as tasks:
            supervisor = Supervisor(
                folder, emit, clock, tasks=tasks, mark=watchman.mark, policy=policy or RestartPolicy()
            )
            try:
                yield supervisor
            finally:
                await supervisor.stop_all()
    except BaseExceptionGroup as group:
        first = next((each for each in group.exceptions if isinstance(each, StackError)), group.exceptions[0])
        raise first from first.__cause__
    finally:
        watchman.dismiss()
