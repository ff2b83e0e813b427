"""Creates, checks and mends the declared topics at a broker.

Works against Apache Kafka and the embedded broker, which differ here: the embedded one makes a topic (of
four partitions) whenever a client so much as asks for its metadata, so existing topics are only ever
found by listing all of them; it names only the settings that were given at creation; and it cannot alter
them. aiokafka has no incremental alteration: the request replaces all of a topic's own settings, so
mending sends those that others have set along with ours.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from tidegate.clock import Clock, SystemClock
from tidegate.errors import BrokerError, ConfigurationError
from tidegate.kafka_security import connection_options
from tidegate.settings import KafkaSettings, Settings
from tidegate.topic_plan import (
    FoundTopic,
    TopicAction,
    TopicResult,
    differences,
    equal_count,
    mendable,
    partitions_for_new,
)
from tidegate.topics import TopicSpec, declare

_Admin: TypeAlias = Any  # aiokafka's admin client is without types

_TIMEOUT_S = 30.0
_POLL_S = 0.05
_OVERRIDE = 1  # config_source DYNAMIC_TOPIC_CONFIG: set on the topic itself, by us or by an operator


async def apply_topics(
    settings: Settings, *, mend: bool = False, clock: Clock | None = None
) -> tuple[TopicResult, ...]:
    """Create the topics that are missing and compare the others with their declaration.

    Safe to run again and beside another run. With ``mend``, settings that differ are altered where the
    broker can; partition and replica counts never are. Returns one result for each declared topic, in
    the order of the declaration, when every partition has a leader.

    Raises:
        ConfigurationError: existing site-keyed topics have unequal partition counts (S2), or the
            settings contradict each other.
        BrokerError: the broker cannot be reached, or refused.
    """
    kafka = settings.kafka
    if kafka.min_insync_replicas > kafka.replication:
        message = (
            f"TIDEGATE_KAFKA__MIN_INSYNC_REPLICAS={kafka.min_insync_replicas} is more than "
            f"TIDEGATE_KAFKA__REPLICATION={kafka.replication}: nothing could be produced."
        )
        raise ConfigurationError(message)
    specs = declare(kafka.outage_days)
    time = clock or SystemClock()
    async with _administering(kafka) as admin:
        found = await _describe(admin, [kafka.prefix + spec.topic for spec in specs])
        missing = tuple(spec for spec in specs if kafka.prefix + spec.topic not in found)
        count = partitions_for_new(specs, found, kafka)
        created = await _create(admin, missing, count, kafka)
        if missing:
            await _settle(admin, {kafka.prefix + spec.topic for spec in missing}, time)
        # What another run made in the meantime is checked like any other topic.
        raced = [name for name in (kafka.prefix + spec.topic for spec in missing) if name not in created]
        found |= await _describe_all(admin, raced, time)
        results = []
        for spec in specs:
            name = kafka.prefix + spec.topic
            if name in created:
                results.append(TopicResult(name=name, action=TopicAction.CREATED))
            else:
                results.append(await _check(admin, spec, name, found[name], kafka, mend=mend))
        if mend:
            await _settle_settings(admin, tuple(results), time)
        equal_count(_counts(specs, kafka, {**found, **dict.fromkeys(created, count)}))
    return tuple(results)


async def check_topics(settings: Settings) -> tuple[TopicResult, ...]:
    """Compare the topics with their declaration and change nothing; in the order of the declaration.

    Raises:
        ConfigurationError: existing site-keyed topics have unequal partition counts (S2).
        BrokerError: the broker cannot be reached, or refused.
    """
    kafka = settings.kafka
    specs = declare(kafka.outage_days)
    results = []
    async with _administering(kafka) as admin:
        found = await _describe(admin, [kafka.prefix + spec.topic for spec in specs])
        for spec in specs:
            name = kafka.prefix + spec.topic
            if name in found:
                results.append(await _check(admin, spec, name, found[name], kafka, mend=False))
            else:
                results.append(TopicResult(name=name, action=TopicAction.MISSING))
    there = tuple(spec for spec in specs if kafka.prefix + spec.topic in found)
    if there:
        equal_count(_counts(there, kafka, found))
    return tuple(results)


async def site_partitions(settings: Settings) -> int:
    """Return the partition count of the site-keyed topics, for a service's start (S2).

    Raises ConfigurationError when a topic is missing or the counts differ.
    """
    kafka = settings.kafka
    specs = declare(kafka.outage_days)
    async with _administering(kafka) as admin:
        metadata = await _metadata(admin)
    counts = {name: len(each["partitions"]) for name, each in metadata.items()}
    missing = sorted(kafka.prefix + spec.topic for spec in specs if kafka.prefix + spec.topic not in counts)
    if missing:
        raise ConfigurationError(f"topics are missing: {', '.join(missing)}; run `tidegate topics apply`")
    return equal_count(_counts(specs, kafka, counts))


async def retention_ms(settings: Settings) -> dict[str, int]:
    """Return how long each declared topic keeps its records, by its logical name; -1 is for ever.

    What the broker says counts; where it does not say, what is declared. Raises BrokerError.
    """
    kafka = settings.kafka
    specs = declare(kafka.outage_days)
    async with _administering(kafka) as admin:
        found = await _describe(admin, [kafka.prefix + spec.topic for spec in specs])
    kept = {}
    for spec in specs:
        topic = found.get(kafka.prefix + spec.topic)
        said = "" if topic is None else topic.config.get("retention.ms", "")
        kept[str(spec.topic)] = int(said) if said.lstrip("-").isdecimal() else spec.retention_ms
    return kept


@asynccontextmanager
async def _administering(kafka: KafkaSettings) -> AsyncIterator[_Admin]:
    admin: _Admin = AIOKafkaAdminClient(
        **connection_options(kafka), request_timeout_ms=int(_TIMEOUT_S * 1000)
    )
    try:
        await admin.start()
        yield admin
    except KafkaError as error:
        raise BrokerError(f"Kafka at {kafka.bootstrap}: {error or type(error).__name__}") from error
    finally:
        await admin.close()


def _counts(
    specs: tuple[TopicSpec, ...], kafka: KafkaSettings, found: Mapping[str, FoundTopic | int]
) -> dict[str, int]:
    names = (kafka.prefix + spec.topic for spec in specs if spec.site_keyed)
    pairs = ((name, found[name]) for name in names)
    return {name: each if isinstance(each, int) else each.partitions for name, each in pairs}


async def cluster(admin: Any) -> dict[str, Any]:
    """Return Kafka's metadata, with the lists ``brokers`` and ``topics``, as an admin client reads it.

    All topics are listed: asking for a name would make it on the embedded broker.
    """
    response = await admin._get_cluster_metadata(None)  # noqa: SLF001 -- the public calls need names
    listed: dict[str, Any] = response.to_object()
    return listed


async def _metadata(admin: _Admin) -> dict[str, Any]:
    """Describe every topic there is, by name."""
    return {each["topic"]: each for each in (await cluster(admin))["topics"]}


async def _describe(admin: _Admin, names: list[str]) -> dict[str, FoundTopic]:
    metadata = await _metadata(admin)
    present = [name for name in names if name in metadata]
    if not present:
        return {}
    resources = [_topic_resource(name) for name in present]
    entries: dict[str, list[Any]] = {}
    for response in await admin.describe_configs(resources):
        for code, text, _kind, name, listed in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                continue  # another node answered this request, and does not know the topic yet
            if code:
                raise BrokerError(f"the settings of topic {name} cannot be read: {text}")
            entries[name] = listed
    return {
        name: FoundTopic(
            partitions=len(metadata[name]["partitions"]),
            replication=min((len(each["replicas"]) for each in metadata[name]["partitions"]), default=0),
            config={entry[0]: entry[1] for entry in entries[name]},
            overrides={entry[0]: entry[1] for entry in entries[name] if entry[3] == _OVERRIDE},
        )
        for name in present
        if name in entries
    }


async def _describe_all(admin: _Admin, names: list[str], clock: Clock) -> dict[str, FoundTopic]:
    """Describe topics that are known to exist: wait until the node that answers has learnt of them."""
    deadline = clock.monotonic() + _TIMEOUT_S
    found: dict[str, FoundTopic] = {}
    while missing := [name for name in names if name not in found]:
        found |= await _describe(admin, missing)
        if clock.monotonic() > deadline:
            raise BrokerError(f"after {_TIMEOUT_S:.0f} s still not described: {', '.join(missing)}")
        if len(found) < len(names):
            await clock.sleep(_POLL_S)
    return found


async def _create(
    admin: _Admin, specs: tuple[TopicSpec, ...], partitions: int, kafka: KafkaSettings
) -> set[str]:
    """Create topics; return the names of those that this call made."""
    if not specs:
        return set()
    response = await admin.create_topics(
        [
            NewTopic(
                kafka.prefix + spec.topic,
                partitions if spec.site_keyed else 1,
                kafka.replication,
                topic_configs=spec.config(min_insync_replicas=kafka.min_insync_replicas),
            )
            for spec in specs
        ]
    )
    created = set()
    for name, code, text in response.topic_errors:
        if not code:
            created.add(name)
        elif code != TopicAlreadyExistsError.errno:
            raise BrokerError(f"topic {name} was refused: {text or for_code(code).__name__}")
    return created


async def _settle(admin: _Admin, names: set[str], clock: Clock) -> None:
    """Wait until each partition of these topics has a leader, so that the first produce finds one."""
    deadline = clock.monotonic() + _TIMEOUT_S
    while True:
        metadata = await _metadata(admin)
        waiting = sorted(
            name
            for name in names
            if name not in metadata or any(each["leader"] < 0 for each in metadata[name]["partitions"])
        )
        if not waiting:
            return
        if clock.monotonic() > deadline:
            raise BrokerError(f"after {_TIMEOUT_S:.0f} s no leader for: {', '.join(waiting)}")
        await clock.sleep(_POLL_S)


async def _settle_settings(admin: _Admin, results: tuple[TopicResult, ...], clock: Clock) -> None:
    """Wait until the brokers show what was altered: they learn it from the controller a moment later."""
    mended = {each.name: each.mended for each in results if each.mended}
    deadline = clock.monotonic() + _TIMEOUT_S
    while mended:
        found = await _describe_all(admin, list(mended), clock)
        mended = {
            name: altered
            for name, altered in mended.items()
            if any(found[name].config.get(each.setting) != each.wanted for each in altered)
        }
        if mended and clock.monotonic() > deadline:
            raise BrokerError(f"after {_TIMEOUT_S:.0f} s still not altered: {', '.join(sorted(mended))}")
        await clock.sleep(_POLL_S)


async def _check(
    admin: _Admin,
    spec: TopicSpec,
    name: str,
    found: FoundTopic,
    kafka: KafkaSettings,
    *,
    mend: bool,
) -> TopicResult:
    different = differences(spec, found, kafka)
    if not different:
        return TopicResult(name=name, action=TopicAction.OK)
    to_mend = mendable(different) if mend else ()
    if not to_mend or not await _alter(admin, name, found, {each.setting: each.wanted for each in to_mend}):
        return TopicResult(name=name, action=TopicAction.DIFFERS, differences=different)
    action = TopicAction.MENDED if to_mend == different else TopicAction.DIFFERS
    return TopicResult(name=name, action=action, differences=different, mended=to_mend)


async def _alter(admin: _Admin, name: str, found: FoundTopic, wanted: Mapping[str, str]) -> bool:
    """Set these settings; False where the broker knows no such request."""
    resource = _topic_resource(name, {**found.overrides, **wanted})
    try:
        responses = await asyncio.wait_for(admin.alter_configs([resource]), _TIMEOUT_S)
    except IncompatibleBrokerVersion:
        return False
    for response in responses:
        for code, text, *_ in response.resources:
            if code:
                raise BrokerError(f"topic {name} was not altered: {text or for_code(code).__name__}")
    return True


def _topic_resource(name: str, config: Mapping[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, config)
