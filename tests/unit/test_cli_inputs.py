"""Lines of input become records: nothing is lost, everything has an identity."""

import json

import pytest
from tidegate.records import HEADER_JOB, JobState, Lane, decode, decoder
from tidegate_cli.crawl.inputs import Defaults, Submission, quote, submission_of

_RUN = Defaults(run="r")


def _submit(line: bytes, position: int = 1, defaults: Defaults = _RUN) -> Submission:
    submission = submission_of(line, position, defaults, now_ms=5)
    assert submission is not None
    return submission


def _state(submission: Submission) -> JobState:
    return decode(decoder(JobState), dict(submission.headers)[HEADER_JOB], "state")


@pytest.mark.parametrize("line", [b"", b"  \r\n", b"# a comment", b"  # https://a.example/"])
def test_blank_lines_and_comments_are_skipped(line: bytes) -> None:
    """They submit nothing."""
    assert submission_of(line, 1, _RUN, 0) is None


def test_a_url_becomes_a_job_with_an_id_and_the_run() -> None:
    """A bare URL is submitted as JSON, so that it can carry its identity."""
    submission = _submit(b"\xef\xbb\xbfhttps://Shop.example:8443/a?b=c \r\n")
    job = json.loads(submission.value)
    assert job == {"url": "https://Shop.example:8443/a?b=c", "id": submission.id, "run": "r"}
    assert (submission.site, submission.lane, submission.problem) == (
        "shop.example:8443",
        Lane.NORMAL,
        None,
    )


def test_ids_are_the_same_for_the_same_input_and_differ_by_line_run_and_url() -> None:
    """The same file under the same run gives the same jobs; a URL on two lines is two jobs."""
    first = _submit(b"https://a.example/")
    assert _submit(b" https://a.example/\n").id == first.id
    others = [
        _submit(b"https://a.example/", position=2),
        _submit(b"https://a.example/", defaults=Defaults(run="s")),
        _submit(b"https://a.example/b"),
    ]
    assert len({first.id, *(other.id for other in others)}) == 4


def test_the_fields_of_a_json_job_travel_untouched() -> None:
    """Metadata keeps its very bytes, and fields that nobody knows stay where they are."""
    line = b'{"url":"https://a.example/","metadata":{"n": 1.50},"later":[1, 2],"id":"x","priority":"high"}'
    submission = _submit(line)
    assert b'{"n": 1.50}' in submission.value
    assert b"[1, 2]" in submission.value
    job = json.loads(submission.value)
    assert (job["id"], job["run"], submission.id, submission.lane) == ("x", "r", "x", Lane.HIGH)


def test_a_crawl_takes_all_jobs_into_its_run_and_submit_leaves_them_theirs() -> None:
    """A crawl judges its run as a whole; ``submit`` only gives a default."""
    line = b'{"url":"https://a.example/","run":"own"}'
    assert _submit(line).run == "r"
    assert json.loads(_submit(line).value)["run"] == "r"
    kept = _submit(line, defaults=Defaults(run="r", own_run=True))
    assert (kept.run, json.loads(kept.value)["run"]) == ("own", "own")


def test_a_priority_for_all_gives_way_to_a_jobs_own() -> None:
    """The lane is the job's where it names one."""
    low = Defaults(run="r", priority=Lane.LOW)
    assert _submit(b"https://a.example/", defaults=low).lane is Lane.LOW
    assert json.loads(_submit(b"https://a.example/", defaults=low).value)["priority"] == "low"
    assert _submit(b'{"url":"https://a.example/","priority":"high"}', defaults=low).lane is Lane.HIGH


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not a url", "no scheme"),
        (b"file:///etc/passwd", "only http and https"),
        (b"\xff\xfe\x00garbage", "UTF-8"),
        (b'{"url": "https://a.example/"', "not a job"),
        (b'{"url": 5, "id": "x"}', "not a job"),
        (b'{"uri": "https://a.example/"}', "not a job"),
        (b'{"url": "https://a.example/", "id": "' + b"i" * 300 + b'"}', "id must have"),
        (b"https://" + b"a" * 9000, "characters"),
    ],
)
def test_a_line_that_is_no_job_is_submitted_as_it_is_with_an_identity_and_a_reason(
    line: bytes, said: str
) -> None:
    """Bad input gets a clear error and loses nothing: its bytes go on, its dead letter can be found."""
    submission = _submit(line)
    assert submission.value == line.strip()
    assert submission.problem is not None
    assert said in submission.problem
    state = _state(submission)
    assert (state.run, state.id, state.site) == ("r", submission.id, "")
    assert 0 < len(submission.id) <= 256


def test_a_bad_job_keeps_the_id_that_it_names() -> None:
    """Its author looks for that one."""
    assert _submit(b'{"url": 5, "id": "mine"}').id == "mine"


def test_a_quote_is_short_and_on_one_line() -> None:
    """Garbage does not spoil the terminal."""
    assert quote(b"a\x1b[31m\nb") == "a\\x1b[31m\\x0ab"
    assert len(quote(b"x" * 10_000_000)) == 61


@pytest.mark.parametrize(
    "line",
    [
        b'{"headers": {"Authorization": "Bearer hunter2"}, "url": 5}',
        b'{"headers": {"Cookie": "sid=hunter2',
        b'{"url": 5, "body": "hunter2"}',
        b'{"body": "hunter2"',
        b"https://joe:hunter2/7@h.example/",
        b"Bearer hunter2",
    ],
)
def test_a_quote_holds_no_secret(line: bytes) -> None:
    """What a terminal shows is often a log that others read (O7)."""
    assert "hunter2" not in quote(line)
