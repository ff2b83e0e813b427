"""Apache Kafka and ClickHouse servers from containers, for tests that need the real ones.

Images are those of docker-compose.yml. Ports are on the loopback interface, chosen freely.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml
from support.packaging import read
from testcontainers.community.clickhouse import ClickHouseContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy
from tidegate.settings import ClickHouseSettings

USER = "tidegate"
PASSWORD = "only-for-tests"
CLUSTER = "tidegate"

_REPLICA_CONFIG = """\
<clickhouse>
  <interserver_http_host>{host}</interserver_http_host>
  <macros><shard>1</shard><replica>{host}</replica></macros>
  <zookeeper><node><host>clickhouse-1</host><port>9181</port></node></zookeeper>
  <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>
  <remote_servers replace="1">
    <{cluster}>
      <shard>
        <internal_replication>true</internal_replication>
        <replica><host>clickhouse-1</host><port>9000</port><user>{user}</user><password>{password}</password></replica>
        <replica><host>clickhouse-2</host><port>9000</port><user>{user}</user><password>{password}</password></replica>
      </shard>
    </{cluster}>
  </remote_servers>
  {keeper}
</clickhouse>
"""
_KEEPER_CONFIG = """\
<keeper_server>
    <tcp_port>9181</tcp_port>
    <server_id>1</server_id>
    <log_storage_path>/var/lib/clickhouse/coordination/log</log_storage_path>
    <snapshot_storage_path>/var/lib/clickhouse/coordination/snapshots</snapshot_storage_path>
    <raft_configuration>
      <server><id>1</id><hostname>clickhouse-1</hostname><port>9234</port></server>
    </raft_configuration>
  </keeper_server>"""


class Server(msgspec.Struct, frozen=True):
    """A ClickHouse server: its HTTP address and how to log in."""

    url: str

    def settings(self, database: str, cluster: str | None = None) -> ClickHouseSettings:
        """Return the settings of a client of one database."""
        return ClickHouseSettings.model_validate(
            {"url": self.url, "user": USER, "password": PASSWORD, "database": database, "cluster": cluster}
        )


def require_engine() -> None:
    """Skip the test where no container engine answers; fail where one is promised.

    ``TEST_CONTAINERS=required`` is that promise, ``never`` skips in any case. The name is without our prefix,
    because services refuse what begins with TIDEGATE_ and is no setting.
    """
    wanted = os.environ.get("TEST_CONTAINERS")
    if wanted == "never":
        pytest.skip("TEST_CONTAINERS=never")
    problem = _engine_problem(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    if problem is None:
        return
    reason = f"no container engine answers ({problem}): start Docker to run tests/containers"
    if wanted == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def _engine_problem(address: str) -> str | None:
    """Ask the engine's /_ping; return why it did not answer. The client library leaks its sockets then."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            target: str | tuple[str, int] = parts.path
        else:
            connection = socket.socket()
            target = (parts.hostname or "localhost", parts.port or 2375)
        with connection:
            connection.settimeout(5)
            connection.connect(target)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            answer = connection.recv(64)
    except OSError as error:
        return f"{address}: {error.strerror or error}"
    return None if b" 200 " in answer else f"{address}: not an engine"


def image_of(service: str) -> str:
    """Return the image that docker-compose.yml names for a service."""
    image = yaml.safe_load(read("docker-compose.yml"))["services"][service]["image"]
    assert isinstance(image, str)
    return image


@contextmanager
def kafka_container() -> Iterator[str]:
    """Run one node of Apache Kafka; yield its address as clients on this machine reach it."""
    port = _free_port()
    container = DockerContainer(image_of("kafka"))
    container.with_bind_ports(19092, port)
    settings = dict(yaml.safe_load(read("docker-compose.yml"))["services"]["kafka"]["environment"])
    settings["KAFKA_ADVERTISED_LISTENERS"] = f"INTERNAL://localhost:9092,OUTSIDE://127.0.0.1:{port}"
    for name, value in settings.items():
        container.with_env(name, str(value))
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(120))
    with container:
        yield f"127.0.0.1:{port}"


@contextmanager
def clickhouse_container() -> Iterator[Server]:
    """Run one ClickHouse server with the defaults of its image."""
    with _clickhouse() as container:
        yield _server(container)


@contextmanager
def clickhouse_replicas(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Run two replicas of one shard, the first with a Keeper in it; their cluster is called CLUSTER."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        servers = []
        for host in ("clickhouse-1", "clickhouse-2"):
            config = folder / f"{host}.xml"
            keeper = _KEEPER_CONFIG if host == "clickhouse-1" else ""
            config.write_text(
                _REPLICA_CONFIG.format(
                    host=host, cluster=CLUSTER, user=USER, password=PASSWORD, keeper=keeper
                ),
                encoding="utf-8",
            )
            config.chmod(0o644)
            container = _clickhouse()
            container.with_network(network).with_network_aliases(host)
            container.with_volume_mapping(str(config), "/etc/clickhouse-server/config.d/replica.xml", "ro")
            stack.enter_context(container)
            servers.append(_server(container))
        yield servers[0], servers[1]


def _clickhouse() -> ClickHouseContainer:
    return ClickHouseContainer(image_of("clickhouse"), username=USER, password=PASSWORD, dbname="default")


def _server(container: ClickHouseContainer) -> Server:
    return Server(f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8123)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
