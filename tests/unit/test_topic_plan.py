"""What is compared between the declaration of the topics and a broker."""

import pytest
from tidegate.errors import ConfigurationError
from tidegate.settings import KafkaSettings
from tidegate.topic_plan import Difference, FoundTopic, differences, equal_count, mendable, partitions_for_new
from tidegate.topics import Topic, declare

KAFKA = KafkaSettings(partitions=6, replication=3, min_insync_replicas=2, prefix="p-")
SPEC = next(spec for spec in declare() if spec.topic is Topic.PAGES)


def found(**changes: str) -> FoundTopic:
    """Return a topic exactly as declared, but for some settings."""
    return FoundTopic(partitions=6, replication=3, config={**SPEC.config(min_insync_replicas=2), **changes})


def test_a_topic_as_declared_has_no_differences() -> None:
    """What was created from the declaration passes its check, whatever else the broker names."""
    assert differences(SPEC, found(**{"segment.bytes": "1"}), KAFKA) == ()


def test_a_setting_that_differs_is_named_with_both_values() -> None:
    """A person can read what is wrong."""
    wrong = differences(SPEC, found(**{"unclean.leader.election.enable": "true"}), KAFKA)
    assert wrong == (Difference(setting="unclean.leader.election.enable", found="true", wanted="false"),)


def test_a_setting_that_the_broker_does_not_name_counts_as_different() -> None:
    """What cannot be seen is not relied on (C6)."""
    bare = FoundTopic(partitions=6, replication=3)
    wrong = {each.setting: each.found for each in differences(SPEC, bare, KAFKA)}
    assert wrong["min.insync.replicas"] is None
    assert set(wrong) == set(SPEC.config(min_insync_replicas=2))


def test_structure_is_reported_but_never_mended() -> None:
    """Growing partitions moves sites and more replicas move data, so a person must do it (S2)."""
    odd = FoundTopic(partitions=4, replication=1, config=found().config)
    wrong = differences(SPEC, odd, KAFKA)
    assert [each.setting for each in wrong] == ["partitions", "replication"]
    assert mendable(wrong) == ()


def test_more_replicas_than_asked_for_are_no_difference() -> None:
    """More safety than declared is not a fault."""
    assert differences(SPEC, FoundTopic(partitions=6, replication=5, config=found().config), KAFKA) == ()


def test_mending_never_lowers_how_many_replicas_must_be_in_sync() -> None:
    """A shell that only names brokers declares one, and the installation has two (S1)."""
    lone = KafkaSettings(partitions=6)
    assert differences(SPEC, found(), lone) == ()
    impossible = FoundTopic(
        partitions=6, replication=1, config={**SPEC.config(min_insync_replicas=1), "min.insync.replicas": "2"}
    )
    assert [each.wanted for each in mendable(differences(SPEC, impossible, lone))] == ["1"]


def test_missing_topics_take_the_partition_count_of_the_existing_ones() -> None:
    """Equal counts matter more than the setting (S2)."""
    existing = {"p-urls": FoundTopic(partitions=24, replication=3)}
    assert partitions_for_new(declare(), existing, KAFKA) == 24
    assert partitions_for_new(declare(), {}, KAFKA) == 6


def test_unequal_partition_counts_are_refused_by_name() -> None:
    """The message says which topics disagree (S2)."""
    with pytest.raises(ConfigurationError, match=r"pages 3, urls 6"):
        equal_count({"urls": 6, "pages": 3})
