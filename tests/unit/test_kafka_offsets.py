"""An answer without partitions is an error, whatever the client makes of it."""

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from tidegate.consume.kafka_offsets import group_offsets

FIRST, SECOND = TopicPartition("urls", 0), TopicPartition("urls", 1)


class Admin:
    """Answers as it was told."""

    def __init__(self, answer: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self._answer = answer

    async def list_consumer_group_offsets(
        self, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Answer."""
        return self._answer


@pytest.mark.parametrize("answer", [{}, {FIRST: OffsetAndMetadata(7, "")}])
async def test_a_partition_that_is_not_answered_for_is_an_error(
    answer: dict[TopicPartition, OffsetAndMetadata],
) -> None:
    """A coordinator that is loading would else set a group back to the first record there is (C6)."""
    with pytest.raises(GroupCoordinatorNotAvailableError) as raised:
        await group_offsets(Admin(answer), "g", [FIRST, SECOND])
    assert raised.value.retriable


async def test_a_partition_without_a_commit_is_an_answer() -> None:
    """The offset -1 says so."""
    answer = {FIRST: OffsetAndMetadata(7, "x"), SECOND: OffsetAndMetadata(-1, "")}
    assert await group_offsets(Admin(answer), "g", [FIRST, SECOND]) == answer
