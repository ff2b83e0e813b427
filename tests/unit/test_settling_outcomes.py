"""What an outcome makes of a job, and how waits and caps are reckoned."""

import msgspec
import pytest
from tidegate.consume import delays, retries
from tidegate.consume.dead_letters import dead_letter
from tidegate.consume.plan import Plan
from tidegate.consume.settling import MAX_DEFERRALS, settle
from tidegate.outcome import Dead, Defer, ErrorClass, Reason, Retry
from tidegate.records import (
    HEADER_DEAD,
    DeadMeta,
    Inbound,
    Job,
    JobState,
    Lane,
    Origin,
    decoder,
    job_headers,
    job_state,
)
from tidegate.settings import RetrySettings
from tidegate.topics import DELAYS, MAX_RECORD_BYTES, Topic

NOW = 1_700_000_000_000
PLAN = Plan(group="fetcher", topics=(Topic.URLS,))
STATE = JobState(
    run="r",
    id="i",
    site="example.com",
    lane=Lane.HIGH,
    origin=Origin(topic="urls-high", partition=3, offset=9, timestamp_ms=NOW),
    accepted_at_ms=NOW,
)
JOB = Job(b"http://example.com/", STATE)


def failed(error_class: ErrorClass, **changes: object) -> Retry:
    """A failed try."""
    return msgspec.structs.replace(Retry(error_class=error_class, message="m"), **changes)


@pytest.mark.parametrize(
    ("error_class", "allowed"),
    [
        (ErrorClass.SOLVE_FAILED, 2),
        (ErrorClass.RATE_LIMITED, 3),
        (ErrorClass.BLOCKED, 2),
        (ErrorClass.SERVER_ERROR, 3),
        (ErrorClass.NETWORK, 3),
        (ErrorClass.PARSE_ERROR, 0),
        (ErrorClass.REFUSED, 0),
        (ErrorClass.INTERNAL, 3),
    ],
)
def test_each_class_has_its_own_cap(error_class: ErrorClass, allowed: int) -> None:
    """Retries after the first try, as the table says."""
    policy = retries.DEFAULTS
    for used in range(allowed + 1):
        state = msgspec.structs.replace(STATE, attempts={str(error_class): used} if used else {})
        decision = retries.decide(policy, state, failed(error_class))
        assert isinstance(decision, retries.Again if used < allowed else retries.Exhausted)


def test_a_cap_over_all_classes_bounds_the_sum() -> None:
    """Twelve in all, whatever the mixture."""
    state = msgspec.structs.replace(STATE, attempts={"network": 2, "blocked": 1, "challenge": 9})
    decision = retries.decide(retries.DEFAULTS, state, failed(ErrorClass.NETWORK))
    assert isinstance(decision, retries.Exhausted)


@pytest.mark.parametrize(("own", "tries"), [(0, 0), (5, 5)])
def test_a_job_lowers_or_raises_the_caps(own: int, tries: int) -> None:
    """max_retries of the job itself decides."""
    state = msgspec.structs.replace(STATE, attempts={"server_error": tries})
    retry = failed(ErrorClass.SERVER_ERROR, max_retries=own)
    assert isinstance(retries.decide(retries.DEFAULTS, state, retry), retries.Exhausted)
    if own:
        fewer = msgspec.structs.replace(STATE, attempts={"server_error": tries - 1})
        assert isinstance(retries.decide(retries.DEFAULTS, fewer, retry), retries.Again)


def test_server_errors_back_off_exponentially() -> None:
    """2, 4, 8 seconds: exactly the delay classes."""
    waits = []
    for used in range(3):
        state = msgspec.structs.replace(STATE, attempts={"server_error": used})
        decision = retries.decide(retries.DEFAULTS, state, failed(ErrorClass.SERVER_ERROR))
        assert isinstance(decision, retries.Again)
        waits.append(decision.wait_s)
    assert waits == [2.0, 4.0, 8.0]


def waits_of(policy: retries.RetryPolicy, error_class: ErrorClass, tries: int) -> list[float | None]:
    """The waits before each retry of a job that keeps failing; None where it is given up."""
    waits: list[float | None] = []
    for used in range(tries):
        state = msgspec.structs.replace(STATE, attempts={str(error_class): used})
        decision = retries.decide(policy, state, failed(error_class))
        waits.append(decision.wait_s if isinstance(decision, retries.Again) else None)
    return waits


