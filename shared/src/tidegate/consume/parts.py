"""What the runtime is made of: its parts, built once and handed to each other."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.clock import BrokerClock, Clock
from tidegate.consume.alarms import Alarms, LoopLag
from tidegate.consume.assignments import Assignments
from tidegate.consume.committing import Committer
from tidegate.consume.fault_limit import FaultLimit, Holds
from tidegate.consume.handling import Handling
from tidegate.consume.intake import Intake, Valved
from tidegate.consume.isolating import Isolating
from tidegate.consume.isolation import IsolationPolicy
from tidegate.consume.lanes import Buffers
from tidegate.consume.offsets import OffsetBook
from tidegate.consume.plan import Plan
from tidegate.consume.service import BatchSink, Service
from tidegate.consume.transport import Source
from tidegate.consume.watching import Watching
from tidegate.consume.workers import Workers
from tidegate.events import Emit
from tidegate.settings import RuntimeSettings
from tidegate.tracing import Tracing


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything below the loop. ``room`` is set whenever there may be room for more records to wait."""

    book: OffsetBook
    buffers: Buffers
    room: asyncio.Event
    intake: Intake
    handling: Handling[Any]
    committer: Committer
    isolating: Isolating
    holds: Holds
    workers: Workers
    assignments: Assignments
    alarms: Alarms
    lag: LoopLag
    watching: Watching


def assemble(
    *,
    plan: Plan,
    service: Service[Any],
    source: Source,
    sink: BatchSink,
    settings: RuntimeSettings,
    clock: Clock,
    broker_clock: BrokerClock,
    emit: Emit,
    tracing: Tracing,
    retention_ms: Mapping[str, int],
) -> Parts:
    """Build them."""
    book, buffers, room = OffsetBook(), Buffers(plan.reserved), asyncio.Event()
    intake = Intake(
        plan,
        window=settings.window or plan.window,
        window_bytes=settings.window_bytes,
        valve=service.valve if isinstance(service, Valved) else None,
        emit=emit,
    )
    handling = Handling(
        plan=plan,
        service=service,
        sink=sink,
        clock=clock,
        broker_clock=broker_clock,
        emit=emit,
        tracing=tracing,
        limit=FaultLimit(settings.own_faults, settings.own_faults_window_s),
    )
    committer = Committer(book, source, interval_s=settings.commit_interval_s, clock=clock, emit=emit)
    policy = IsolationPolicy(crashes=settings.crashes_before_isolation, crashes_alone=settings.crashes_alone)
    isolating = Isolating(
        book=book, buffers=buffers, committer=committer, policy=policy, clock=clock, emit=emit
    )
    holds = Holds(settings.hold_pause_s)
    workers = Workers(
        book=book,
        buffers=buffers,
        intake=intake,
        handling=handling,
        isolating=isolating,
        holds=holds,
        room=room,
        clock=clock,
        emit=emit,
    )
    assignments = Assignments(
        service=service,
        book=book,
        buffers=buffers,
        workers=workers,
        isolating=isolating,
        holds=holds,
        committer=committer,
        policy=policy,
        drain_deadline_s=settings.drain_deadline_s,
        room=room,
        clock=clock,
        emit=emit,
    )
    alarms = Alarms(
        # Longer than any handler may take, or each slow one would be an alarm.
        stuck_after_s=settings.stuck_after_s + (plan.deadline_s or 0.0),
        retention_ms=retention_ms,
    )
    lag = LoopLag(settings.loop_lag_s)
    watching = Watching(
        book=book,
        buffers=buffers,
        in_hand=lambda: workers.in_hand,
        alarms=alarms,
        lag=lag,
        clock=clock,
        broker_clock=broker_clock,
        emit=emit,
    )
    return Parts(
        book=book,
        buffers=buffers,
        room=room,
        intake=intake,
        handling=handling,
        committer=committer,
        isolating=isolating,
        holds=holds,
        workers=workers,
        assignments=assignments,
        alarms=alarms,
        lag=lag,
        watching=watching,
    )
