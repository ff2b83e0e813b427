"""What a group has committed, asked so that an error is never taken for "nothing".

A coordinator that is moving, or still loading, answers with an error for the whole request and no partitions
at all. aiokafka's client looks at the errors of partitions only and returns an empty answer. Whoever takes
that for a group without commits begins at the first record there is, and commits that; whoever computes
a lag of it finds the whole log.
"""

from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata


async def group_offsets(
    admin: Any, group: str, partitions: Iterable[KafkaPartition]
) -> dict[KafkaPartition, OffsetAndMetadata]:
    """Return offset and metadata of every partition asked for; the offset is -1 where nothing is committed.

    ``group`` is its full name, ``admin`` aiokafka's admin client. Raises KafkaError.
    """
    # Partitions are named: without them the embedded broker closes the connection.
    wanted = list(partitions)
    found: dict[KafkaPartition, OffsetAndMetadata]
    found = await admin.list_consumer_group_offsets(group, partitions=wanted)
    if any(partition not in found for partition in wanted):
        raise GroupCoordinatorNotAvailableError(f"no offsets of {group}: its coordinator is not ready")
    return found
