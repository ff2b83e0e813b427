"""Tasks in memory: bounded, each with the moment it will be ready and the moment its result is gone.

A task in flight is a row here and nothing else: no timer and no coroutine waits for it.
"""

import heapq
from random import Random
from uuid import UUID

import msgspec

from tidegate_cli.simulator.kinds import Kind


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks to have solved; ``shown`` is the text that an image says it shows.

    ``invisible`` means a widget that shows nothing. ``address`` and ``agent`` are those of whom a clearance
    shall be for; empty for other kinds.
    """

    kind: Kind
    sitekey: str
    url: str
    host: str
    action: str = ""
    cdata: str = ""
    invisible: bool = False
    challenge: str = ""
    shown: str = ""
    address: str = ""
    agent: str = ""


class Task(msgspec.Struct, kw_only=True):
    """One task. Times are monotonic seconds; ``ready_at`` is infinite for one that never gets ready.

    ``ended`` says that a poll has brought its end. ``failure`` is the vendor's code where the task will fail;
    ``wrong`` means a token that no site accepts.
    """

    id: str
    vendor: str
    order: Order
    created_at: float
    ready_at: float
    expires_at: float
    failure: str = ""
    wrong: bool = False
    cost_micros: int = 0
    token: str = ""
    polls: int = 0
    early_polls: int = 0
    polled_at: float | None = None
    report: str = ""
    ended: bool = False


class TaskBook:
    """The tasks whose results are still kept; at most ``limit``."""

    def __init__(self, random: Random, limit: int = 100_000) -> None:
        self._random = random
        self._limit = limit
        self._tasks: dict[str, Task] = {}
        self._ends: list[tuple[float, str]] = []
        self._busy: dict[str, list[float]] = {}
        self._next_number = random.randrange(2_000_000_000, 2_100_000_000)

    def __len__(self) -> int:
        return len(self._tasks)

    def new_number(self) -> str:
        """Return the id of a new task in the style of the vendors that count."""
        self._next_number += self._random.randrange(1, 12)
        return str(self._next_number)

    def new_uuid(self) -> str:
        """Return the id of a new task in the style of the vendors that use UUIDs."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def full(self, now: float) -> bool:
        """Whether there is no room for one more task; forgets what has expired."""
        while self._ends and self._ends[0][0] <= now:
            self._tasks.pop(heapq.heappop(self._ends)[1], None)
        return len(self._tasks) >= self._limit

    def add(self, task: Task) -> None:
        """Enter a task."""
        self._tasks[task.id] = task
        heapq.heappush(self._ends, (task.expires_at, task.id))
        heapq.heappush(self._busy.setdefault(task.vendor, []), min(task.ready_at, task.expires_at))

    def get(self, vendor: str, task_id: str, now: float) -> Task | None:
        """Return a vendor's task, None once its result is gone or if there never was one."""
        task = self._tasks.get(task_id)
        return task if task is not None and task.vendor == vendor and now < task.expires_at else None

    def in_flight(self, vendor: str, now: float) -> int:
        """Return how many tasks of a vendor are being solved."""
        ends = self._busy.get(vendor, [])
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        return len(ends)

    def recent(self, limit: int) -> list[Task]:
        """Return up to ``limit`` tasks that are still kept, the newest last."""
        rows = list(self._tasks.values())
        return rows[max(0, len(rows) - limit) :]
