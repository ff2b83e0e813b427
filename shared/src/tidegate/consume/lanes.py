"""What waits inside the process, and which record goes next. Pure.

Reserved topics (solutions) come first: their tokens are dying. Then the lanes share the slots as
8 : 4 : 1, so that a flood in one never starves another; a due record of a delay topic takes a slot of
its own lane. What is not due stays at the head of its delay partition and holds up nothing else. Held
topics are lanes of their own: where their records may go, they share their lane's slots with the others.

A partition whose buffer is full is not asked for more until half of it is gone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from tidegate.consume import delays
from tidegate.consume.offsets import TopicPartition
from tidegate.errors import RecordError
from tidegate.records import Inbound, Lane, job_state
from tidegate.topics import DELAYS, HELD, LANES

# One turn of the wheel: 8 high, 4 normal, 1 low, spread out.
_H, _N, _L = Lane.HIGH, Lane.NORMAL, Lane.LOW
_WHEEL = (_H, _N, _H, _H, _N, _H, _L, _H, _N, _H, _H, _N, _H)
# Each place of the wheel: the lanes in the order in which they come from there on, and the place after.
_TURNS = tuple(
    tuple(
        (lane, (turn + (*_WHEEL[turn:], *_WHEEL[:turn]).index(lane) + 1) % len(_WHEEL))
        for lane in dict.fromkeys((*_WHEEL[turn:], *_WHEEL[:turn]))
    )
    for turn in range(len(_WHEEL))
)
_LANE_OF: dict[str, Lane] = {topic: lane for table in (LANES, HELD) for lane, topic in table.items()}
_HELD_TOPICS: frozenset[str] = frozenset(HELD.values())

_MOST_RECORDS = 64
HALF_FULL = _MOST_RECORDS // 2
_MOST_BYTES = 2 << 20  # 64 records of 30 KB; of large ones fewer wait


class Entry(msgspec.Struct, frozen=True):
    """A record that waits for a slot, with the epoch of its assignment and its bytes (``size_of``)."""

    partition: TopicPartition
    epoch: int
    record: Inbound
    size: int


def size_of(record: Inbound) -> int:
    """Return the bytes of a record: the value and the headers', in which a page carries its whole job."""
    headers = record.headers
    return len(record.value) + (sum(map(len, headers.values())) if headers else 0)


class _Head(msgspec.Struct, frozen=True):
    due_ms: int
    lane: Lane


