"""One call of a handler: under its deadline, and with the unforeseen turned into an outcome.

This is the one place where a foreign exception is judged. Its type and line go into the log; its text
goes nowhere, because it may hold what must not be stored.
"""

import asyncio
from typing import TypeVar

from tidegate.clock import Clock
from tidegate.consume.plan import Fault, Plan
from tidegate.consume.runtime_events import HandlerFaulted
from tidegate.consume.service import Service, Work
from tidegate.errors import BrokerError, RecordError
from tidegate.events import Emit
from tidegate.outcome import ErrorClass, Outcome, Retry
from tidegate.shared_deadline import SharedDeadline

P = TypeVar("P")

_LONGEST_BACKOFF_S = 30.0


async def attempt(
    service: Service[P], work: Work[P], plan: Plan, deadline: SharedDeadline, *, clock: Clock, emit: Emit
) -> Outcome:
    """Return what the handler says, or what its failure means by ``plan.fault``.

    Raises RecordError for input that no retry helps, BrokerError when the service's own produce failed
    for good.
    """
    backoff = 0.5
    task = asyncio.current_task()
    assert task is not None
    while True:
        deadline.begin(task)
        try:
            try:
                return await service.handle(work)
            finally:
                late = deadline.end(task)
        except (RecordError, BrokerError):
            raise
        except (Exception, asyncio.CancelledError) as error:
            # A CancelledError may also come out of a future that a library of the handler's cancelled. It
            # would end the worker without a word, and its record would hold the partition's commit for ever.
            if isinstance(error, asyncio.CancelledError) and task.cancelling() > 0:
                raise
            message = f"the handler failed with {type(error).__name__}"
            if isinstance(error, asyncio.CancelledError) and late:
                message = f"the handler did not end within {deadline.seconds:g} s"
            emit(
                HandlerFaulted(
                    topic=work.record.topic,
                    partition=work.record.partition,
                    offset=work.record.offset,
                    error=f"{message}, {where(error)}",
                )
            )
            if plan.fault is Fault.RETRY:
                return Retry(error_class=ErrorClass.INTERNAL, message=message)
        await clock.sleep(backoff)
        backoff = min(backoff * 2, _LONGEST_BACKOFF_S)


def where(error: BaseException) -> str:
    """Return file and line at which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
