"""What arrives on the fetcher's topics is read, or refused with a sentence and the job's own identity."""

from typing import Any

import msgspec
import pytest
from support.fetcher import inbound, job
from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    Challenge,
    ChallengeForm,
    Identity,
    SolutionStatus,
)
from tidegate.consume.service import Work
from tidegate.errors import RecordError
from tidegate.outcome import Reason
from tidegate.records import (
    HEADER_JOB,
    ChallengeKind,
    Inbound,
    JobState,
    Lane,
    Route,
    default_id,
    encode,
    origin_of,
)
from tidegate.topics import Topic
from tidegate_fetcher.tasks import FetchTask, ResumeTask, Task, read

MOST = 1 << 20


def task_of(work: Work[Task]) -> FetchTask:
    """Return the task of an intake record."""
    assert isinstance(work.payload, FetchTask)
    return work.payload


def refusal(record: Inbound) -> RecordError:
    """Return why a record is refused."""
    with pytest.raises(RecordError) as caught:
        read(record, MOST)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        b"https://example.org/a?b=1",
        b"  https://example.org/a?b=1\r\n",
        b"\xef\xbb\xbfhttps://example.org/a?b=1",
        b'\xef\xbb\xbf {"url": "https://example.org/a?b=1"} \n',
    ],
)
def test_a_url_is_read_as_text_and_as_json(text: bytes) -> None:
    """White space and a byte order mark around a job are forgiven; its bytes are kept as they came (C1)."""
    work = read(inbound(text), MOST)
    assert str(task_of(work).url) == "https://example.org/a?b=1"
    assert work.job.original == text
    assert work.job.state.site == "example.org"


def test_a_first_job_gets_its_state() -> None:
    """Identity, lane and times of a new job come from the record (O3, T1)."""
    record = inbound(b"https://example.org:8443/a", topic="urls-low", timestamp_ms=1_700_000_000_123)
    state = read(record, MOST).job.state
    assert state.id == default_id(origin_of(record))
    assert (state.run, state.site, state.lane) == ("default", "example.org:8443", Lane.LOW)
    assert state.accepted_at_ms == 1_700_000_000_123
    assert (state.hop, state.attempts, state.deferrals) == (0, {}, 0)


def test_a_jobs_own_identity_and_priority_are_kept() -> None:
    """(run, id) and the lane are the job's where it names them."""
    work = read(inbound(job("https://example.org/", id="a1", run="spring", priority="high")), MOST)
    state = work.job.state
    assert (state.run, state.id, state.lane) == ("spring", "a1", Lane.HIGH)


def test_a_state_in_the_header_is_stronger_than_the_record() -> None:
    """Delayed, forwarded and replayed jobs keep who they are, and their first site (C1, O2)."""
    first = read(inbound(b"https://example.org/a"), MOST).job.state
    state = msgspec.structs.replace(first, hop=3, attempts={"network": 2}, site="elsewhere.example")
    record = inbound(b"https://example.org/a", topic="urls-retry-8s", headers={HEADER_JOB: encode(state)})
    work = read(record, MOST)
    assert work.job.state == state
    assert not task_of(work).first_sight


def test_every_field_of_a_job_is_read() -> None:
    """All fields of UrlJob arrive, metadata untouched to the byte."""
    fields: dict[str, Any] = {
        "id": "x",
        "run": "r",
        "method": "post",
        "headers": {"X-One": "1"},
        "body": "b",
        "priority": "low",
        "parser": "p",
        "proxy": "socks5://u:p@proxy.example:1080",
        "route": "fastest",
        "max_retries": 0,
        "max_solve_cost": 0.01,
        "deadline": 60,
    }
    value = job("https://example.org/", **fields)[:-1] + b', "metadata": { "b":1,  "a": [1.50] } }'
    read_job = task_of(read(inbound(value), MOST)).job
    assert bytes(read_job.metadata) == b'{ "b":1,  "a": [1.50] }'
    for name, wanted in fields.items():
        assert getattr(read_job, name) == wanted
    assert read_job.route is Route.FASTEST