class Buffers:
    """The records fetched and not yet started, by partition."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved_topics = frozenset(reserved)
        self._queues: dict[TopicPartition, deque[Entry]] = {}
        self._bytes: dict[TopicPartition, int] = {}
        self._full: set[TopicPartition] = set()
        self._urgent: deque[TopicPartition] = deque()
        self._ready: dict[Lane, deque[TopicPartition]] = {lane: deque() for lane in Lane}
        self._held: dict[Lane, deque[TopicPartition]] = {lane: deque() for lane in Lane}
        self._held_before = False
        self._waiting: dict[TopicPartition, _Head] = {}
        self._barred: set[TopicPartition] = set()
        self._turn = 0
        self._now_ms = 0

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def size(self, partition: TopicPartition) -> int:
        """How many records of a partition wait."""
        return len(self._queues.get(partition, ()))

    def bytes_of(self, partition: TopicPartition) -> int:
        """How many bytes of records wait in a partition."""
        return self._bytes.get(partition, 0)

    def head(self, partition: TopicPartition) -> Entry | None:
        """Return the record of a partition that waits in front."""
        queue = self._queues.get(partition)
        return queue[0] if queue else None

    def is_full(self, partition: TopicPartition) -> bool:
        """Say whether a partition's buffer is full: from its bounds on until it is half empty."""
        return partition in self._full

    def add(self, partition: TopicPartition, entries: Sequence[Entry]) -> None:
        """Queue records of one partition, in offset order."""
        if not entries:
            return
        queue = self._queues.setdefault(partition, deque())
        was_empty = not queue
        queue.extend(entries)
        self._bytes[partition] = self.bytes_of(partition) + sum(entry.size for entry in entries)
        if len(queue) >= _MOST_RECORDS or self._bytes[partition] >= _MOST_BYTES:
            self._full.add(partition)
        if was_empty:
            self._enlist(partition, queue[0])

    def put_back(self, entry: Entry) -> None:
        """Queue a record again that was taken and is not done: before the others of its partition."""
        partition = entry.partition
        queue = self._queues.setdefault(partition, deque())
        self._delist(partition)
        queue.appendleft(entry)
        self._bytes[partition] = self.bytes_of(partition) + entry.size
        self._enlist(partition, entry)

    def bar(self, partition: TopicPartition) -> None:
        """Hand nothing of a partition out until it is freed; its records may go on arriving."""
        self._barred.add(partition)
        self._delist(partition)

    def free(self, partition: TopicPartition) -> None:
        """Hand out records of a partition again."""
        if partition in self._barred:
            self._barred.discard(partition)
            if queue := self._queues.get(partition):
                self._enlist(partition, queue[0])

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition that was revoked."""
        self._queues.pop(partition, None)
        self._bytes.pop(partition, None)
        self._full.discard(partition)
        self._barred.discard(partition)
        self._delist(partition)

    def wake(self, now_ms: int) -> None:
        """Let the heads of delay partitions that are due by the broker's clock take their turn."""
        self._now_ms = now_ms
        for partition, head in list(self._waiting.items()):
            if head.due_ms <= now_ms:
                del self._waiting[partition]
                self._ready[head.lane].append(partition)

    def waits(self, *, held: bool) -> bool:
        """Say whether any record of the held topics, or of the others, may be taken by the lanes' shares."""
        return any((self._held if held else self._ready).values())

    def next_urgent(self) -> Entry | None:
        """Take the next record of a reserved topic."""
        return self._take(self._urgent) if self._urgent else None

    def next_of_lanes(self, *, fresh: bool = True, held: bool = True) -> Entry | None:
        """Take the next record by the lanes' shares, of the held topics (``held``) or of the others.

        Where both may go, a lane's turns alternate between them.
        """
        for lane, after in _TURNS[self._turn]:
            line, aside = self._ready[lane], self._held[lane]
            take_held = held and bool(aside) and not (fresh and line and self._held_before)
            if take_held or (fresh and line):
                self._turn = after
                self._held_before = take_held
                return self._take(aside if take_held else line)
        return None

    def ready(self) -> list[TopicPartition]:
        """Return the partitions whose heads wait for one of the lanes' turns, those of held topics not."""
        return [partition for line in self._ready.values() for partition in line]

    def take_while(self, partition: TopicPartition, is_answered: Callable[[Entry], bool], most: int) -> None:
        """Take records from the front of a partition, by nobody's turn, for as long as each is answered.

        At most ``most`` of them, and of a delay topic none before it is due (T2).
        """
        queue, taken = self._queues[partition], 0
        while taken < most and queue and self._is_due(partition, queue[0]) and is_answered(queue[0]):
            self._leave(partition, queue)
            taken += 1
        if taken:
            self._delist(partition)
            if queue:
                self._enlist(partition, queue[0])

    def _take(self, line: deque[TopicPartition]) -> Entry:
        partition = line.popleft()
        queue = self._queues[partition]
        entry = self._leave(partition, queue)
        if queue:
            self._enlist(partition, queue[0])
        return entry

    def _leave(self, partition: TopicPartition, queue: deque[Entry]) -> Entry:
        entry = queue.popleft()
        self._bytes[partition] -= entry.size
        if len(queue) <= HALF_FULL and self._bytes[partition] <= _MOST_BYTES // 2:
            self._full.discard(partition)
        return entry

    def _is_due(self, partition: TopicPartition, entry: Entry) -> bool:
        return partition.topic not in DELAYS or _head_of(entry.record).due_ms <= self._now_ms

    def _delist(self, partition: TopicPartition) -> None:
        self._waiting.pop(partition, None)
        for line in (self._urgent, *self._ready.values(), *self._held.values()):
            if partition in line:
                line.remove(partition)

    def _enlist(self, partition: TopicPartition, head: Entry) -> None:
        if self._barred and partition in self._barred:
            return
        if partition.topic in self._reserved_topics:
            self._urgent.append(partition)
        elif partition.topic in DELAYS:
            waits = _head_of(head.record)
            if waits.due_ms <= self._now_ms:
                self._ready[waits.lane].append(partition)
            else:
                self._waiting[partition] = waits
        elif partition.topic in _HELD_TOPICS:
            self._held[_LANE_OF[partition.topic]].append(partition)
        else:
            # A topic that is no lane (the solver's and the storer's) has the normal share to itself.
            self._ready[_LANE_OF.get(partition.topic, Lane.NORMAL)].append(partition)


def _head_of(record: Inbound) -> _Head:
    try:
        state = job_state(record.headers)
    except RecordError:
        state = None
    if state is None:
        # Unreadable, or put there by hand: it goes to the decoder at once, which says what is wrong.
        return _Head(0, Lane.NORMAL)
    due = delays.due_ms(record, state.id)
    # What is left of a wait, once its last class has ended, is waited here: it is below two seconds.
    left_s = delays.remaining_s(state, due)
    if left_s < DELAYS[min(DELAYS, key=DELAYS.__getitem__)]:
        due += int(left_s * 1000)
    return _Head(due, state.lane)
