"""Jobs that are answered at once: they take no slot, and what becomes of them is produced in batches.

A site that may be asked once a second may have a million jobs. Nearly all of them are only sent away again
(delivery.md T3), and the partition that they stand in goes no faster than that is done. So a service may
answer such a record while it is handed out (``service.Sifting``). It is in hand like any other, counted in
number and in bytes; it only needs no task, no slot, and no acknowledgement of its own: the broker takes
hundreds at a time, and when it has acknowledged all of them their offsets are finished, not before (C5).

One batch of a partition is on its way at a time, so its jobs keep their order.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tidegate.consume.handling import AtOnce, Handling
from tidegate.consume.intake import Intake
from tidegate.consume.lanes import Entry
from tidegate.consume.offsets import TopicPartition

# In hand at a time, over all partitions. Beyond that a record takes a slot as ever. One partition alone never
# gets there: it is held back by what its commit has room for, whichever of them is done first.
MOST = 4096


class _Passed(NamedTuple):
    entry: Entry
    answer: AtOnce


class Passing:
    """What was answered at once and is on its way to the broker, by partition."""

    def __init__(self, handling: Handling[Any], intake: Intake, finish: Callable[[Entry], None]) -> None:
        self._handling = handling
        self._intake = intake
        self._finish = finish
        self._waiting: dict[TopicPartition, list[_Passed]] = {}
        self._on_the_way: dict[TopicPartition, list[_Passed]] = {}
        # The last of each partition that needs its handler: nobody is asked twice while it waits. By epoch
        # and offset, since the record itself may be large.
        self._refused: dict[TopicPartition, tuple[int, int]] = {}

    def take(self, entry: Entry, *, has_slot: bool) -> bool:
        """Take a record, and give back its slot if it has one; False where it needs its handler."""
        if not self._handling.may_sift or self._intake.passed >= MOST:
            return False
        place = (entry.epoch, entry.record.offset)
        if self._refused.get(entry.partition) == place:
            return False
        answer = self._handling.at_once(entry.record)
        if answer is None:
            self._refused[entry.partition] = place
            return False
        if has_slot:
            self._intake.passed_on(entry)
        else:
            self._intake.passed_by(entry)
        self._waiting.setdefault(entry.partition, []).append(_Passed(entry, answer))
        return True

    def count(self, partition: TopicPartition) -> int:
        """Return how many of a partition are in hand."""
        return len(self._waiting.get(partition, ())) + len(self._on_the_way.get(partition, ()))

    def oldest(self, partition: TopicPartition) -> Entry:
        """Return the first record of a partition that waits to be sent."""
        return self._waiting[partition][0].entry

    def waits(self, partition: TopicPartition) -> bool:
        """Say whether anything of a partition is to be sent."""
        return partition in self._waiting

    async def send(self, partition: TopicPartition) -> None:
        """Produce all that waits in a partition; it is finished once the broker has all of it."""
        batch = self._on_the_way[partition] = self._waiting.pop(partition)
        await self._handling.produce_all([passed.answer for passed in batch])
        del self._on_the_way[partition]
        for passed in batch:
            self._finish(passed.entry)
            self._intake.passed_done(passed.entry)

    def drop(self, partition: TopicPartition) -> None:
        """Forget what is still in hand of a partition: it is not finished, and so it is redone."""
        for left in (self._on_the_way.pop(partition, ()), self._waiting.pop(partition, ())):
            for passed in left:
                self._intake.passed_done(passed.entry)
