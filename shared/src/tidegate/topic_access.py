"""Who may do what with which topic and group: one table from which the brokers' access rules are made. Pure.

What: for each role the topics that it reads and writes and the groups whose standing it looks at.
Why so: rules that are kept beside the declaration of the topics cannot forget one; a test holds the table
against what the services consume, another one runs a crawl with these rights and nothing more.

Every role may describe every declared topic: at its start a service compares their partition counts (S2) and
asks how long they are kept. Names of topics say nothing; what is in them, only those read who have to.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError
from tidegate.topics import DELAYS, HELD, LANES, Topic

_ALL = tuple(Topic)
_LANES, _HELD, _DELAYS = tuple(LANES.values()), tuple(HELD.values()), tuple(DELAYS)


class Resource(StrEnum):
    """What a rule is about; the values are those of Strimzi."""

    TOPIC = "topic"
    GROUP = "group"


class Operation(StrEnum):
    """What is allowed, as Kafka's tools and Strimzi call it. Read and Write imply Describe."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One who connects to Kafka.

    ``group`` is its own consumer group, ``watches`` are those whose lag it reads; ``applies`` says that it
    creates and mends topics. ``what`` says who that is.
    """

    name: str
    what: str
    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    group: str | None = None
    watches: tuple[str, ...] = ()
    applies: bool = False


ROLES: tuple[Role, ...] = (
    Role(
        name="fetcher",
        what="the fetcher",
        group="fetcher",
        reads=(
            *_LANES,
            *_HELD,
            *_DELAYS,
            Topic.CAPTCHA_SOLUTIONS,
            Topic.SESSIONS,
            Topic.RUNS,
            Topic.SITE_HEALTH,
        ),
        writes=(
            *_LANES,
            *_HELD,
            *_DELAYS,
            Topic.CAPTCHA_REQUESTS,
            Topic.CAPTCHA_VERDICTS,
            Topic.SESSIONS,
            Topic.PAGES,
            Topic.DEAD_LETTER,
            Topic.STATS,
        ),
        # The gate: how far those downstream are behind.
        watches=("solver", "storer"),
    ),
    Role(
        name="solver",
        what="the solver",
        group="solver",
        # Solutions for the age of those that nobody has read (ADR 0015).
        reads=(
            Topic.CAPTCHA_REQUESTS,
            Topic.CAPTCHA_VERDICTS,
            Topic.CAPTCHA_TASKS,
            Topic.CAPTCHA_SOLUTIONS,
            Topic.BUDGET,
            Topic.BUDGET_SNAPSHOTS,
        ),
        writes=(
            Topic.CAPTCHA_SOLUTIONS,
            Topic.CAPTCHA_TASKS,
            Topic.BUDGET,
            Topic.BUDGET_SNAPSHOTS,
            Topic.SOLVES,
            Topic.DEAD_LETTER,
            Topic.STATS,
        ),
        watches=("fetcher",),
    ),
    Role(
        name="storer",
        what="the storer",
        group="storer",
        reads=(Topic.PAGES, Topic.SOLVES, Topic.DEAD_LETTER),
        writes=(Topic.DEAD_LETTER, Topic.STATS),
    ),
    Role(
        name="monitor",
        what="the monitor",
        reads=(Topic.STATS, Topic.ALERTS),
        writes=(Topic.SITE_HEALTH, Topic.ALERTS, Topic.STATS),
        watches=("fetcher", "solver", "storer"),
    ),
    Role(name="deployer", what="`tidegate topics apply`, the chart's hook", applies=True),
    Role(
        name="operator",
        what="a person with the command line: runs, budgets, dead letters, jobs",
        reads=_ALL,
        writes=(*_LANES, Topic.PAGES, Topic.RUNS, Topic.BUDGET, Topic.STATS),
        watches=("fetcher", "solver", "storer"),
        applies=True,
    ),
    Role(name="producer", what="whoever submits URLs", writes=_LANES),
    Role(name="autoscaler", what="KEDA, which reads the lag", watches=("fetcher", "solver", "storer")),
)


class Rule(msgspec.Struct, frozen=True, order=True):
    """These operations on one resource, by its full name. There are no wildcards."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]


def rules(role: Role, prefix: str = "") -> Iterator[Rule]:
    """Yield a role's rules, topics in the order of their declaration, then groups."""
    for topic in Topic:
        if operations := _on_topic(role, topic):
            yield Rule(Resource.TOPIC, prefix + topic, operations)
    if role.group is not None:
        yield Rule(Resource.GROUP, prefix + role.group, (Operation.READ,))
    for group in role.watches:
        yield Rule(Resource.GROUP, prefix + group, (Operation.DESCRIBE,))


def _on_topic(role: Role, topic: Topic) -> tuple[Operation, ...]:
    # Who only submits needs to know of the lanes, and of nothing else.
    if role.name == "producer":
        return (Operation.WRITE,) if topic in role.writes else ()
    found = [Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS]
    if topic in role.reads:
        found.append(Operation.READ)
    if topic in role.writes:
        found.append(Operation.WRITE)
    if role.applies:
        found += [Operation.CREATE, Operation.ALTER_CONFIGS]
    return tuple(found)


def commands(*, prefix: str, bootstrap: str, principal: str, config: str | None = None) -> list[str]:
    """Return ``kafka-acls`` commands; ``principal`` holds ``{role}``. Equal rights share a command.

    Raises ConfigurationError where ``principal`` has other braces: a misspelt role would name nobody.
    """
    if set("{}") & set(principal.replace("{role}", "")):
        raise ConfigurationError(f"the principal {principal!r} may have {{role}} in braces and nothing else")
    base = f"kafka-acls.sh --bootstrap-server {bootstrap}" + (f" --command-config {config}" if config else "")
    lines = []
    for role in ROLES:
        who = principal.replace("{role}", role.name)
        lines.append(f"# {role.name}: {role.what}")
        shared: dict[tuple[Resource, tuple[Operation, ...]], list[str]] = {}
        for rule in rules(role, prefix):
            shared.setdefault((rule.resource, rule.operations), []).append(rule.name)
        for (resource, operations), names in shared.items():
            parts = [base, f"--add --allow-principal '{who}'"]
            parts += [f"--operation {operation}" for operation in operations]
            parts += [f"--{resource} {name}" for name in names]
            lines.append(" ".join(parts))
    return lines


def users(*, prefix: str, cluster: str, namespace: str | None = None) -> list[dict[str, object]]:
    """Return Strimzi's KafkaUser resources, one for each role, with SCRAM and simple authorization."""
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1beta2",
            "kind": "KafkaUser",
            "metadata": {
                "name": f"tidegate-{role.name}",
                **({"namespace": namespace} if namespace else {}),
                "labels": {"strimzi.io/cluster": cluster},
            },
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {"type": "simple", "acls": [_acl(rule) for rule in rules(role, prefix)]},
            },
        }
        for role in ROLES
    ]


def _acl(rule: Rule) -> dict[str, object]:
    return {
        "resource": {"type": str(rule.resource), "name": rule.name, "patternType": "literal"},
        "operations": [str(operation) for operation in rule.operations],
    }
