"""The pure parts of the embedded stack."""

import asyncio
from pathlib import Path

import pytest
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError
from tidegate.topics import MAX_RECORD_BYTES
from tidegate_cli.stack.broker_kafka import NodeAddress, render, server_properties
from tidegate_cli.stack.environment import ambient_settings, plain_environment
from tidegate_cli.stack.folder import tail, turn_over
from tidegate_cli.stack.graph import Step, layers, run_steps
from tidegate_cli.stack.kafka_jars import find_java, java_version, kafka_jars
from tidegate_cli.stack.parts import instances
from tidegate_cli.stack.probes import LineReady
from tidegate_cli.stack.processes import ending
from tidegate_cli.stack.supervisor import RestartPolicy


def test_layers_hold_what_may_run_side_by_side() -> None:
    """Each layer needs only earlier ones."""
    needs: dict[str, tuple[str, ...]] = {"broker": (), "house": (), "topics": ("broker",), "f": ("topics",)}
    assert layers(needs) == [("broker", "house"), ("topics",), ("f",)]


@pytest.mark.parametrize(
    ("needs", "message"),
    [({"a": ("b",), "b": ("a",)}, "wait for each other: a, b"), ({"a": ("x",)}, "nobody does: x")],
)
def test_steps_that_could_never_run_are_refused(needs: dict[str, tuple[str, ...]], message: str) -> None:
    """A ring or a missing step is an error, not a hang."""
    with pytest.raises(ConfigurationError, match=message):
        layers(needs)


async def test_steps_run_in_order_and_the_first_failure_is_raised_as_itself() -> None:
    """What needs the failed step never runs; what runs meanwhile is cancelled."""
    seen: list[str] = []

    async def good() -> None:
        seen.append("good")

    async def bad() -> None:
        seen.append("bad")
        raise ConfigurationError("no")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    steps = (
        Step(name="never", run=good, after=("bad",)),
        Step(name="bad", run=bad, after=("good",)),
        Step(name="endless", run=endless),
        Step(name="good", run=good),
    )
    with pytest.raises(ConfigurationError, match="no"):
        await run_steps(steps)
    assert seen == ["good", "bad", "cancelled"]


def test_restart_delays_double_up_to_a_limit_and_end() -> None:
    """A child that dies again and again is given up."""
    policy = RestartPolicy(limit=4, first_delay_s=1.0, longest_delay_s=3.0)
    assert [policy.delay_s(n) for n in range(5)] == [1.0, 2.0, 3.0, 3.0, None]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("no such thing", None),
    ],
)
def test_java_versions_old_and_new_are_read(text: str, version: int | None) -> None:
    """Java 8 called itself 1.8."""
    assert java_version(text) == version


async def test_missing_java_or_maven_is_told_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person learns what to install, before anything is fetched."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigurationError, match=r"needs Java 17 or later, and Maven.*no java on the PATH"):
        await find_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(ConfigurationError, match=f"no java in {tmp_path / 'jdk'}"):
        await find_java()
    with pytest.raises(ConfigurationError, match="no mvn on the PATH"):
        await kafka_jars(lambda _event: None, SystemClock())


def test_a_single_node_replicates_nothing_and_three_survive_one() -> None:
    """Internal topics get as many replicas as there are nodes, and take the largest record."""
    nodes = tuple(NodeAddress(node=n, port=100 + n, controller_port=200 + n) for n in (1, 2, 3))
    alone = server_properties(nodes[0], nodes[:1], Path("/d"))
    three = server_properties(nodes[1], nodes, Path("/d"))
    assert alone["offsets.topic.replication.factor"] == "1"
    assert three["offsets.topic.replication.factor"] == "3"
    assert three["transaction.state.log.min.isr"] == "2"
    assert three["controller.quorum.voters"] == "1@127.0.0.1:201,2@127.0.0.1:202,3@127.0.0.1:203"
    for setting in ("message.max.bytes", "replica.fetch.max.bytes", "socket.request.max.bytes"):
        assert int(three[setting]) > MAX_RECORD_BYTES
    assert "node.id=2\n" in render(three)


def test_no_setting_leaks_into_children_that_are_not_services() -> None:
    """Services are given settings on purpose, and only those that they accept."""
    env = {"TIDEGATE_KAFKA__PREFIX": "p", "TIDEGATE_TEST": "x", "HOME": "/h"}
    assert plain_environment(env) == {"HOME": "/h", "PYTHONUNBUFFERED": "1"}
    assert ambient_settings(env) == {"TIDEGATE_KAFKA__PREFIX": "p"}


def test_instances_of_a_service_have_names_of_their_own() -> None:
    """The first keeps the service's name, so that it can be asked for without knowing the count."""
    assert instances((("fetcher", 2), ("solver", 1), ("storer", 0))) == (
        ("fetcher", "fetcher"),
        ("fetcher", "fetcher-2"),
        ("solver", "solver"),
    )


def test_a_ready_line_counts_only_when_it_is_whole_and_new(tmp_path: Path) -> None:
    """Half a line, an older run's line and other output are passed over."""
    log = tmp_path / "log"
    old = b'{"port": 1}\n'
    log.write_bytes(old + b'warming up\n{"event": "x"}\n{bad\n{"port": 2')
    assert LineReady("port").find(log, len(old)) is None
    log.write_bytes(log.read_bytes() + b"}\n")
    assert LineReady("port").find(log, len(old)) == 2


def test_a_log_that_grew_too_long_is_turned_over_and_its_end_can_be_shown(tmp_path: Path) -> None:
    """Logs are bounded, and an error message ends with the last lines only."""
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert tail(log).splitlines()[0] == "line 85"
    assert not turn_over(log, limit=10_000)
    assert turn_over(log, limit=100)
    assert log.stat().st_size == 0
    assert (tmp_path / "x.log.1").stat().st_size > 100
    assert tail(tmp_path / "absent") == ""


def test_endings_are_told_in_words() -> None:
    """A signal has a name."""
    assert [ending(code) for code in (0, 3, -9, None)] == [
        "exit code 0",
        "exit code 3",
        "SIGKILL",
        "no exit code",
    ]
