"""The whole stack as one context manager: ``async with running_stack(options, emit) as stack``.

What may start side by side does, because starting is importing, and importing is all processor time:
broker, ClickHouse, simulated service, demo site and migration at once, topics as soon as the broker
answers, the services as soon as there are topics. Migration and storer wait for ClickHouse by themselves.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.clock import Clock, SystemClock
from tidegate.events import Emit
from tidegate.kafka_admin import apply_topics
from tidegate.settings import PREFIX, Settings, load
from tidegate.topic_plan import TopicAction

from tidegate_cli.stack.broker_kafka import LocalKafka
from tidegate_cli.stack.broker_tansu import SETTINGS as TANSU_SETTINGS
from tidegate_cli.stack.broker_tansu import tansu_spec
from tidegate_cli.stack.environment import ambient_settings
from tidegate_cli.stack.events import StackReady, StepDone, TopicDiffers
from tidegate_cli.stack.folder import Addresses, DataFolder, lock_folder, release_folder
from tidegate_cli.stack.graph import Step, run_steps
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.parts import (
    clickhouse_spec,
    demo_settings,
    demo_spec,
    instances,
    migrate_spec,
    service_spec,
    simulator_settings,
    simulator_spec,
)
from tidegate_cli.stack.ports import HOST, PortPool, another_host
from tidegate_cli.stack.processes import Child, ProcessSpec
from tidegate_cli.stack.supervisor import Supervisor, supervising

EMBEDDED = "embedded"
KAFKA = "kafka"


class Stack:
    """A running stack.

    Attributes:
        bootstrap: The brokers, ``host:port[,host:port…]``.
        clickhouse_url: Address of ClickHouse's HTTP interface, embedded or given.
        simulator_url: Address of the simulated solving service; None when it was not asked for.
        demo_url: Address of the demo site; None when it was not asked for.
        monitor_url: Address of the live page; None when no monitor was asked for.
        data_dir: The data folder; each process logs to ``data_dir/logs/<name>.log``.
        settings: Kafka and ClickHouse settings as the services have them, for clients of one's own.
        env: The ``TIDEGATE_…`` variables that the services were given; may hold secrets.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        addresses: Addresses,
        data_dir: Path,
        env: Mapping[str, str],
    ) -> None:
        self._supervisor = supervisor
        self.bootstrap = addresses.bootstrap
        self.clickhouse_url = addresses.clickhouse_url
        self.simulator_url = addresses.simulator_url
        self.demo_url = addresses.demo_url
        self.monitor_url = addresses.monitor_url
        self.data_dir = data_dir
        self.env = env
        self.settings = load(Settings, env)

    @property
    def processes(self) -> tuple[Child, ...]:
        """Return all children, in the order of their start."""
        return self._supervisor.children

    def process(self, name: str) -> Child:
        """Return a child by name: ``broker``, ``clickhouse``, ``fetcher``, ``fetcher-2`` …; or KeyError.

        A ``Child`` has ``name``, ``pid``, ``running``, ``exit_code``, ``restarts`` and ``log_path``.
        """
        return self._supervisor.child(name)

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a child; if it dies of it, it stays dead until ``restart``."""
        self._supervisor.kill(name, signal_number)

    async def stop(self, name: str) -> None:
        """Stop one child in good order (SIGTERM, deadline, SIGKILL); it stays stopped until ``restart``."""
        await self._supervisor.stop(name)

    async def restart(self, name: str) -> None:
        """Start a child again, stopping it first if it runs; return when it is ready."""
        await self._supervisor.restart(name)


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
    time = clock or SystemClock()
    started = time.monotonic()
    folder = await lock_folder(options.data_dir, time)
    try:
        plan = _Plan(options, folder, emit, time)
        async with supervising(folder, emit, time) as supervisor:
            await run_steps(plan.steps(supervisor))
            folder.publish(plan.addresses)
            emit(StackReady(seconds=time.monotonic() - started, monitor_url=plan.addresses.monitor_url))
            yield Stack(supervisor, addresses=plan.addresses, data_dir=folder.path, env=plan.env)
    finally:
        release_folder(folder)


class _Plan:
    """Chooses ports and addresses, and turns options into steps."""

    def __init__(self, options: StackOptions, folder: DataFolder, emit: Emit, clock: Clock) -> None:
        self._options = options
        self._folder = folder
        self._emit = emit
        self._clock = clock
        self._ports = PortPool()
        # Ports that a caller chose come first, before a free one could be taken in their place.
        simulator = self._ports.take(options.simulator_port) if options.simulator else 0
        demo = self._ports.take(options.demo_port) if options.demo_site else 0
        self._simulator_port, self._demo_port = simulator, demo
        self._proxy = f"{another_host()}:{self._ports.take()}" if options.demo_whole else None
        monitors = dict(options.services).get("monitor", 0)
        self._monitor_ports = [self._ports.take() for _ in range(monitors)]
        self._clickhouse_port = 0 if options.clickhouse_url else self._ports.take()
        self._broker_port = self._ports.take() if options.broker == EMBEDDED else 0
        self._kafka = (
            LocalKafka(folder.path / "kafka", emit=emit, clock=clock, ports=self._ports)
            if options.broker == KAFKA
            else None
        )
        simulator_url = f"http://{HOST}:{simulator}" if simulator else None
        self.env = self._environment(simulator_url)
        settings = load(Settings, self.env)
        self.addresses = Addresses(
            bootstrap=settings.kafka.bootstrap,
            clickhouse_url=settings.clickhouse.url,
            prefix=settings.kafka.prefix,
            simulator_url=simulator_url,
            demo_url=f"http://{HOST}:{demo}" if demo else None,
            monitor_url=f"http://{HOST}:{self._monitor_ports[0]}/" if monitors else None,
        )

    def steps(self, supervisor: Supervisor) -> tuple[Step, ...]:
        """Return what is to be done, in the terms of ``graph``."""
        options, folder = self._options, self._folder
        steps: list[Step] = []

        def start(spec: ProcessSpec, *after: str) -> None:
            steps.append(Step(name=spec.name, after=after, run=lambda: supervisor.start(spec)))

        needs_broker: tuple[str, ...] = ()
        if options.broker == EMBEDDED:
            start(tansu_spec(self._broker_port))
            needs_broker = ("broker",)
        elif self._kafka is not None:
            kafka = self._kafka
            steps.append(Step(name="broker", run=lambda: _start_kafka(kafka, supervisor)))
            needs_broker = ("broker",)
        needs_clickhouse: tuple[str, ...] = ()
        if not options.clickhouse_url:
            start(clickhouse_spec(options, folder.subfolder("clickhouse"), self._clickhouse_port))
            needs_clickhouse = ("clickhouse",)
        if options.simulator:
            start(simulator_spec(options, folder.subfolder("simulator"), self._simulator_port))
        if options.demo_site:
            start(demo_spec(options, self._demo_port, self.addresses.simulator_url, self._proxy))
        steps.append(Step(name="topics", after=needs_broker, run=self._timed("topics", self._topics)))
        if any(service == "storer" and count for service, count in options.services):
            migrate = migrate_spec(options, self.env)
            run = self._timed("migrate", lambda: supervisor.run_once(migrate))
            # It waits for ClickHouse by itself, so its imports overlap with those of ClickHouse.
            steps.append(Step(name="migrate", run=run))
        monitor_ports = iter(self._monitor_ports)
        for service, name in instances(options.services):
            # For the order of the stop; at the start the storer waits for ClickHouse and the schema itself.
            needs = (*needs_broker, *needs_clickhouse) if service == "storer" else needs_broker
            port, env = self._ports.take(), self.env
            if service == "monitor":
                env = {**env, f"{PREFIX}MONITOR__PORT": str(next(monitor_ports))}
            spec = service_spec(options, service, name, env=env, health_port=port, after=needs)
            start(spec, "topics")
        return tuple(steps)

    def _bootstrap(self) -> str:
        if self._kafka is not None:
            return self._kafka.bootstrap
        return f"{HOST}:{self._broker_port}" if self._broker_port else self._options.broker

    def _environment(self, simulator_url: str | None) -> dict[str, str]:
        """Return the services' settings: the user's own, then the stack's, then those of the options."""
        options = self._options
        own = {
            f"{PREFIX}STORER__SCHEMA_WAIT_S": str(options.start_timeout_s),
            f"{PREFIX}KAFKA__BOOTSTRAP": self._bootstrap(),
            f"{PREFIX}CLICKHOUSE__URL": options.clickhouse_url or f"http://{HOST}:{self._clickhouse_port}",
        }
        if options.prefix is not None:
            own[f"{PREFIX}KAFKA__PREFIX"] = options.prefix
        if options.partitions is not None:
            own[f"{PREFIX}KAFKA__PARTITIONS"] = str(options.partitions)
        if options.broker == EMBEDDED:
            own |= TANSU_SETTINGS
        if simulator_url is not None:
            own |= simulator_settings(simulator_url)
        ambient = ambient_settings()
        if self._proxy is not None:
            own |= demo_settings(self._proxy, self._folder.path)
            # Whatever else is set there would be a second list.
            ambient = {name: value for name, value in ambient.items() if "__PROXIES" not in name}
        return {**ambient, **own, **options.env}

    def _timed(self, name: str, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def timed() -> None:
            started = self._clock.monotonic()
            await run()
            self._emit(StepDone(name=name, seconds=self._clock.monotonic() - started))

        return timed

    async def _topics(self) -> None:
        for result in await apply_topics(load(Settings, self.env), clock=self._clock):
            if result.action is TopicAction.DIFFERS:
                settings = tuple(
                    f"{each.setting}: {each.found}, not {each.wanted}" for each in result.differences
                )
                self._emit(TopicDiffers(name=result.name, differences=settings))


async def _start_kafka(kafka: LocalKafka, supervisor: Supervisor) -> None:
    specs = await kafka.prepare()
    await asyncio.gather(*(supervisor.start(spec) for spec in specs))
