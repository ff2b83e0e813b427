"""Everything a chaos campaign runs on: brokers, ClickHouse, solving service and site behind proxies.

The services know the proxies' addresses only. ClickHouse and the brokers are started here and not by the
stack, because the stack would start them again by itself.
"""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from support.faulty_proxy import FaultyProxy, NetworkFault, faulty_proxy
from tidegate.clock import SystemClock
from tidegate.events import Emit
from tidegate.settings import KafkaSettings
from tidegate_cli.stack.broker_kafka import LocalKafka, NodeAddress
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.parts import clickhouse_spec
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.processes import Child, ProcessSpec
from tidegate_cli.stack.stack import Stack, running_stack
from tidegate_cli.stack.watchman import Watchman

SITES = 4
SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": HOST,
    # Everything that waits for somebody waits less long than usual: more happens in a minute.
    "TIDEGATE_FETCHER__CONNECT_TIMEOUT_S": "2",
    "TIDEGATE_FETCHER__READ_TIMEOUT_S": "3",
    "TIDEGATE_FETCHER__TOTAL_TIMEOUT_S": "8",
    "TIDEGATE_SOLVER__CONNECT_TIMEOUT_S": "2",
    "TIDEGATE_SOLVER__READ_TIMEOUT_S": "3",
    "TIDEGATE_SOLVER__TIME_LIMIT_S": "15",
    "TIDEGATE_SOLVER__CREATE_RETRY_WAIT_S": "0.3",
    "TIDEGATE_SOLVER__SUBMIT_MARGIN_S": "2",
    "TIDEGATE_STORER__BATCH_AGE_S": "0.5",
    "TIDEGATE_STORER__INSERT_TIMEOUT_S": "5",
    "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "2",
    "TIDEGATE_RUNTIME__DRAIN_DEADLINE_S": "5",
}
_SERVICES = ("fetcher", "solver", "storer")
_INTERNAL = "INTERNAL"


class ProxiedKafka(LocalKafka):
    """Apache Kafka whose clients are sent to proxies; the nodes talk to each other directly."""

    def __init__(self, folder: Path, *, nodes: int, emit: Emit, ports: PortPool) -> None:
        super().__init__(folder, emit=emit, nodes=nodes, ports=ports)
        self._proxy_ports = {address.node: ports.take() for address in self._nodes}
        self._internal_ports = {address.node: ports.take() for address in self._nodes}

    @property
    def addresses(self) -> Sequence[tuple[int, int]]:
        """Return (proxy's port, port of the node) for each node."""
        return [(self._proxy_ports[address.node], address.port) for address in self._nodes]

    @property
    def proxied_bootstrap(self) -> str:
        """Return the brokers as clients are to know them."""
        return ",".join(f"{HOST}:{port}" for port, _ in self.addresses)

    async def _prepare(
        self, address: NodeAddress, java: str, jars: Path, heap: str, cluster_id: str
    ) -> ProcessSpec:
        spec = await super()._prepare(address, java, jars, heap, cluster_id)
        internal = f"{_INTERNAL}://{HOST}:{self._internal_ports[address.node]}"
        clients = f"PLAINTEXT://{HOST}:{address.port}"
        advertised = f"PLAINTEXT://{HOST}:{self._proxy_ports[address.node]}"
        with (self._folder / f"node-{address.node}" / "server.properties").open("a") as file:
            # The last value of a name counts.
            file.write(
                f"listeners={clients},{internal},CONTROLLER://{HOST}:{address.controller_port}\n"
                f"advertised.listeners={advertised},{internal}\n"
                "listener.security.protocol.map="
                f"PLAINTEXT:PLAINTEXT,{_INTERNAL}:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
                f"inter.broker.listener.name={_INTERNAL}\n"
            )
        return spec


