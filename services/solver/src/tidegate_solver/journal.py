"""The journal of one partition: what was bought for which request, so that it is bought once (M4). Pure.

An entry's life is ``reserved → task → answered`` and only advances; a reservation that was certainly never
spent is voided, which removes it. An illegal step raises and changes nothing. The log in ``captcha-tasks``
is the truth and this is its reading: each step is written there and acknowledged before the next one.
"""

from collections import OrderedDict

import msgspec
from tidegate.captcha_records import TaskState
from tidegate.errors import IllegalTransitionError

from tidegate_solver.answers import Answer

_RANK = {TaskState.RESERVED: 0, TaskState.TASK: 1, TaskState.ANSWERED: 2}


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a request stands. ``changed_at_ms`` and ``created_at_ms`` are of the broker's clock.

    ``max_cost`` in US dollars is what was reserved. ``answer`` is there once the request is answered.
    ``accepted_at_ms`` is of the job that asked, 0 where that is not known.
    """

    state: TaskState
    provider: str
    max_cost: float
    changed_at_ms: int
    task_id: str | None = None
    created_at_ms: int | None = None
    answer: Answer | None = None
    accepted_at_ms: int = 0


class Journal:
    """The entries of one partition, bounded by age, answered ones by count too.

    ``keep_ms`` is also the age beyond which no request is bought, so that forgetting by age never makes
    one request cost twice.
    """

    def __init__(self, *, keep_ms: int, max_answered: int) -> None:
        self._keep_ms = keep_ms
        self._max_answered = max_answered
        self._open: dict[str, Entry] = {}
        self._answered: OrderedDict[str, Entry] = OrderedDict()
        self._alive: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open) + len(self._answered)

    def get(self, request_id: str) -> Entry | None:
        """Return the entry of a request, None where nothing was ever reserved or all is forgotten."""
        return self._open.get(request_id) or self._answered.get(request_id)

    def reserve(
        self, request_id: str, *, provider: str, max_cost: float, now_ms: int, accepted_at_ms: int = 0
    ) -> Entry:
        """Note that money is about to be spent. Legal for a request without an entry."""
        known = self.get(request_id)
        if known is not None:
            raise _illegal(request_id, known)
        entry = Entry(
            state=TaskState.RESERVED,
            provider=provider,
            max_cost=max_cost,
            changed_at_ms=now_ms,
            accepted_at_ms=accepted_at_ms,
        )
        self._open[request_id] = entry
        return entry

    def void(self, request_id: str) -> None:
        """Take a reservation back that was certainly not spent. Legal from ``reserved``."""
        self._demand(request_id, TaskState.RESERVED)
        del self._open[request_id]

    def task(self, request_id: str, *, task_id: str, now_ms: int) -> Entry:
        """Note the task that the money bought. Legal from ``reserved``."""
        entry = self._demand(request_id, TaskState.RESERVED)
        advanced = msgspec.structs.replace(
            entry, state=TaskState.TASK, task_id=task_id, created_at_ms=now_ms, changed_at_ms=now_ms
        )
        self._open[request_id] = advanced
        return advanced

    def answer(self, request_id: str, answer: Answer) -> Entry:
        """Note the answer. Legal from ``reserved`` (in doubt, or never bought) and from ``task``."""
        entry = self._demand(request_id, TaskState.RESERVED, TaskState.TASK)
        advanced = msgspec.structs.replace(
            entry, state=TaskState.ANSWERED, answer=answer, changed_at_ms=answer.answered_at_ms
        )
        self._close(request_id, advanced)
        return advanced

    def restore(self, request_id: str, entry: Entry | None) -> None:
        """Take an entry from the log; None is a tombstone. The more advanced state stays.

        A former owner's last word may come after the next owner's: a ``task`` behind an ``answered``
        takes nothing back.
        """
        if entry is None:
            self._open.pop(request_id, None)
            self._answered.pop(request_id, None)
            self._alive.pop(request_id, None)
            return
        known = self.get(request_id)
        if known is not None and _RANK[known.state] > _RANK[entry.state]:
            return
        if entry.state is TaskState.ANSWERED:
            self._close(request_id, entry)
        else:
            self._open[request_id] = entry

    def forget(self, now_ms: int) -> tuple[int, int]:
        """Drop what is too old, then what is too much, and dead tokens. Returns (by age, by count)."""
        while self._alive and next(iter(self._alive.values())) <= now_ms:
            request_id, _ = self._alive.popitem(last=False)
            entry = self._answered.get(request_id)
            if entry is not None and entry.answer is not None:
                self._answered[request_id] = msgspec.structs.replace(
                    entry, answer=entry.answer.without_token()
                )
        aged = counted = 0
        while self._open and next(iter(self._open.values())).changed_at_ms + self._keep_ms <= now_ms:
            del self._open[next(iter(self._open))]
            aged += 1
        while self._answered:
            oldest = next(iter(self._answered.values()))
            if oldest.changed_at_ms + self._keep_ms <= now_ms:
                aged += 1
            elif len(self._answered) > self._max_answered:
                counted += 1
            else:
                break
            request_id, _ = self._answered.popitem(last=False)
            self._alive.pop(request_id, None)
        return aged, counted

    def _close(self, request_id: str, entry: Entry) -> None:
        self._open.pop(request_id, None)
        self._answered[request_id] = entry
        self._answered.move_to_end(request_id)
        if entry.answer is not None and entry.answer.is_usable:
            self._alive[request_id] = entry.answer.dies_at_ms
            self._alive.move_to_end(request_id)

    def _demand(self, request_id: str, *states: TaskState) -> Entry:
        entry = self.get(request_id)
        if entry is None or entry.state not in states:
            raise _illegal(request_id, entry)
        return entry


def _illegal(request_id: str, entry: Entry | None) -> IllegalTransitionError:
    state = "unknown to" if entry is None else f"{entry.state.value} in"
    return IllegalTransitionError(f"request {request_id} is {state} the journal: that step is not legal")
