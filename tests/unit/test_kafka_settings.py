"""What the settings of the connection to Kafka take and refuse."""

import ssl
from pathlib import Path

import pytest
from aiokafka.conn import collect_hosts
from tidegate.errors import ConfigurationError
from tidegate.kafka_security import connection_options
from tidegate.settings import KafkaSettings, Settings, load


def test_without_settings_nothing_but_the_addresses_is_said() -> None:
    """A plain connection needs no more."""
    assert connection_options(KafkaSettings(bootstrap="a:1")) == {"bootstrap_servers": "a:1"}


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "SASL needs"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "USER": "u"}, "SASL needs"),
        ({"SECURITY_PROTOCOL": "SSL", "CERT_FILE": "/c"}, "mutual TLS needs"),
        ({"CA_FILE": "/ca"}, "not used with PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "TLS"}, "SECURITY_PROTOCOL"),
    ],
)
def test_half_a_configuration_is_refused(variables: dict[str, str], sentence: str) -> None:
    """It would fail in the broker's words, or not be used at all."""
    with pytest.raises(ConfigurationError, match=sentence):
        load(Settings, {f"TIDEGATE_KAFKA__{name}": value for name, value in variables.items()})


@pytest.mark.parametrize(
    "bootstrap",
    ["a", "a:1, b.example:2", "10.0.0.1:9092", "[::1]:9092", "[::1]", "k_1:9", "a:1,", "a:1,, b:2"],
)
def test_the_client_reads_every_address_that_is_taken(bootstrap: str) -> None:
    """It reads them in its constructor, and what it cannot read ends in its words."""
    settings = load(Settings, {"TIDEGATE_KAFKA__BOOTSTRAP": bootstrap}).kafka
    found = collect_hosts(connection_options(settings)["bootstrap_servers"])
    assert all(host and " " not in host and 0 < port < 65536 for host, port, _ in found)


@pytest.mark.parametrize(
    "bootstrap",
    [
        *("", " ", ",", ":9092", "a:", "a:b", "a:0", "a:65536", "a:-1", "a b:1"),
        *("kafka://a:1", "u:p@a:1", "::1", "::1:9092", "[::1", "[a]:1", "[::1]9092", "a;b"),
    ],
)
def test_what_is_no_list_of_brokers_is_refused(bootstrap: str) -> None:
    """Nothing at all would be localhost to the client, and a wrong port its own exception."""
    with pytest.raises(ConfigurationError, match=r"KAFKA__BOOTSTRAP: .*host:port"):
        load(Settings, {"TIDEGATE_KAFKA__BOOTSTRAP": bootstrap})


def test_the_password_is_what_its_file_holds_now(tmp_path: Path) -> None:
    """SCRAM encodes it for every connection."""
    file = tmp_path / "password"
    file.write_text("one\n", "utf-8")
    environment = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "USER": "u", "PASSWORD_FILE": str(file)}
    settings = load(Settings, {f"TIDEGATE_KAFKA__{name}": value for name, value in environment.items()})
    password = connection_options(settings.kafka)["sasl_plain_password"]
    assert password.encode("utf-8") == b"one"
    file.write_text("two\n", "utf-8")
    assert password.encode("utf-8") == b"two"
    file.unlink()
    assert password.encode("utf-8") == b"one", "a file that is gone for a moment does not stop us"


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    """The sentence says which variable and which file."""
    settings = KafkaSettings(security_protocol="SASL_PLAINTEXT", user="u", password_file=tmp_path / "none")
    with pytest.raises(ConfigurationError, match=r"PASSWORD_FILE.*none cannot be read"):
        connection_options(settings)


def test_a_file_without_pem_is_named(tmp_path: Path) -> None:
    """OpenSSL's own words say nothing of the file."""
    (tmp_path / "ca.pem").write_text("not a certificate", "ascii")
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        connection_options(KafkaSettings(security_protocol="SSL", ca_file=tmp_path / "ca.pem"))


def test_names_and_authorities_are_always_checked() -> None:
    """There is no setting that trusts everybody."""
    context = connection_options(KafkaSettings(security_protocol="SSL"))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