def test_fields_that_nobody_knows_are_ignored_and_named() -> None:
    """A newer producer's field is no error; its name is kept so that a misspelling can be reported."""
    task = task_of(read(inbound(job("https://example.org/", prioriti="high", more=1)), MOST))
    assert task.unknown_field == "prioriti"
    assert task.job.priority is None


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"", Reason.NOT_A_JOB, "empty"),
        (b" \n ", Reason.NOT_A_JOB, "empty"),
        (b"hello world", Reason.NOT_A_URL, "no scheme"),
        (b"example.org/page", Reason.NOT_A_URL, "no scheme"),
        (b"http://", Reason.NOT_A_URL, "no host"),
        (b"http://ex ample.org/", Reason.NOT_A_URL, "not a URL"),
        (b"https://a.example/\nhttps://b.example/", Reason.NOT_A_URL, "not a URL"),
        (b"http://example.org:99999/", Reason.NOT_A_URL, "not a URL"),
        (b"file:///etc/passwd", Reason.SCHEME_NOT_ALLOWED, "'file'"),
        (b"javascript:alert(1)", Reason.SCHEME_NOT_ALLOWED, "javascript"),
        (b"\xff\xfe\x00h", Reason.NOT_A_URL, "UTF-8"),
        (b"{", Reason.NOT_A_JOB, "looks like a JSON job"),
        (b'{"id": "x"}', Reason.NOT_A_JOB, "url"),
        (b'{"url": 5}', Reason.NOT_A_JOB, "url"),
        (b'{"url": "https://e.example/", "deadline": "soon"}', Reason.NOT_A_JOB, "deadline"),
        (b'{"url": "https://e.example/", "deadline": -1}', Reason.NOT_A_JOB, "deadline"),
        (b'{"url": "https://e.example/", "max_retries": -1}', Reason.NOT_A_JOB, "max_retries"),
        (b'{"url": "https://e.example/", "max_solve_cost": -0.1}', Reason.NOT_A_JOB, "max_solve_cost"),
        (b'{"url": "https://e.example/", "method": "GET /x"}', Reason.NOT_A_JOB, "method"),
        (b'{"url": "https://e.example/", "method": "connect"}', Reason.NOT_A_JOB, "method"),
        (b'{"url": "https://e.example/", "headers": {"A b": "1"}}', Reason.NOT_A_JOB, "header"),
        (b'{"url": "https://e.example/", "headers": {"A": "1\\r\\nB: 2"}}', Reason.NOT_A_JOB, "line breaks"),
        (b'{"url": "https://e.example/", "id": ""}', Reason.NOT_A_JOB, "id"),
        (b'{"url": "https://e.example/", "priority": "urgent"}', Reason.NOT_A_JOB, "priority"),
        (b'{"url": "https://e.example/", "proxy": "ftp://p.example"}', Reason.NOT_A_JOB, "proxy"),
        (b'{"url": "https://e.example/", "version": 9}', Reason.UNKNOWN_VERSION, "version 9"),
        (b'{"url": "file:///x"}', Reason.SCHEME_NOT_ALLOWED, "'file'"),
        (b"x" * (MOST + 1), Reason.JOB_TOO_LARGE, "1048577 bytes"),
        (
            b'{"url": "https://e.example/", "metadata": ' + b"[" * 9000 + b"]" * 9000 + b"}",
            Reason.NOT_A_JOB,
            "JSON",
        ),
    ],
)
def test_what_is_no_job_is_refused_with_a_sentence(value: bytes, reason: Reason, says: str) -> None:
    """Garbage, wrong schemes, misfits and unknown versions each name what is wrong."""
    error = refusal(inbound(value))
    assert error.reason is reason
    assert says in error.message


