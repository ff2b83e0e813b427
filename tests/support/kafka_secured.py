"""Apache Kafka with the listeners of a production cluster: SASL_SSL with SCRAM, and mutual TLS.

The certificates are made here, by the ``openssl`` command. The plain listener stays, for the node's own
readiness and for a test that changes a password.
"""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from support.kafka import ignore
from tidegate.errors import ConfigurationError
from tidegate.settings import KafkaSettings
from tidegate_cli.stack.broker_kafka import LocalKafka, NodeAddress
from tidegate_cli.stack.ports import HOST, PortPool

USER = "tidegate"
PASSWORD = "first-secret"
SESSION_MS = 8000
_SCRAM = ("scram", "roles")


class Certificates:
    """A certificate authority, and a key and certificate by it for the broker and for a client."""

    def __init__(self, folder: Path) -> None:
        """Make them. Raises ConfigurationError where there is no ``openssl``."""
        if shutil.which("openssl") is None:
            raise ConfigurationError("the openssl command is missing (Debian: apt-get install openssl)")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.authority = folder / "ca.crt"
        self._authority_key = folder / "ca.key"
        self._run(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-authority"),
            *("-keyout", str(self._authority_key), "-out", str(self.authority)),
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return files with a certificate for ``name`` and with its key (PKCS#8, as Kafka wants it)."""
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        request, extension = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName=IP:{HOST},DNS:localhost\n", "ascii")
        self._run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        self._run(
            *("x509", "-req", "-in", str(request), "-days", "2", "-CAcreateserial", "-out", str(certificate)),
            *("-CA", str(self.authority), "-CAkey", str(self._authority_key), "-extfile", str(extension)),
        )
        return certificate, key

    @staticmethod
    def _run(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), check=True, capture_output=True, timeout=60)


class SecuredKafka(LocalKafka):
    """One node with two more listeners; ``scram`` and ``mutual_tls`` are settings for them."""

    _format_options = ("--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]")

    def __init__(self, folder: Path) -> None:
        pool = PortPool()
        super().__init__(folder / "node", emit=ignore, ports=pool)
        self._scram_port, self._tls_port, self._roles_port = pool.take(), pool.take(), pool.take()
        self.certificates = Certificates(folder / "certificates")
        certificate, key = self.certificates.issue("broker")
        self._identity = folder / "certificates" / "broker.pem"
        self._identity.write_bytes(key.read_bytes() + certificate.read_bytes())
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n", "ascii")

    def _properties(self, address: NodeAddress, data: Path) -> dict[str, str]:
        plain = super()._properties(address, data)
        ports = {"SCRAM": self._scram_port, "MUTUAL": self._tls_port, "ROLES": self._roles_port}
        more = ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            **plain,
            "listeners": f"{plain['listeners']},{more}",
            "advertised.listeners": f"{plain['advertised.listeners']},{more}",
            "listener.security.protocol.map": (
                f"{plain['listener.security.protocol.map']},SCRAM:SASL_SSL,MUTUAL:SSL,ROLES:SASL_SSL"
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            **{
                f"listener.name.{name}.sasl.enabled.mechanisms": "SCRAM-SHA-512"
                for name in ("scram", "roles")
            },
            **{f"listener.name.{name}.scram-sha-512.sasl.jaas.config": module for name in _SCRAM},
            # The broker closes sessions of this age: whoever comes back proves its password anew.
            "listener.name.scram.scram-sha-512.connections.max.reauth.ms": str(SESSION_MS),
            "listener.name.mutual.ssl.client.auth": "required",
            # Who was not given a right has none; the nodes and the user of the other tests may do anything.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN=client",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._identity),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
        }

    def scram(self, prefix: str = "", **changes: object) -> KafkaSettings:
        """Return settings for SASL_SSL with SCRAM-SHA-512."""
        settings = {
            "bootstrap": f"{HOST}:{self._scram_port}",
            "prefix": prefix,
            "security_protocol": "SASL_SSL",
            "user": USER,
            "password_file": self.password_file,
            "ca_file": self.certificates.authority,
        }
        return KafkaSettings.model_validate({**settings, **changes})

    def as_user(self, user: str, password_file: Path, prefix: str = "", **changes: object) -> KafkaSettings:
        """Return settings for one of the users with rights of their own; their sessions are not closed."""
        bootstrap = f"{HOST}:{self._roles_port}"
        return self.scram(prefix, bootstrap=bootstrap, user=user, password_file=password_file, **changes)

    def mutual_tls(self, prefix: str = "", **changes: object) -> KafkaSettings:
        """Return settings for mutual TLS."""
        certificate, key = self.certificates.issue("client")
        settings = {
            "bootstrap": f"{HOST}:{self._tls_port}",
            "prefix": prefix,
            "security_protocol": "SSL",
            "ca_file": self.certificates.authority,
            "cert_file": certificate,
            "key_file": key,
        }
        return KafkaSettings.model_validate({**settings, **changes})

    def change_password(self, password: str) -> None:
        """Give the user another password on the broker; the file keeps the old one."""
        credentials = UserScramCredentialUpsertion(
            USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.alter_user_scram_credentials([credentials]).values():
            done.result(timeout=30)


@asynccontextmanager
async def secured_kafka(folder: Path) -> AsyncIterator[SecuredKafka]:
    """Run one node; ConfigurationError where Java, Maven or openssl are missing."""
    kafka = SecuredKafka(folder)
    await kafka.start()
    try:
        yield kafka
    finally:
        await kafka.stop()


def environment(settings: KafkaSettings) -> dict[str, str]:
    """Return the settings as variables, for processes."""
    names = (
        "bootstrap",
        "prefix",
        "security_protocol",
        "user",
        "password_file",
        "ca_file",
        "cert_file",
        "key_file",
    )
    values = {name: getattr(settings, name) for name in names}
    return {f"TIDEGATE_KAFKA__{name.upper()}": str(value) for name, value in values.items() if value}
