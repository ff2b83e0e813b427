"""What the broker has against what is declared: pure comparison, typed results.

Partition counts are special (S2): all site-keyed topics must have one count, or a site's records on
different topics would belong to different members. So a topic that is missing is made with the count
that the others have, whatever the setting says, and the setting's difference is reported.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from tidegate.errors import ConfigurationError
from tidegate.settings import KafkaSettings
from tidegate.topics import TopicSpec


class TopicAction(StrEnum):
    """What became of a topic."""

    CREATED = "created"
    OK = "ok"
    DIFFERS = "differs"
    MENDED = "mended"
    MISSING = "missing"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a topic that is not as declared; ``found`` None where the broker does not say."""

    setting: str
    found: str | None
    wanted: str


class TopicResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and done, for one topic; ``name`` carries the installation's prefix.

    ``differences`` are what was found; under ``MENDED`` those that were put right are in ``mended``.
    """

    name: str
    action: TopicAction
    differences: tuple[Difference, ...] = ()
    mended: tuple[Difference, ...] = ()


class FoundTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the broker describes it.

    ``config`` are the values that it names, ``overrides`` those that were set on the topic itself.
    """

    partitions: int
    replication: int
    config: Mapping[str, str] = {}
    overrides: Mapping[str, str] = {}


_IN_SYNC = "min.insync.replicas"
# Partition counts and replicas are never changed by us: the first moves sites, the second moves data.
_STRUCTURAL = frozenset({"partitions", "replication"})


def mendable(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """Return those differences that altering the topic's settings can put right."""
    return tuple(each for each in differences if each.setting not in _STRUCTURAL)


def differences(spec: TopicSpec, found: FoundTopic, kafka: KafkaSettings) -> tuple[Difference, ...]:
    """Compare one topic with its declaration.

    A setting that the broker does not name counts as different: what cannot be seen is not relied on. More
    replicas than declared, and more of them in sync, are no difference: whoever mends topics with a value of
    their own would take safety away from all of them.
    """
    result = []
    partitions = kafka.partitions if spec.site_keyed else 1
    if found.partitions != partitions:
        result.append(_difference("partitions", found.partitions, partitions))
    if found.replication < kafka.replication:
        result.append(_difference("replication", found.replication, kafka.replication))
    for setting, wanted in spec.config(min_insync_replicas=kafka.min_insync_replicas).items():
        value = found.config.get(setting)
        if value != wanted and not (setting == _IN_SYNC and _is_safer(value, wanted, found.replication)):
            result.append(Difference(setting=setting, found=value, wanted=wanted))
    return tuple(result)


def _is_safer(value: str | None, wanted: str, replication: int) -> bool:
    """Say whether more replicas must be in sync than declared, and not more than there are."""
    return value is not None and value.isdecimal() and int(wanted) <= int(value) <= replication


def partitions_for_new(
    specs: tuple[TopicSpec, ...], found: Mapping[str, FoundTopic], kafka: KafkaSettings
) -> int:
    """Return the partition count for topics that are still to be made (S2).

    Raises ConfigurationError when the existing site-keyed topics disagree among themselves.
    """
    counts = {
        name: found[name].partitions
        for name in (kafka.prefix + spec.topic for spec in specs if spec.site_keyed)
        if name in found
    }
    return kafka.partitions if not counts else equal_count(counts)


def equal_count(counts: Mapping[str, int]) -> int:
    """Return the one partition count of all these topics; ConfigurationError when they differ (S2)."""
    if len(set(counts.values())) != 1:
        listing = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        message = (
            "These topics must have equal partition counts, or a site's records would belong to different "
            f"members: {listing}. Make the smaller ones larger (kafka-topics --alter --partitions)."
        )
        raise ConfigurationError(message)
    return next(iter(counts.values()))


def _difference(setting: str, found: int, wanted: int) -> Difference:
    return Difference(setting=setting, found=str(found), wanted=str(wanted))
