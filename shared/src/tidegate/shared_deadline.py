"""A deadline for many tasks: one timer for all of them.

All handlers of a service may take equally long, and so may all requests of a client. So the one that began
first is the next to be late, and only its moment needs a timer. ``asyncio.timeout`` arms and disarms one for
each: a quarter of what the runtime costs.
"""

import asyncio

_Task = asyncio.Task[object]


class SharedDeadline:
    """Cancels the tasks whose work takes longer than ``seconds``; None lets all of them go on.

    The same bargain as ``asyncio.timeout``: ``end`` says whether a CancelledError was ours, and takes it back
    from the task unless somebody else cancelled it too.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        # In the order of their deadlines, because that is the order in which they began.
        self._due: dict[_Task, tuple[float, int]] = {}
        self._late: dict[_Task, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: _Task) -> None:
        """Work begins in this task."""
        if self.seconds is None:
            return
        loop = task.get_loop()
        due = loop.time() + self.seconds
        self._due[task] = (due, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_at(due, self._look, loop)

    def end(self, task: _Task) -> bool:
        """It has ended, however. Return whether it was late, and cancelled by nobody but us."""
        self._due.pop(task, None)
        if not self._late:
            return False
        cancelling = self._late.pop(task, None)
        return cancelling is not None and task.uncancel() <= cancelling

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, (due, cancelling) in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._look, loop)
                return
            del self._due[task]
            self._late[task] = cancelling
            task.cancel()
