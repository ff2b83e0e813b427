"""Copies of a job that asked for one solve: one of them goes on."""

import msgspec
import pytest
from tidegate.outcome import Dead, Defer, Done, ErrorClass, Outcome, Reason, Retry
from tidegate.records import JobState, Origin
from tidegate_fetcher import copies

STATE = JobState(
    run="r",
    id="1",
    site="a.example",
    accepted_at_ms=1,
    hop=3,
    origin=Origin(topic="urls", partition=0, offset=0, timestamp_ms=1),
)
RAISED = msgspec.structs.replace(STATE, hop=4)


@pytest.mark.parametrize("state", [None, STATE, RAISED], ids=["unsaid", "same hop", "raised"])
def test_a_solutions_job_that_waits_asks_under_a_later_hop(state: JobState | None) -> None:
    """Under the same one its next request would be answered as that of a copy, and end (C5, M4)."""
    outcome = copies.later(Defer(delay_s=2.0, message="No proxy is healthy.", state=state), STATE)
    assert isinstance(outcome, Defer)
    assert outcome.state == RAISED


@pytest.mark.parametrize(
    "outcome",
    [
        Done(),
        Retry(error_class=ErrorClass.NETWORK, message="m", state=STATE),
        Dead(reason=Reason.DEADLINE, error_class=ErrorClass.REFUSED, message="m", state=STATE),
    ],
    ids=["done", "retry", "dead"],
)
def test_what_does_not_wait_is_left_as_it_is(outcome: Outcome) -> None:
    """A retry's hop grows where it is produced."""
    assert copies.later(outcome, STATE) is outcome
