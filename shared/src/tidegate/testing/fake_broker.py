"""A broker in memory: logs, groups, commits and rebalances, for tests of the runtime and of services.

It passes the same contract suite as Kafka does (tests/contract). It keeps what the rules rest on (append
order and time, commits with metadata, eager rebalances by Range) and nothing else.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from tidegate.clock import Clock
from tidegate.consume.offsets import Commit, TopicPartition
from tidegate.consume.service import Ack
from tidegate.consume.transport import Listener, Position
from tidegate.errors import CommitRefusedError, OffsetsLostError, RebalanceError
from tidegate.outcome import Outgoing
from tidegate.records import Inbound
from tidegate.sites import partition_of


class FakeBroker:
    """All topics have ``partitions`` partitions and exist as soon as they are named."""

    def __init__(self, clock: Clock, *, partitions: int = 4) -> None:
        self.clock = clock
        self.partitions = partitions
        self.logs: dict[TopicPartition, list[Inbound]] = defaultdict(list)
        self.first: dict[TopicPartition, int] = defaultdict(int)
        self.commits: dict[str, dict[TopicPartition, Commit]] = defaultdict(dict)
        self.groups: dict[str, list[FakeSource]] = defaultdict(list)
        self.grown = asyncio.Event()

    def append(self, outgoing: Outgoing) -> Ack:
        """Append a record and return its place and append time."""
        partition = outgoing.partition
        if partition is None:
            partition = partition_of(outgoing.site.encode(), self.partitions)
        where = TopicPartition(str(outgoing.topic), partition)
        log = self.logs[where]
        record = Inbound(
            topic=where.topic,
            partition=partition,
            offset=self.first[where] + len(log),
            timestamp_ms=self.clock.wall_ms(),
            key=outgoing.site.encode() if outgoing.key is None else outgoing.key,
            value=outgoing.value or b"",
            headers=dict(outgoing.headers),
        )
        log.append(record)
        self.grown.set()
        return Ack(partition, record.offset, record.timestamp_ms)

    def delete_before(self, where: TopicPartition, offset: int) -> None:
        """Delete records as retention does."""
        gone = offset - self.first[where]
        del self.logs[where][:gone]
        self.first[where] = offset

    def records(self, topic: str) -> list[Inbound]:
        """Return a topic's records, partition after partition."""
        return [record for where in sorted(self.logs) if where.topic == topic for record in self.logs[where]]

    def committed(self, group: str, where: TopicPartition) -> int | None:
        """Return a group's committed offset, None where it never committed."""
        commit = self.commits[group].get(where)
        return None if commit is None else commit.offset

    async def rebalance(self, group: str) -> None:
        """Take everything from every member, then hand it out again by Range."""
        members = list(self.groups[group])
        for member in members:
            await member.take_all_away()
        topics = sorted({topic for member in members for topic in member.topics})
        shares: list[list[TopicPartition]] = [[] for _ in members]
        for topic in topics:
            for number in range(self.partitions):
                shares[number * len(members) // self.partitions].append(TopicPartition(topic, number))
        for member, share in zip(members, shares, strict=True):
            await member.give(share)


class FakeSource:
    """A member of a group at a ``FakeBroker``."""

    def __init__(self, broker: FakeBroker, *, group: str, topics: Iterable[str]) -> None:
        self.broker = broker
        self.group = group
        self.topics = [str(topic) for topic in topics]
        self._listener: Listener | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._assignments = 0
        self.refuse_commits = False
        self.failure: str | None = None
        self.most_records = 10_000

    async def start(self, listener: Listener) -> None:
        """Join the group and rebalance it."""
        self._listener = listener
        self.broker.groups[self.group].append(self)
        await self.broker.rebalance(self.group)

    async def stop(self) -> None:
        """Leave the group; the others share what was ours. Harmless when it is called again."""
        if self not in self.broker.groups[self.group]:
            return
        self.broker.groups[self.group].remove(self)
        self._positions.clear()
        if self.broker.groups[self.group]:
            await self.broker.rebalance(self.group)

    async def take_all_away(self) -> None:
        """Revoke everything, letting the member commit first."""
        assert self._listener is not None
        self._assignments += 1
        await self._listener.on_revoked(list(self._positions))
        self._positions.clear()

    async def give(self, share: Iterable[TopicPartition]) -> None:
        """Assign partitions at their committed position, or at the first record, committed at once.

        With ``failure`` set, as when the broker could not be asked for the position: nobody is told.
        """
        assert self._listener is not None
        if self.failure is not None:
            return
        self._assignments += 1
        positions = {}
        for where in share:
            commit = self.broker.commits[self.group].get(where)
            if commit is None:
                commit = Commit(self.broker.first[where], "")
                self.broker.commits[self.group][where] = commit
            positions[where] = Position(commit.offset, commit.metadata)
            self._positions[where] = commit.offset
        await self._listener.on_assigned(positions)

    def check(self) -> None:
        """Raise the failure that the test has set."""
        if self.failure is not None:
            raise RebalanceError(self.failure)

    async def poll(
        self, partitions: Iterable[TopicPartition], *, max_records: int, timeout_s: float
    ) -> list[Inbound]:
        """Return what there is, or wait for an append."""
        wanted = list(partitions)
        max_records = min(max_records, self.most_records)
        begun = self._assignments
        records = self._read(wanted, max_records)
        if records or timeout_s <= 0:
            await asyncio.sleep(0)  # noqa: TID251 -- a poll always yields, as a real one does
            return records if begun == self._assignments else []
        self.broker.grown.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self.broker.grown.wait()
        except TimeoutError:
            return []
        return self._read(wanted, max_records) if begun == self._assignments else []

    def _read(self, wanted: list[TopicPartition], max_records: int) -> list[Inbound]:
        records: list[Inbound] = []
        for where in wanted:
            position = self._positions.get(where)
            if position is None:
                continue
            first = self.broker.first[where]
            if position < first:
                raise OffsetsLostError({(where.topic, where.partition): (position, first)})
            log = self.broker.logs[where]
            taken = log[position - first : position - first + max_records - len(records)]
            self._positions[where] = position + len(taken)
            records += taken
        return records

    async def commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Commit, unless the test refuses or the partition is not ours."""
        if self.refuse_commits or not commits.keys() <= self._positions.keys():
            raise CommitRefusedError("refused")
        self.broker.commits[self.group].update(commits)


class FakeSink:
    """Produces to a ``FakeBroker``. ``gate`` can be cleared to hold acknowledgements back."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self.gate = asyncio.Event()
        self.gate.set()
        self.sent: list[Outgoing] = []

    async def send(self, record: Outgoing) -> Ack:
        """Append at once, acknowledge when the gate is open: the broker has it, we do not know yet."""
        self.sent.append(msgspec.structs.replace(record))
        ack = self._broker.append(record)
        await self.gate.wait()
        return ack

    async def send_batch(self, records: Sequence[Outgoing]) -> None:
        """Append all at once, acknowledge when the gate is open."""
        for record in records:
            self.sent.append(msgspec.structs.replace(record))
            self._broker.append(record)
        await self.gate.wait()


class FakeReader:
    """Reads partitions of a ``FakeBroker`` as journals are read."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    async def read(self, topic: str, partition: int) -> AsyncIterator[Inbound]:
        """Yield what is there at the call."""
        for record in list(self._broker.logs[TopicPartition(str(topic), partition)]):
            yield record

    async def tails(self, topics: Sequence[str], partition: int, last: int) -> AsyncIterator[Inbound]:
        """Yield the last records of each at the call."""
        for topic in topics:
            for record in self._broker.logs[TopicPartition(str(topic), partition)][-last:]:
                yield record

    async def follow(
        self, topic: str, partition: int, offset: int
    ) -> AsyncGenerator[Sequence[Inbound], None]:
        """Yield what there is from the offset on, then whatever is appended."""
        where = TopicPartition(str(topic), partition)
        while True:
            first = self._broker.first[where]
            if first > offset:
                raise OffsetsLostError({(str(topic), partition): (offset, first)})
            batch = self._broker.logs[where][offset - first :]
            offset += len(batch)
            if not batch:
                self._broker.grown.clear()
                await self._broker.grown.wait()
            yield batch
