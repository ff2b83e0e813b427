"""What a stack is made of: options in, as one frozen value."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

DEFAULT_SERVICES: tuple[tuple[str, int], ...] = (("fetcher", 1), ("solver", 1), ("storer", 1))


class StackOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to start, and where.

    ``data_dir`` is made if it is missing, and locked while the stack runs. ``broker`` is ``embedded``
    (in memory, gone with the stack), ``kafka`` (Apache Kafka started here; needs Java 17 and Maven), or
    ``host:port[,host:port…]`` of brokers that run already. ``clickhouse_url`` None starts the embedded
    endpoint. ``services`` are names with counts: the first of a kind is called by its name, the others
    ``fetcher-2`` and so on.

    ``env`` are further ``TIDEGATE_…`` settings for all services. They win over the stack's own, which
    win over settings in this process's environment. ``partitions`` and ``prefix`` None leave both to
    those. ``demo_port`` and ``simulator_port`` may be chosen beforehand (``ports.PortPool``) where a
    setting must name them; 0 takes a free one.
    ``demo_whole`` gives the services what they need for all of its kinds: a policy, and a proxy through
    which everything then goes; it leads to this machine only. ``start_timeout_s`` is for each process.
    """

    data_dir: Path
    broker: str = "embedded"
    clickhouse_url: str | None = None
    services: tuple[tuple[str, int], ...] = DEFAULT_SERVICES
    env: Mapping[str, str] = {}
    simulator: bool = False
    simulator_port: int = 0
    demo_site: bool = False
    demo_port: int = 0
    demo_whole: bool = False
    partitions: int | None = None
    prefix: str | None = None
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
