"""Settings at the edge: environment variables in, validated objects out.

Variables are ``TIDEGATE_<SECTION>__<FIELD>``; a file given by ``TIDEGATE_<SECTION>__<FIELD>_FILE`` may hold
a secret instead. A variable with our prefix that nobody reads is an error, because a misspelt setting
must not pass in silence. Each service adds a section of its own and ignores those of the others.
"""

import json
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from tidegate.addresses import brokers, clickhouse_address
from tidegate.errors import ConfigurationError

PREFIX = "TIDEGATE_"
SECTIONS = (
    "kafka",
    "clickhouse",
    "telemetry",
    "health",
    "runtime",
    "retries",
    "fetcher",
    "solver",
    "storer",
    "monitor",
)

S = TypeVar("S", bound="Settings")


def listed(value: Any) -> Any:
    """Read a list from the environment: JSON, or items between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def from_json(value: Any) -> Any:
    """Let an environment variable carry a JSON object; empty text means none. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except ValueError as error:
        message = f"not a JSON object: {error}"
        raise ValueError(message) from error


class Section(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Section):
    """Where Kafka is and how this installation uses it."""

    bootstrap: str = Field(
        "127.0.0.1:9092",
        description="Brokers as host:port, comma-separated, IPv6 addresses in brackets; without a port 9092.",
    )
    prefix: str = Field("", description="Put before every topic and group, to share a cluster.")
    partitions: int = Field(
        12, ge=1, le=1000, description="Partitions of a new site-keyed topic; equal for all of them."
    )
    replication: int = Field(1, ge=1, le=9, description="Replicas of a new topic; 3 in production.")
    min_insync_replicas: int = Field(
        1, ge=1, description="Replicas that must have a record; 2 in production."
    )
    idempotent: bool = Field(
        True, description="Idempotent producer; off only for the embedded broker, which lacks it."
    )
    session_timeout_s: float = Field(
        10.0, ge=0.5, le=300, description="Silence after which the broker gives our partitions away."
    )
    outage_days: int = Field(
        14, ge=1, description="Longest declared outage, in days: the retention of custody topics."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to connect, in Kafka's own words; SASL_SSL in production."
    )
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="How the password is proved with SASL."
    )
    user: str = Field("", description="User name for SASL.")
    password: SecretStr = Field(SecretStr(""), description="Password for SASL; better given as a file.")
    password_file: Path | None = Field(
        None,
        description="File with the password. With SCRAM it is read anew for each connection, so that a new "
        "password needs no restart.",
    )
    ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust; empty takes the system's."
    )
    cert_file: Path | None = Field(
        None, description="PEM file of our certificate, for mutual TLS; read anew when it has changed."
    )
    key_file: Path | None = Field(None, description="PEM file of the certificate's key, unencrypted.")

    @field_validator("bootstrap")
    @classmethod
    def _brokers(cls, value: str) -> str:
        """Refuse what the client could not read, or would take for localhost."""
        return brokers(value)

    @model_validator(mode="after")
    def _secured(self) -> Self:
        """Refuse half a configuration: it would fail in the broker's words, or not be used at all."""
        sasl, tls = self.security_protocol.startswith("SASL"), self.security_protocol.endswith("SSL")
        if sasl and not (self.user and (self.password_file or self.password.get_secret_value())):
            raise ValueError("SASL needs TIDEGATE_KAFKA__USER and TIDEGATE_KAFKA__PASSWORD_FILE")
        if self.password_file and self.password.get_secret_value():
            raise ValueError("give the password or its file, not both")
        if not tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError(f"certificates are not used with {self.security_protocol}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("mutual TLS needs TIDEGATE_KAFKA__CERT_FILE and TIDEGATE_KAFKA__KEY_FILE")
        return self


class ClickHouseSettings(Section):
    """Where ClickHouse is."""

    url: str = Field(
        "http://127.0.0.1:8123",
        description="http://host:port or https://host:port of the server; without a port 8123, and 8443 with "
        "TLS.",
    )
    user: str = Field("default", description="User name.")
    password: SecretStr = Field(SecretStr(""), description="Password.")
    database: str = Field("tidegate", description="Database; created by `tidegate migrate`.")
    cluster: str | None = Field(
        None, description="Cluster name for replicated tables; empty means a single server."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        """Refuse what is no address, and user and password in it: error messages name the URL."""
        if "@" in value.partition("://")[2]:
            raise ValueError(
                "user and password belong in TIDEGATE_CLICKHOUSE__USER and TIDEGATE_CLICKHOUSE__PASSWORD"
            )
        clickhouse_address(value)
        return value


class TelemetrySettings(Section):
    """Logs, metrics and traces."""

    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level.")
    trace_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of new traces that are sampled, decided at the head."
    )
    trace_link_after_s: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="Seconds that a record may have waited on its topic and still go on in the same trace; "
        "after a longer wait it begins a trace of its own, linked to the old one. What is looked at as one "
        "picture should not last for longer.",
    )
    metrics: Literal["prometheus", "otlp", "off"] = Field(
        "prometheus",
        description="Where metrics go: a page at /metrics of the health port, or to `otlp_endpoint`. Never "
        "both: a Prometheus that is sent them too would count twice.",
    )
    stats: bool = Field(
        True,
        description="Tell the monitor, once a second on the topic `stats`, what happens; without it the live "
        "page and the monitor's alerts are empty.",
    )
    metrics_interval_s: float = Field(
        15.0, ge=1, le=600, description="Seconds between two sendings of metrics over OTLP."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="Address of an OTLP/HTTP collector, such as http://collector:4318, for traces (and for "
        "metrics, if they are to go there); empty means that nothing is sent.",
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        """Refuse metrics over OTLP to nowhere."""
        if self.metrics == "otlp" and not self.otlp_endpoint:
            raise ValueError("metrics over OTLP need TIDEGATE_TELEMETRY__OTLP_ENDPOINT")
        return self


class HealthSettings(Section):
    """The little server that probes ask."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: int = Field(0, ge=0, le=65535, description="Port of /live, /ready and /metrics; 0 means no server.")


class RuntimeSettings(Section):
    """Bounds of the consumer runtime."""

    window: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Records at work at once; as many more may wait for the broker to acknowledge what "
        "became of them. Left out it is the service's own. The fetcher keeps sixteen of them, at most half, "
        "for solutions.",
    )
    window_bytes: int = Field(
        64 << 20, ge=1 << 20, description="Bytes of records in hand at once; one always may."
    )
    drain_deadline_s: float = Field(
        20.0, gt=0, le=600, description="Seconds that work in hand gets at a rebalance or shutdown."
    )
    commit_interval_s: float = Field(0.5, gt=0, description="Seconds between commits.")
    crashes_before_isolation: int = Field(
        3,
        ge=0,
        le=100,
        description="Crashes at one committed offset after which a partition is read one record at a time, "
        "to find the one that kills the service. 0 never does; 3 tells a poison from a node that went away.",
    )
    crashes_alone: int = Field(
        2,
        ge=2,
        le=100,
        description="Crashes with one record in hand and nothing else in the process after which it becomes "
        "a dead letter, `crashed_the_service`. One of them may be a kill from outside.",
    )
    own_faults: int = Field(
        50,
        ge=1,
        le=100_000,
        description="Dead letters for faults of our own (what no handler foresaw, rows that ClickHouse "
        "refused) in a window, for each process. Past it their partitions are held. Bad input never counts.",
    )
    own_faults_window_s: float = Field(
        600.0, gt=0, le=86_400, description="Seconds of that window; it slides."
    )
    hold_pause_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Seconds that a held partition waits before one of its records is tried again; doubled "
        "each time that fails, up to eightfold.",
    )
    stuck_after_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Seconds without progress, beyond what a handler may take, after which a partition with "
        "work in it is said to be stuck.",
    )
    loop_lag_s: float = Field(
        0.5, gt=0, le=60, description="Seconds of delay of the event loop from which on it is told of."
    )
    fetch_bytes: int = Field(512 * 1024, ge=16_384, description="Bytes fetched ahead per partition, at most.")


class RetrySettings(Section):
    """How often a job is tried again, by what went wrong: retries after the first try, and their waits.

    Rounds of challenges are TIDEGATE_FETCHER__MAX_SOLVES_PER_JOB. A job's `max_retries` replaces the number
    of its class. Each wait has up to a second on top, by the job's id.
    """

    network: int = Field(
        3,
        ge=0,
        le=100,
        description="After no answer: time-outs, resets, DNS, TLS, proxies. The first retry is at once, by "
        "another proxy; the next ones wait network_base_s times 1, 4, 16, … seconds.",
    )
    network_base_s: float = Field(
        2.0,
        ge=0,
        le=3600,
        description="Seconds before the second retry of that kind. 2 and 8 s outlast a restart of a site.",
    )
    server_error: int = Field(3, ge=0, le=100, description="After 5xx: server_error_base_s times 1, 2, 4, …")
    server_error_base_s: float = Field(2.0, ge=0, le=3600, description="Seconds before the first of those.")
    rate_limited: int = Field(
        3,
        ge=0,
        le=100,
        description="After 429: the site's Retry-After, or rate_limited_base_s times 1, 2, 4, …",
    )
    rate_limited_base_s: float = Field(
        4.0, ge=0, le=3600, description="Seconds before the first of those, where the site names none."
    )
    blocked: int = Field(2, ge=0, le=100, description="After 403 or a block no solver opens: 2 s, 4 s, …")
    solve_failed: int = Field(
        2, ge=0, le=100, description="After a solve that brought nothing, as a fresh fetch: 2 s, 4 s, …"
    )
    internal: int = Field(3, ge=0, le=100, description="After what no handler foresaw: 2 s, 4 s, …")
    total: int = Field(12, ge=0, le=1000, description="Tries of a job over all classes, after the first.")
    longest_backoff_s: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="Seconds that back-off grows to at most; Retry-After may be longer.",
    )
    longest_wait_s: float = Field(
        86_400.0,
        ge=0,
        le=1_123_200,
        description="Seconds of a Retry-After that are still waited; beyond it the job is a dead letter.",
    )


class Settings(BaseModel):
    """What every service reads; a service adds its own section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kafka: KafkaSettings = KafkaSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    health: HealthSettings = HealthSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    retries: RetrySettings = RetrySettings()


def load(kind: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Read the settings of one service.

    Raises ConfigurationError naming the variable and what it should have been.
    """
    env = os.environ if environment is None else environment
    sections: dict[str, dict[str, Any]] = {}
    for variable in sorted(env):
        if not variable.startswith(PREFIX):
            continue
        section, _, field = variable.removeprefix(PREFIX).lower().partition("__")
        if section not in SECTIONS or not field:
            message = f"{variable} is not a setting of Tidegate (sections: {', '.join(SECTIONS)})"
            raise ConfigurationError(message)
        if section not in kind.model_fields:
            continue
        value = env[variable]
        if field.endswith("_file") and field not in _fields(kind, section):
            field, value = field.removesuffix("_file"), _read(variable, value)
        sections.setdefault(section, {})[field] = value
    try:
        return kind.model_validate(sections)
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'__'.join(str(part) for part in problem['loc'])}".upper() + f": {problem['msg']}"
            for problem in error.errors(include_input=False)
        )
        raise ConfigurationError(problems) from None


def _fields(kind: type[Settings], section: str) -> Container[str]:
    """Return the fields of a section: one that is a file itself keeps the path that it was given."""
    annotation = kind.model_fields[section].annotation
    return annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, Section) else ()


def _read(variable: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- nothing else is needed
            return file.read().strip()
    except OSError as error:
        message = f"{variable}: {path} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
