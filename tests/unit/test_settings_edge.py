"""Settings: variables in, validated objects out."""

from pathlib import Path

import pytest
from tidegate.addresses import clickhouse_address
from tidegate.clock import BrokerClock
from tidegate.errors import ConfigurationError
from tidegate.events import Event, name_of
from tidegate.settings import Settings, load
from tidegate.testing.manual_clock import ManualClock


def test_variables_reach_their_fields() -> None:
    """Section, two underscores, field."""
    settings = load(
        Settings, {"TIDEGATE_KAFKA__BOOTSTRAP": "k:9", "TIDEGATE_RUNTIME__WINDOW": "7", "HOME": "/"}
    )
    assert (settings.kafka.bootstrap, settings.runtime.window) == ("k:9", 7)


@pytest.mark.parametrize(
    "variable", ["TIDEGATE_KAFKA__BOOTSTRAPS", "TIDEGATE_KAFAK__BOOTSTRAP", "TIDEGATE_KAFKA", "TIDEGATE_X"]
)
def test_a_variable_that_nobody_reads_is_an_error(variable: str) -> None:
    """A misspelt setting does not pass in silence."""
    with pytest.raises(ConfigurationError, match=variable):
        load(Settings, {variable: "x"})


def test_sections_of_other_services_are_left_to_them() -> None:
    """All services share one environment."""
    load(Settings, {"TIDEGATE_SOLVER__ANYTHING": "x"})


def test_a_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    """The _FILE form, and a repr without the secret."""
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    settings = load(Settings, {"TIDEGATE_CLICKHOUSE__PASSWORD_FILE": str(file)})
    assert settings.clickhouse.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_credentials_in_the_address_of_clickhouse_are_refused_and_not_shown() -> None:
    """They would be ignored, and printed wherever the address is."""
    with pytest.raises(ConfigurationError, match="CLICKHOUSE__PASSWORD") as caught:
        load(Settings, {"TIDEGATE_CLICKHOUSE__URL": "http://joe:hunter2@ch:8123"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("", "foo", "clickhouse.example:9999", "//ch:8123", "ftp://ch", "http://", "http://:8123"),
        *("http://ch:port", "http://ch:0", "http://ch:65536", "http://[::1", "joe:hunter2@ch:8123"),
    ],
)
def test_what_is_no_address_of_clickhouse_is_refused_and_not_shown(url: str) -> None:
    """The client would ask localhost in its place, and somebody else's server would get the rows."""
    with pytest.raises(ConfigurationError, match=r"CLICKHOUSE__URL: .*must be http://host:port") as caught:
        load(Settings, {"TIDEGATE_CLICKHOUSE__URL": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "interface", "host", "port"),
    [
        ("https://ch.example", "https", "ch.example", 8443),
        ("https://ch.example:9443", "https", "ch.example", 9443),
        ("http://ch.example:443", "http", "ch.example", 443),
        ("HTTP://ch.example/", "http", "ch.example", 8123),
        ("http://[::1]:8124", "http", "::1", 8124),
    ],
)
def test_the_scheme_of_clickhouses_address_decides_on_tls(
    url: str, interface: str, host: str, port: int
) -> None:
    """And the port only where no other is said."""
    settings = load(Settings, {"TIDEGATE_CLICKHOUSE__URL": url}).clickhouse
    assert clickhouse_address(settings.url) == {"interface": interface, "host": host, "port": port}


def test_a_wrong_value_names_its_variable_and_not_the_value() -> None:
    """What it should have been, without what may be a secret."""
    with pytest.raises(ConfigurationError) as caught:
        load(Settings, {"TIDEGATE_KAFKA__PARTITIONS": "s3cret"})
    assert "TIDEGATE_KAFKA__PARTITIONS" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_brokers_clock_is_the_least_delayed_acknowledgement() -> None:
    """An acknowledgement can only be late (T1)."""
    clock = BrokerClock(ManualClock(wall_ms=1000))
    assert clock.now_ms() == 1000
    for sent, appended in [(1000, 1900), (1000, 1503), (1000, 2500)]:
        clock.observe(sent, appended)
    assert clock.offset_ms == 503


def test_a_step_of_a_clock_is_followed() -> None:
    """Old windows are forgotten."""
    clock = BrokerClock(ManualClock())
    clock.observe(0, 5)
    for _ in range(3 * 2048):
        clock.observe(0, 4000)
    assert clock.offset_ms == 4000


def test_a_host_clock_that_was_set_back_is_seen_through_soon() -> None:
    """T1: also by a service that produces little; wall clocks of hosts decide nothing."""
    ours = ManualClock()
    clock = BrokerClock(ours)
    clock.observe(ours.wall_ms(), ours.wall_ms())
    for _ in range(11):
        ours.advance(60)
        clock.observe(ours.wall_ms() - 45_000, ours.wall_ms())
    assert clock.offset_ms == 45_000


def test_events_are_named_after_their_class() -> None:
    """Snake case."""

    class JobWasDone(Event, frozen=True):
        pass

    assert name_of(JobWasDone) == "job_was_done"
