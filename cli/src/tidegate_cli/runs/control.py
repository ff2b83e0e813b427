"""Creating, pausing, resuming and cancelling a run.

The ledger hears of it first: once its record is acknowledged no solver grants the run a cent more, whatever
else has or has not been told yet. The topic ``runs`` then tells the fetchers what becomes of the jobs. A
command that was cut off between the two is simply given again.
"""

import msgspec
from tidegate.errors import ConfigurationError
from tidegate.ledger.entries import Limit, Scope, Stop, StopState
from tidegate.runs import Run, RunRecord, RunState

from tidegate_cli.runs.office import Office


async def create(
    office: Office, name: str, *, budget: int | None = None, deadline_s: float | None = None
) -> RunRecord:
    """Create a run. ``budget`` in millionths of a dollar. Raises ConfigurationError where it exists."""
    known = (await office.runs()).get(name)
    if known is not None:
        raise ConfigurationError(
            f"The run {name} exists already and is {known.record.state.value}. "
            f"`tidegate budget set AMOUNT --run {name}` changes what it may spend."
        )
    if budget is not None:
        await office.say_money(Limit(by=office.name, scope=Scope(run=name), amount=budget))
    if name in office.ledger.stopped:
        await office.say_money(Stop(by=office.name, run=name, state=None))
    record = RunRecord(run=name, budget=budget, deadline_s=deadline_s)
    await office.say_run(record)
    return record


async def change(office: Office, name: str, state: RunState) -> tuple[Run | None, RunRecord]:
    """Pause, resume or cancel a run; return how it stood and how it stands.

    A run that nobody created, such as the one of jobs that name none, may be paused and cancelled, too.
    Raises ConfigurationError for a run that was cancelled: its jobs have ended.
    """
    known = (await office.runs()).get(name)
    if known is not None and known.record.state is RunState.CANCELLED and state is not RunState.CANCELLED:
        raise ConfigurationError(f"The run {name} was cancelled, and its jobs have ended: begin another run.")
    stop = None if state is RunState.RUNNING else StopState(state.value)
    if office.ledger.stopped.get(name) != stop:
        await office.say_money(Stop(by=office.name, run=name, state=stop))
    before = RunRecord(run=name) if known is None else known.record
    created_at_ms = None if known is None else known.created_at_ms
    record = msgspec.structs.replace(before, state=state, created_at_ms=created_at_ms)
    await office.say_run(record)
    return known, record