def test_a_site_that_answers_nobody_is_asked_at_once_and_then_at_growing_distances() -> None:
    """Another proxy may get through at once; an outage of seconds must not use up every try."""
    assert waits_of(retries.DEFAULTS, ErrorClass.NETWORK, 4) == [0.0, 2.0, 8.0, None]


def test_the_table_is_the_settings() -> None:
    """Counts, first waits and the longest back-off are the operator's."""
    settings = RetrySettings(
        network=6,
        network_base_s=5,
        server_error=0,
        rate_limited=4,
        rate_limited_base_s=7,
        longest_backoff_s=60,
    )
    policy = retries.policy_of(settings)
    assert waits_of(policy, ErrorClass.NETWORK, 7) == [0.0, 5.0, 20.0, 60.0, 60.0, 60.0, None]
    assert waits_of(policy, ErrorClass.SERVER_ERROR, 1) == [None]
    assert waits_of(policy, ErrorClass.RATE_LIMITED, 5) == [7.0, 14.0, 28.0, 56.0, None]


def test_what_fails_together_comes_back_spread_over_a_second() -> None:
    """U(0, 1 s) on top of every back-off, in a delay class or between two (T2)."""
    policy = msgspec.structs.replace(
        PLAN, retries=retries.policy_of(RetrySettings(server_error_base_s=5, server_error=1))
    )
    due = []
    for number in range(50):
        job = Job(JOB.original, msgspec.structs.replace(STATE, id=f"job {number}"))
        (record,) = settle(job, failed(ErrorClass.SERVER_ERROR), policy, NOW).outgoing
        state = job_state(dict(record.headers))
        assert state is not None
        assert state.due_at_ms is not None
        due.append(state.due_at_ms - NOW)
    assert 5_000 <= min(due) < 5_200
    assert 5_800 < max(due) < 6_000


def test_retry_after_is_honoured_up_to_a_day() -> None:
    """The site's own wait, and a dead letter beyond the longest one."""
    policy = retries.DEFAULTS
    waits = retries.decide(policy, STATE, failed(ErrorClass.RATE_LIMITED, after_s=1800.0))
    assert waits == retries.Again(1800.0)
    never = retries.decide(policy, STATE, failed(ErrorClass.RATE_LIMITED, after_s=90_000.0))
    assert isinstance(never, retries.Exhausted)


@pytest.mark.parametrize(
    ("wait_s", "topic"),
    [
        (0.1, Topic.RETRY_2S),
        (2, Topic.RETRY_2S),
        (5, Topic.RETRY_4S),
        (19, Topic.RETRY_8S),
        (59, Topic.RETRY_20S),
        (61, Topic.RETRY_1M),
        (599, Topic.RETRY_3M),
        (7200, Topic.RETRY_1H),
        (2e6, Topic.RETRY_4D),
    ],
)
def test_a_wait_goes_to_the_longest_class_within_it(wait_s: float, topic: Topic) -> None:
    """Never past its end, but for the shortest class of all."""
    assert delays.topic_for(wait_s) is topic


def test_the_head_is_due_by_append_time_alone() -> None:
    """Append time, plus the class's delay, plus a jitter below a second that belongs to the job (T2)."""
    record = Inbound(
        topic="urls-retry-8s", partition=0, offset=0, timestamp_ms=NOW, key=None, value=b"", headers={}
    )
    due = delays.due_ms(record, "job")
    assert NOW + 8000 <= due < NOW + 9000
    assert due == delays.due_ms(record, "job")


def test_a_retry_keeps_identity_site_and_lane() -> None:
    """Only attempts, hop and due time change (C1, O2)."""
    settlement = settle(JOB, failed(ErrorClass.SERVER_ERROR), PLAN, NOW)
    (record,) = settlement.outgoing
    state = job_state(dict(record.headers))
    due = NOW + 2000 + delays.jitter_ms(STATE.id)
    assert state == msgspec.structs.replace(STATE, attempts={"server_error": 1}, hop=1, due_at_ms=due)
    assert (record.site, record.value) == ("example.com", JOB.original)


