"""Copies of a job that met a challenge together: one of them goes on. Pure.

A kill between a produce and its commit leaves two records of one job (C5). Both ask the solver under one
request id, which buys once (M4). Whoever asks later is told that this very job was answered before: that
answer's record stands for the job, and what comes of it is the job's outcome or asks under a later hop. So
the copy ends, whatever its answer is worth by now; one that went on would hand a used token in, or, once the
token had died, buy a solve of its own.
"""

from typing import TypeGuard

import msgspec
from tidegate.outcome import Defer, Outcome
from tidegate.records import JobState

from tidegate_fetcher.tasks import ResumeTask, Task


def is_one(task: Task) -> TypeGuard[ResumeTask]:
    """Say whether another record of the same job was given this answer before."""
    return isinstance(task, ResumeTask) and task.solution.answered_before


def later(outcome: Outcome, state: JobState) -> Outcome:
    """Return the outcome of a solution's job so that, asking again, it asks under a later hop.

    Under the same one it would be taken for a copy of itself.
    """
    if not isinstance(outcome, Defer):
        return outcome  # a retry's hop grows by itself
    waiting = outcome.state or state
    if waiting.hop > state.hop:
        return outcome
    return msgspec.structs.replace(outcome, state=msgspec.structs.replace(waiting, hop=state.hop + 1))
