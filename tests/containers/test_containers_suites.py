"""The suites that run on embedded engines or on a local Kafka, once more on servers from containers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from support.containers import (
    PASSWORD,
    USER,
    Server,
    clickhouse_container,
    kafka_container,
    require_engine,
)
from support.packaging import ROOT

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """Run Apache Kafka; return its address."""
    require_engine()
    with kafka_container() as bootstrap:
        yield bootstrap


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run a ClickHouse server."""
    require_engine()
    with clickhouse_container() as running:
        yield running


def run_suite(arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own, because fixtures there are made once a session."""
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("TEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**ambient, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_kafka_suite_passes_on_a_container(kafka: str) -> None:
    """Everything that is marked `kafka`, on the image that docker-compose.yml names."""
    result = run_suite(["-m", "kafka", "tests/integration", "tests/e2e"], {"TEST_KAFKA": kafka})
    assert result.returncode == 0, result.stdout[-8_000:]
    assert " passed" in result.stdout


def test_the_contract_of_the_embedded_endpoint_is_the_servers(server: Server) -> None:
    """What the embedded ClickHouse endpoint promises is what a server does."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/contract/test_clickhouse*.py"))
    assert files
    parts = urlsplit(server.url)
    url = urlunsplit(parts._replace(netloc=f"{USER}:{PASSWORD}@{parts.netloc}"))
    result = run_suite(files, {"TEST_CLICKHOUSE_URL": url})
    assert result.returncode == 0, result.stdout[-8_000:]
    assert " passed" in result.stdout
