"""Apache Kafka on this machine, one node or three, without a container engine.

Each node is a broker and a controller in one process (KRaft), plain ``java`` on the jars of
``kafka_jars``. Data and logs lie in the given folder and survive a stop. For development and tests: small
heaps, quick failure detection, no authentication, loopback only.
"""

import asyncio
import base64
import signal
from pathlib import Path
from uuid import uuid4

import msgspec
from tidegate.clock import Clock, SystemClock
from tidegate.errors import ConfigurationError
from tidegate.events import Emit
from tidegate.topics import MAX_RECORD_BYTES

from tidegate_cli.stack.broker_ready import brokers_known, cluster_ready
from tidegate_cli.stack.environment import plain_environment
from tidegate_cli.stack.events import ProcessReady, ProcessStarting, ProcessStopped
from tidegate_cli.stack.kafka_jars import find_java, kafka_jars
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.probes import CallReady
from tidegate_cli.stack.processes import Child, ProcessSpec, StackError, ending
from tidegate_cli.stack.watchman import Watchman

_FORMAT_S = 60.0
_START_S = 90.0
_STOP_S = 30.0
# A batch carries some bytes beside its record.
_LARGEST_BATCH = MAX_RECORD_BYTES + (1 << 20)


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The ports of one node."""

    node: int
    port: int
    controller_port: int


def server_properties(address: NodeAddress, nodes: tuple[NodeAddress, ...], data: Path) -> dict[str, str]:
    """Return one node's settings; the first of ``nodes`` has id 1."""
    replicas = str(min(3, len(nodes)))
    in_sync = "2" if len(nodes) > 2 else "1"
    listeners = f"PLAINTEXT://{HOST}:{address.port}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(address.node),
        "controller.quorum.voters": ",".join(f"{each.node}@{HOST}:{each.controller_port}" for each in nodes),
        "listeners": f"{listeners},CONTROLLER://{HOST}:{address.controller_port}",
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Fault tests want a dead member noticed sooner than the default least of 6 s.
        "group.min.session.timeout.ms": "1000",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        # After a SIGKILL the controller waits for the old session of the broker to expire.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "controlled.shutdown.enable": "true" if len(nodes) > 1 else "false",
        "message.max.bytes": str(_LARGEST_BATCH),
        "replica.fetch.max.bytes": str(_LARGEST_BATCH),
        "replica.fetch.response.max.bytes": str(2 * _LARGEST_BATCH),
        "socket.request.max.bytes": str(4 * _LARGEST_BATCH),
        # The default takes 128 MiB of the heap for compaction.
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def render(properties: dict[str, str]) -> str:
    """Return settings as a Java properties file."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


# Quick to start rather than quick at full load: the client compiler alone halves the CPU of a start.
_JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)


class LocalKafka:
    """Apache Kafka started here. Nodes are numbered from 1.

    ``bootstrap`` is known from the start. Its processes end with this one, whatever ends it (``guard``).
    """

    _format_options: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Path,
        *,
        emit: Emit,
        nodes: int = 1,
        clock: Clock | None = None,
        ports: PortPool | None = None,
        port: int = 0,
    ) -> None:
        """Choose ports; ``port`` is the first node's, 0 takes a free one. ``nodes`` is 1 or 3."""
        if nodes not in {1, 3}:
            raise ConfigurationError("Apache Kafka runs here with one node or three")
        pool = ports or PortPool()
        self._folder = folder.resolve()
        self._emit = emit
        self._clock = clock or SystemClock()
        self._nodes = tuple(
            NodeAddress(node=node, port=pool.take(port if node == 1 else 0), controller_port=pool.take())
            for node in range(1, nodes + 1)
        )
        self._children: dict[int, Child] = {}
        self._watchman: Watchman | None = None

    @property
    def bootstrap(self) -> str:
        """Return the addresses of all nodes."""
        return ",".join(f"{HOST}:{each.port}" for each in self._nodes)

    @property
    def nodes(self) -> tuple[int, ...]:
        """Return the numbers of the nodes."""
        return tuple(each.node for each in self._nodes)

    def pid(self, node: int) -> int:
        """Return a node's process id."""
        return self._children[node].pid

    def running(self, node: int) -> bool:
        """Tell whether a node's process is alive."""
        return node in self._children and self._children[node].running

    async def prepare(self) -> tuple[ProcessSpec, ...]:
        """Fetch what is missing, format new nodes, and return what a supervisor needs to run them.

        Raises ConfigurationError when Java or Maven are missing, StackError when formatting fails.
        """
        java, jars = await asyncio.gather(find_java(), kafka_jars(self._emit, self._clock))
        cluster_id = self._cluster_id()
        heap = "-Xmx512m" if len(self._nodes) == 1 else "-Xmx384m"
        return tuple(
            await asyncio.gather(*(self._prepare(each, java, jars, heap, cluster_id) for each in self._nodes))
        )

    async def start(self) -> None:
        """Start all nodes and return when each of them knows all of them."""
        specs = await self.prepare()
        self._watchman = Watchman()
        for number, spec in zip(self.nodes, specs, strict=True):
            marked = msgspec.structs.replace(spec, env={**spec.env, **self._watchman.mark})
            self._children[number] = Child(marked, self._folder / f"{spec.name}.log", self._clock)
        try:
            await asyncio.gather(*(self._bring_up(number) for number in self.nodes))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all nodes; a majority of controllers is needed for a quiet end, so all at once."""
        try:
            await asyncio.gather(*(self.stop_node(number) for number in self._children))
        finally:
            if self._watchman is not None:
                self._watchman.dismiss()
                self._watchman = None

    async def kill(self, node: int, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a node; after SIGKILL, return when it is gone."""
        child = self._children[node]
        child.send(signal_number)
        if signal_number == signal.SIGKILL:
            await child.stop()

    async def stop_node(self, node: int) -> None:
        """Stop one node in good order."""
        child = self._children[node]
        if child.running:
            started = self._clock.monotonic()
            killed = await child.stop()
            seconds = self._clock.monotonic() - started
            self._emit(
                ProcessStopped(
                    name=child.name, exit_code=child.exit_code or 0, seconds=seconds, killed=killed
                )
            )

    async def start_node(self, node: int) -> None:
        """Start one node again and return when it answers and is in the cluster."""
        await self._bring_up(node)

    async def _bring_up(self, node: int) -> None:
        child = self._children[node]
        started = self._clock.monotonic()
        child.spawn()
        self._emit(ProcessStarting(name=child.name, pid=child.pid))
        await child.wait_ready()
        self._emit(ProcessReady(name=child.name, seconds=self._clock.monotonic() - started))

    def _properties(self, address: NodeAddress, data: Path) -> dict[str, str]:
        return server_properties(address, self._nodes, data)

    def _cluster_id(self) -> str:
        """Return the cluster's id, made at the first start: 16 random bytes in URL-safe base64.

        One in 64 begins with a dash, which the tool would read as an option: it is given as `--cluster-id=`.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "cluster-id"
        if not path.exists():
            path.write_text(base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("="), "ascii")
        return path.read_text("ascii")

    async def _prepare(
        self, address: NodeAddress, java: str, jars: Path, heap: str, cluster_id: str
    ) -> ProcessSpec:
        home = self._folder / f"node-{address.node}"
        data = home / "data"
        home.mkdir(parents=True, exist_ok=True)
        properties = home / "server.properties"
        properties.write_text(render(self._properties(address, data)), "utf-8")
        name = "broker" if len(self._nodes) == 1 else f"broker-{address.node}"
        base = (java, heap, *_JVM, "-cp", f"{jars}/*")
        if not (data / "meta.properties").exists():
            await self._format(name, (*base, "kafka.tools.StorageTool"), cluster_id, properties)
        return ProcessSpec(
            name=name,
            command=(*base, "kafka.Kafka", str(properties)),
            env=plain_environment(),
            ready=CallReady(lambda: self._ready(address)),
            start_timeout_s=_START_S,
            stop_timeout_s=_STOP_S,
        )

    async def _format(self, name: str, tool: tuple[str, ...], cluster_id: str, properties: Path) -> None:
        spec = ProcessSpec(
            name=f"{name}-format",
            command=(
                *tool,
                "format",
                f"--cluster-id={cluster_id}",
                "-c",
                str(properties),
                *self._format_options,
            ),
            env=plain_environment(),
        )
        child = Child(spec, self._folder / f"{spec.name}.log", self._clock)
        child.spawn()
        try:
            in_time = await child.wait_exit(_FORMAT_S)
        finally:
            await child.stop()
        if not in_time or child.exit_code:
            raise StackError(child.describe(f"ended with {ending(child.exit_code)}"))

    async def _ready(self, address: NodeAddress) -> bool:
        """Tell whether a node answers, and knows the nodes that run."""
        running = [each for each in self._nodes if self._may_run(each.node)]
        if address not in running:
            running = [address]
        if len(running) == 1:
            return await brokers_known(HOST, address.port) > 0
        return await cluster_ready(tuple((HOST, each.port) for each in running))

    def _may_run(self, node: int) -> bool:
        child = self._children.get(node)
        return child is None or child.running
