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

P = TypeVar("P")

_LONGEST_BACKOFF_S = 30.0


async def attempt(service: Service[P], work: Work[P], plan: Plan, clock: Clock, emit: Emit) -> Outcome:
    """Return what the handler says, or what its failure means by ``plan.fault``.

    Raises RecordError for input that no retry helps, BrokerError when the service's own produce failed
    for good.
    """
    backoff = 0.5
    while True:
        try:
            async with asyncio.timeout(plan.deadline_s) as deadline:
                return await service.handle(work)
        except (RecordError, BrokerError):
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            message = f"the handler failed with {type(error).__name__}"
            if isinstance(error, TimeoutError) and deadline.expired():
                message = f"the handler did not end within {plan.deadline_s:g} s"
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


def _is_cancelled() -> bool:
    """Say whether somebody cancelled this task.

    A CancelledError may also come out of a future that a library of the handler's cancelled. It would end
    the worker without a word, and its record would hold the partition's commit for ever.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def where(error: BaseException) -> str:
    """Return file and line at which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
