"""The roles of `tidegate topics acls` on a real broker: users with rights, and processes that have them."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from support.cli import environment as plain_environment
from support.kafka_secured import SecuredKafka, environment
from tidegate.settings import KafkaSettings
from tidegate.topic_access import ROLES, commands
from tidegate_cli.stack.ports import PortPool

SERVICES = ("fetcher", "solver", "storer")
_PATIENCE_S = 30.0
_RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}


def granted_by_commands(lines: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (principal, resource, name, operation) as kafka-acls would read the lines."""
    for line in lines:
        if line.startswith("#"):
            continue
        given = list(pairwise(shlex.split(line)))
        (who,) = [value for key, value in given if key == "--allow-principal"]
        for resource in _RESOURCES:
            for name in [value for key, value in given if key == f"--{resource}"]:
                for operation in [value for key, value in given if key == "--operation"]:
                    yield who, resource, name, operation


def make_roles(kafka: SecuredKafka, prefix: str) -> None:
    """Make a user for each role, with the rights that the printed commands give it and no others."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    secret = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    users: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(user(role.name), secret, _password(role.name)) for role in ROLES
    ]
    lines = commands(prefix=prefix, bootstrap=kafka.bootstrap, principal="User:tidegate-{role}")
    bindings = [
        AclBinding(
            _RESOURCES[resource],
            name,
            ResourcePatternType.LITERAL,
            who,
            "*",
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for who, resource, name, operation in granted_by_commands(lines)
    ]
    for done in (*admin.alter_user_scram_credentials(users).values(), *admin.create_acls(bindings).values()):
        done.result(timeout=_PATIENCE_S)


def user(role: str) -> str:
    """Return how a role is called on the broker."""
    return f"tidegate-{role}"


def as_role(kafka: SecuredKafka, role: str, folder: Path, prefix: str) -> KafkaSettings:
    """Return the settings of one role."""
    file = folder / f"{role}.password"
    file.write_bytes(_password(role))
    return kafka.as_user(user(role), file, prefix, partitions=2)


@contextmanager
def services(
    kafka: SecuredKafka, folder: Path, prefix: str, settings: Mapping[str, str]
) -> Iterator[dict[str, Popen[bytes]]]:
    """Run one process of each service with the rights of its role; logs are in the folder."""
    ports = PortPool()
    with ExitStack() as stack:
        running = {}
        for service in SERVICES:
            mine = environment(as_role(kafka, service, folder, prefix))
            health = {"TIDEGATE_HEALTH__HOST": "127.0.0.1", "TIDEGATE_HEALTH__PORT": str(ports.take())}
            log = stack.enter_context((folder / f"{service}.log").open("wb"))
            running[service] = Popen(
                [sys.executable, "-m", f"tidegate_{service}"],
                env=plain_environment({**settings, **mine, **health}),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )
            stack.callback(_end, running[service])
        yield running


def _end(process: Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except TimeoutExpired:
        process.kill()
        process.wait()


def _password(role: str) -> bytes:
    return f"secret-of-the-{role}".encode()