def test_a_first_network_retry_returns_to_its_own_lane() -> None:
    """At once, to the tail."""
    (record,) = settle(JOB, failed(ErrorClass.NETWORK), PLAN, NOW).outgoing
    assert record.topic == Topic.URLS_HIGH


def test_deferrals_are_bounded() -> None:
    """What is put off in a circle ends where a person sees it (T3)."""
    often = Job(JOB.original, msgspec.structs.replace(STATE, deferrals=MAX_DEFERRALS))
    (record,) = settle(often, Defer(delay_s=1, message="busy"), PLAN, NOW).outgoing
    assert record.topic == Topic.DEAD_LETTER


def test_a_dead_letter_speaks_to_tools_that_know_springs_headers() -> None:
    """Numbers in big-endian bytes, as Spring writes them."""
    dead = Dead(reason=Reason.ROBOTS, error_class=ErrorClass.REFUSED, message="robots.txt says no")
    headers = dict(dead_letter(JOB, dead, service="fetcher", group="g", now_ms=NOW).headers)
    assert headers["kafka_dlt-original-topic"] == b"urls-high"
    assert int.from_bytes(headers["kafka_dlt-original-partition"], "big") == 3
    assert int.from_bytes(headers["kafka_dlt-original-offset"], "big") == 9
    assert headers["kafka_dlt-exception-message"] == b"robots.txt says no"


def test_no_header_of_a_dead_letter_holds_the_querys_values() -> None:
    """A token in a URL is in the value alone, where a replay needs it (O7)."""
    dead = Dead(
        reason=Reason.ROBOTS,
        error_class=ErrorClass.REFUSED,
        message="no",
        final_url="https://a.example/x?token=s3cret&page=s3cret",
    )
    letter = dead_letter(JOB, dead, service="fetcher", group="g", now_ms=NOW)
    headers = dict(letter.headers)
    told = decoder(DeadMeta).decode(headers[HEADER_DEAD]).final_url
    assert told == "https://a.example/x?token=[removed]&page=[removed]"
    assert not [name for name, value in headers.items() if b"s3cret" in value]


def test_a_dead_letter_names_the_service_and_the_group_as_the_broker_knows_it() -> None:
    """With the installation's prefix before the group, and the service's name without."""
    plan = msgspec.structs.replace(PLAN, prefix="blue-")
    dead = Dead(reason=Reason.ROBOTS, error_class=ErrorClass.REFUSED, message="no")
    (letter,) = settle(JOB, dead, plan, NOW).outgoing
    headers = dict(letter.headers)
    assert headers["kafka_dlt-original-consumer-group"] == b"blue-fetcher"
    assert decoder(DeadMeta).decode(headers[HEADER_DEAD]).service == "fetcher"


def test_a_dead_letter_that_would_not_fit_is_cut_with_length_and_hash() -> None:
    """The ladder of sizes ends here (C9)."""
    huge = Job(b"x" * (MAX_RECORD_BYTES + 1), STATE)
    dead = Dead(reason=Reason.JOB_TOO_LARGE, error_class=ErrorClass.BAD_INPUT, message="too large")
    letter = dead_letter(huge, dead, service="fetcher", group="g", now_ms=NOW)
    meta = decoder(DeadMeta).decode(dict(letter.headers)[HEADER_DEAD])
    assert letter.value is not None
    assert len(letter.value) < MAX_RECORD_BYTES
    assert (meta.truncated_length, len(meta.original_hash or "")) == (MAX_RECORD_BYTES + 1, 32)


def test_a_wait_that_reaches_over_classes_ends_after_its_due_time() -> None:
    """Class after class brings a job to its due time, never before it (T2)."""
    now, waits, hops = NOW, 3_725.0, 0
    due = NOW + int(waits * 1000)
    while waits > 0:
        now += int(DELAYS[delays.topic_for(waits)] * 1000)
        waits = delays.remaining_s(msgspec.structs.replace(STATE, due_at_ms=due), now)
        hops += 1
    assert due <= now <= due + 2000
    assert hops <= 8
    assert job_headers(STATE)
