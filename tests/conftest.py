"""Fixtures that many tests share: brokers.

``TEST_KAFKA`` says where real Apache Kafka comes from: ``required`` makes its absence a failure,
``host:port`` uses one that runs; by default it is started here, and where Java or Maven are missing the
tests are skipped with the reason. Variables for tests are without our prefix: what begins with ``TIDEGATE_``
and is no setting is refused.
"""

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from support.kafka import Broker, local_kafka, local_tansu
from tidegate.errors import ConfigurationError
from tidegate_cli.stack.broker_kafka import LocalKafka

_SOURCE = os.environ.get("TEST_KAFKA", "")
_KAFKA = frozenset({"kafka", "kafka_cluster"})
# Starting three nodes on a busy machine takes half a minute, fetching their jars a minute.
_KAFKA_TIMEOUT_S = 600
# A whole stack's crawl takes up to a minute on two quiet cores; a busy machine is given ten.
_STACK_TIMEOUT_S = 600

# How long an example takes is the machine's business: what is too slow is judged by the benchmarks.
settings.register_profile("tidegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidegate")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the users of real Apache Kafka, before ``-m`` selects, and say what one worker is to run.

    Whole stacks: two at once would starve each other on two cores; a stack beside tests that compute does
    not. And a module, so that what its tests share is made once.
    """
    for item in items:
        stack = item.get_closest_marker("embedded") is not None
        item.add_marker(pytest.mark.xdist_group("stack" if stack else item.path.stem))
        kafka = bool(_KAFKA.intersection(getattr(item, "fixturenames", ())))
        if kafka:
            item.add_marker(pytest.mark.kafka)
        if (kafka or stack) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_KAFKA_TIMEOUT_S if kafka else _STACK_TIMEOUT_S))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """Yield one node of Apache Kafka, shared by the session; use ``topic_prefix`` and few partitions."""
    if ":" in _SOURCE:
        yield Broker(_SOURCE)
        return
    try:
        async with local_kafka(tmp_path_factory.mktemp("kafka"), 1) as local:
            yield Broker(local.bootstrap)
    except ConfigurationError as error:
        _absent(_SOURCE, error)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _kafka_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalKafka]:
    try:
        async with local_kafka(tmp_path_factory.mktemp("kafka-cluster"), 3) as local:
            yield local
    except ConfigurationError as error:
        _absent(_SOURCE, error)


@pytest_asyncio.fixture
async def kafka_cluster(_kafka_nodes: LocalKafka) -> LocalKafka:
    """Return three nodes, all running, that a test may kill; shared by the session."""
    for node in _kafka_nodes.nodes:
        if not _kafka_nodes.running(node):
            await _kafka_nodes.start_node(node)
    return _kafka_nodes


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tansu(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """Yield the embedded broker, shared by the session."""
    async with local_tansu(tmp_path_factory.mktemp("tansu")) as broker:
        yield broker


@pytest.fixture
def topic_prefix() -> str:
    """Return a prefix of the test's own, for topics and groups on a shared broker."""
    return f"t{uuid4().hex[:8]}-"


def _absent(source: str, error: ConfigurationError) -> None:
    if source == "required":
        raise error
    pytest.skip(str(error))