@pytest.mark.parametrize(
    "value",
    [
        job("file:///etc/passwd", id="mine", run="spring"),
        job("https://example.org/", id="mine", run="spring", deadline=-1),
        job("https://example.org/", id="mine", run="spring", headers=5),
        job("https://example.org/", id="mine", run="spring", version=9),
    ],
)
def test_a_refused_job_keeps_its_identity(value: bytes) -> None:
    """The dead letter of a job that names its id bears that id, so that whoever submitted it finds it."""
    error = refusal(inbound(value))
    assert error.job is not None
    assert (error.job.state.run, error.job.state.id) == ("spring", "mine")
    assert error.job.original == value


@pytest.mark.parametrize("proxy", ["http://user:hunter2@:x", "http://user:hun\\hunter2@proxy.example:3128"])
def test_a_refused_proxy_is_never_printed(proxy: str) -> None:
    """A proxy may hold a password; the sentence that refuses it does not repeat it."""
    error = refusal(inbound(job("https://example.org/", proxy=proxy)))
    assert "hun" not in error.message


def test_a_state_of_a_future_version_is_refused() -> None:
    """A header that this build cannot read is a dead letter, never a crash."""
    state = read(inbound(b"https://example.org/"), MOST).job.state
    header = encode(msgspec.structs.replace(state, version=7))
    assert (
        refusal(inbound(b"https://example.org/", headers={HEADER_JOB: header})).reason
        is Reason.UNKNOWN_VERSION
    )
    assert refusal(inbound(b"https://example.org/", headers={HEADER_JOB: b"{"})).reason is Reason.BAD_STATE


def a_request(original: bytes, state: JobState) -> CaptchaRequest:
    """Return a request as the fetcher sends it."""
    return CaptchaRequest(
        request_id="r1",
        challenge=Challenge(
            kind=ChallengeKind.HCAPTCHA,
            page_url="https://example.org/a",
            params={"sitekey": "k"},
            form=ChallengeForm(action="https://example.org/v", method="POST", token_fields=("t",)),
        ),
        identity=Identity(user_agent="ua"),
        lifetime_s=60,
        original=original,
        state=state,
    )


def test_a_solution_brings_its_whole_job_back() -> None:
    """Any fetcher resumes any job: original bytes and state are in the solution (C1)."""
    first = read(inbound(b" https://example.org/a"), MOST).job
    answer = CaptchaSolution(
        status=SolutionStatus.SOLVED,
        request=a_request(first.original, first.state),
        token="t",
        provider="p",
        cost=0.002,
        lifetime_s=100,
    )
    work = read(inbound(encode(answer), topic=Topic.CAPTCHA_SOLUTIONS), MOST)
    assert isinstance(work.payload, ResumeTask)
    assert work.job.original == first.original
    assert [(s.request_id, s.provider, s.cost) for s in work.job.state.solves] == [("r1", "p", 0.002)]
    assert msgspec.structs.replace(work.job.state, solves=()) == first.state


def test_what_was_paid_is_counted_once() -> None:
    """A duplicate of a solution adds no second solve, and an answer that cost nothing adds none."""
    first = read(inbound(b"https://example.org/a"), MOST).job
    answer = CaptchaSolution(
        status=SolutionStatus.FAILED, request=a_request(first.original, first.state), provider="p", cost=0.001
    )
    once = read(inbound(encode(answer), topic=Topic.CAPTCHA_SOLUTIONS), MOST).job.state
    again = msgspec.structs.replace(answer, request=a_request(first.original, once))
    assert read(inbound(encode(again), topic=Topic.CAPTCHA_SOLUTIONS), MOST).job.state == once
    free = msgspec.structs.replace(answer, cost=0.0)
    assert read(inbound(encode(free), topic=Topic.CAPTCHA_SOLUTIONS), MOST).job.state.solves == ()


def test_a_solution_that_cannot_be_read_is_refused() -> None:
    """Garbage on the solutions topic is a dead letter with a reason."""
    assert refusal(inbound(b"{}", topic=Topic.CAPTCHA_SOLUTIONS)).reason is Reason.BAD_STATE
