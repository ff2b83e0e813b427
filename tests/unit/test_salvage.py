"""What is left of a job whose record cannot be read."""

import msgspec
import pytest
from tidegate.consume.plan import Plan
from tidegate.consume.settling import settle
from tidegate.errors import RecordError
from tidegate.outcome import Dead, ErrorClass, Reason
from tidegate.records import HEADER_JOB, Inbound, JobState, Origin, job_state
from tidegate.salvage import unread_job
from tidegate.topics import Topic

STATE = JobState(
    run="r",
    id="mine",
    site="a.test",
    origin=Origin(topic="urls", partition=3, offset=9, timestamp_ms=1),
    accepted_at_ms=1,
)


def record(topic: Topic, value: object, headers: dict[str, bytes] | None = None) -> Inbound:
    """A record with that JSON."""
    return Inbound(
        topic=topic,
        partition=0,
        offset=5,
        timestamp_ms=7,
        key=None,
        value=msgspec.json.encode(value),
        headers=headers or {},
    )


@pytest.mark.parametrize("topic", [Topic.CAPTCHA_REQUESTS, Topic.CAPTCHA_SOLUTIONS])
def test_a_captcha_record_of_the_future_still_gives_its_job_back(topic: Topic) -> None:
    """C1: its dead letter bears the job's identity and bytes, not the cookies and the token around it."""
    request = {"version": 9, "original": b"http://a.test/", "state": STATE, "identity": {"cookies": 1}}
    solution = {"version": 9, "token": "a-secret-token", "request": request}
    job = unread_job(record(topic, request if topic is Topic.CAPTCHA_REQUESTS else solution))
    assert (job.original, job.state) == (b"http://a.test/", STATE)


def test_an_intake_record_that_looks_like_a_captcha_record_is_no_such_thing() -> None:
    """Only where a job is embedded by contract may a record say whose it is."""
    job = unread_job(record(Topic.URLS, {"original": b"x", "state": STATE}))
    assert (job.state.id == "mine", job.state.origin.offset) == (False, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": {"topic": "urls", "partition": 2**31, "offset": 1, "timestamp_ms": 1}},
        {"origin": {"topic": "urls", "partition": 1, "offset": 2**63, "timestamp_ms": 1}},
        {"attempts": {"server_error": 5000, "blocked": -6000}},
        {"hop": -1},
    ],
)
def test_a_state_with_impossible_numbers_is_refused_and_its_record_still_ends(
    change: dict[str, object],
) -> None:
    """A header that anybody may write must not end the process, again and again."""
    headers = {HEADER_JOB: msgspec.json.encode({**msgspec.to_builtins(STATE), **change})}
    with pytest.raises(RecordError):
        job_state(headers)
    job = unread_job(record(Topic.URLS, "x", headers))
    dead = Dead(reason=Reason.BAD_STATE, error_class=ErrorClass.BAD_INPUT, message="m")
    assert settle(job, dead, Plan(group="fetcher", topics=(Topic.URLS,)), 0).outgoing