class Rig(msgspec.Struct, frozen=True, kw_only=True):
    """A running stack and the handles to break it by. ``networks`` are proxies by target."""

    stack: Stack
    kafka: ProxiedKafka
    clickhouse: Child
    clickhouse_url: str
    simulator_url: str
    demo_url: str
    networks: dict[str, list[FaultyProxy]]
    kafka_settings: KafkaSettings

    @property
    def sites(self) -> list[str]:
        """Return the addresses of the demo site, each a site of its own."""
        return [proxy.url for proxy in self.networks["site"]]

    def break_network(self, target: str, fault: NetworkFault) -> None:
        """Break every connection of a target in one way."""
        for proxy in self.networks[target]:
            proxy.break_with(fault)

    def heal_networks(self) -> None:
        """Make all networks good."""
        for proxies in self.networks.values():
            for proxy in proxies:
                proxy.heal()


@asynccontextmanager
async def chaos_rig(
    folder: Path, *, nodes: int, emit: Emit, settings: Mapping[str, str] = SETTINGS, instances: int = 2
) -> AsyncIterator[Rig]:
    """Start everything; of ``instances`` of each service the first one only."""
    ports = PortPool()
    kafka = ProxiedKafka(folder / "kafka", nodes=nodes, emit=emit, ports=ports)
    simulator, demo, clickhouse = ports.take(), ports.take(), ports.take()
    async with AsyncExitStack() as stack:

        async def proxy(target: int, port: int = 0) -> FaultyProxy:
            return await stack.enter_async_context(faulty_proxy(port or ports.take(), target))

        networks = {
            "broker-net": [await proxy(target, port) for port, target in kafka.addresses],
            "clickhouse": [await proxy(clickhouse)],
            "solving": [await proxy(simulator)],
            "site": [await proxy(demo) for _ in range(SITES)],
        }
        solving = networks["solving"][0].url
        options = StackOptions(
            data_dir=folder / "stack",
            broker=kafka.proxied_bootstrap,
            clickhouse_url=networks["clickhouse"][0].url,
            services=tuple((service, instances) for service in _SERVICES),
            simulator=True,
            simulator_port=simulator,
            demo_site=True,
            demo_port=demo,
            partitions=4,
            start_timeout_s=90.0,
            env={
                **settings,
                "TIDEGATE_SOLVER__BASE_URL": f"{solving}/capmonster",
                **(
                    {"TIDEGATE_KAFKA__REPLICATION": "3", "TIDEGATE_KAFKA__MIN_INSYNC_REPLICAS": "2"}
                    if nodes > 1
                    else {}
                ),
            },
        )
        child = await stack.enter_async_context(_clickhouse(folder, options, clickhouse))
        await kafka.start()
        stack.push_async_callback(kafka.stop)
        running = await stack.enter_async_context(running_stack(options, emit))
        assert running.simulator_url is not None
        assert running.demo_url is not None
        for service, number in itertools.product(_SERVICES, range(2, instances + 1)):
            await running.stop(f"{service}-{number}")
        rig = Rig(
            stack=running,
            kafka=kafka,
            clickhouse=child,
            clickhouse_url=f"http://{HOST}:{clickhouse}",
            simulator_url=running.simulator_url,
            demo_url=running.demo_url,
            networks=networks,
            kafka_settings=running.settings.kafka,
        )
        try:
            yield rig
        finally:
            # What is broken would hold up the stop.
            rig.heal_networks()


@asynccontextmanager
async def _clickhouse(folder: Path, options: StackOptions, port: int) -> AsyncIterator[Child]:
    watchman = Watchman()
    data = folder / "clickhouse"
    data.mkdir(parents=True)
    spec = clickhouse_spec(options, data / "data", port)
    marked = msgspec.structs.replace(spec, env={**spec.env, **watchman.mark})
    child = Child(marked, data / "clickhouse.log", SystemClock())
    child.spawn()
    try:
        await child.wait_ready()
        yield child
    finally:
        await child.stop()
        watchman.dismiss()


async def restart_child(child: Child) -> None:
    """Start a child again that was ended."""
    await child.stop()
    child.spawn()
    await child.wait_ready()
