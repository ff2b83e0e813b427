"""The published JSON Schemas say what the records are."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError
from support.packaging import ROOT
from tidegate import schemas
from tidegate.captcha_records import (
    CaptchaRequest,
    CaptchaSolution,
    Challenge,
    ChallengeForm,
    Cookie,
    Identity,
    SolutionStatus,
    SolutionVerdict,
    SolveRecord,
    TaskRecord,
    TaskState,
)
from tidegate.host_policy import HostDefaults, HostEntry, ImageRecipe, PolicyFile, SubmitRecipe
from tidegate.outcome import Reason
from tidegate.records import (
    ChallengeKind,
    DeadMeta,
    JobState,
    Lane,
    Origin,
    PageMeta,
    Route,
    SolveSummary,
    UrlJob,
    encode,
)
from tidegate.runs import RunRecord, RunState
from tidegate.session_records import SessionRecord, Solving

ORIGIN = Origin(topic="urls", partition=3, offset=41, timestamp_ms=1_700_000_000_000)
STATE = JobState(
    run="spring",
    id="a1",
    site="example.org",
    lane=Lane.HIGH,
    origin=ORIGIN,
    accepted_at_ms=1_700_000_000_000,
    due_at_ms=1_700_000_060_000,
    attempts={"network": 2},
    hop=2,
    deferrals=1,
    solves=(SolveSummary(request_id="r0", kind=ChallengeKind.HCAPTCHA, provider="p", cost=0.002),),
)
REQUEST = CaptchaRequest(
    request_id="r1",
    challenge=Challenge(
        kind=ChallengeKind.TURNSTILE,
        page_url="https://example.org/gate",
        params={"sitekey": "0x4AAA"},
        form=ChallengeForm(
            action="https://example.org/gate",
            method="POST",
            fields=(("csrf", "x"),),
            token_fields=("cf-turnstile-response",),
        ),
        signatures=("turnstile-widget",),
    ),
    identity=Identity(
        user_agent="tidegate",
        cookies=(Cookie(name="s", value="1", domain="example.org"),),
        proxy_id="p7",
    ),
    lifetime_s=600.0,
    route=Route.FASTEST,
    max_cost=0.01,
    original=b"https://example.org/gate",
    state=STATE,
)
EXAMPLES: dict[str, list[msgspec.Struct]] = {
    "captcha-request": [REQUEST],
    "captcha-solution": [
        CaptchaSolution(status=SolutionStatus.SOLVED, request=REQUEST, token="t", cost=0.002, lifetime_s=90),
        CaptchaSolution(status=SolutionStatus.EXPIRED_UNBOUGHT, request=REQUEST),
    ],
    "dead-meta": [
        DeadMeta(
            reason=Reason.NOT_A_URL,
            error_class="bad_input",
            message="This is not a URL.",
            service="fetcher",
            dead_at_ms=1_700_000_000_000,
        )
    ],
    "job-state": [
        STATE,
        JobState(run="default", id="b", site="example.org", origin=ORIGIN, accepted_at_ms=1_700_000_000_000),
    ],
    "page-meta": [
        PageMeta(
            url="https://example.org/",
            final_url="https://example.org/",
            status=200,
            length=12,
            body_hash="00" * 16,
            fetched_at_ms=1_700_000_000_000,
            elapsed_ms=37,
            metadata=msgspec.Raw(b'{"customer":7}'),
        )
    ],
    "policy": [
        PolicyFile(),
        PolicyFile(
            default=HostDefaults(rate=2.0),
            host=(
                HostEntry(
                    match=("shop.example", "*.shop.example"),
                    solve=True,
                    submit=SubmitRecipe(url="/verify", fields={"answer": "{token}"}),
                    image=ImageRecipe(selector="img#captcha", field="code"),
                ),
            ),
        ),
    ],
    "run-record": [
        RunRecord(run="spring"),
        RunRecord(
            run="spring",
            state=RunState.PAUSED,
            budget=25_000_000,
            deadline_s=86_400.0,
            created_at_ms=1_700_000_000_000,
        ),
    ],
    "session-record": [
        SessionRecord(
            site="example.org",
            identity="00" * 8,
            solving=(Solving(group="token", run="spring", job="a1", left_s=600.0),),
        ),
        SessionRecord(
            site="example.org",
            identity="00" * 8,
            user_agent="Agent/1",
            proxy_id="10.0.0.1:80-12345678",
            tls_profile="openssl",
            cookies=(Cookie(name="cf_clearance", value="x", domain="example.org"),),
            passed=("cloudflare_challenge",),
            left_s=86_400.0,
        ),
    ],
    "solution-verdict": [
        SolutionVerdict(
            request_id="r1",
            site="example.org",
            kind=ChallengeKind.TURNSTILE,
            provider="capsolver",
            task_id="9",
            accepted=True,
            solved_at_ms=1,
        )
    ],
    "solve-record": [
        SolveRecord(
            request_id="r1",
            run="spring",
            job_id="a1",
            site="example.org",
            kind=ChallengeKind.RECAPTCHA_V2,
            status=SolutionStatus.FAILED,
            provider="p",
            task_id=None,
            cost=0.0,
            polls=4,
            error_code="ERROR_CAPTCHA_UNSOLVABLE",
            requested_at_ms=1,
            created_at_ms=None,
            answered_at_ms=2,
        )
    ],
    "task-record": [
        TaskRecord(request_id="r1", state=TaskState.RESERVED, provider="p", max_cost=0.01),
        TaskRecord(
            request_id="r1", state=TaskState.ANSWERED, provider="p", task_id="9", max_cost=0.01, answer=b"{}"
        ),
    ],
    "url-job": [
        UrlJob(url="https://example.org/"),
        UrlJob(url="https://example.org/", metadata=msgspec.Raw(b"[1,2]"), priority=Lane.LOW, deadline=60),
    ],
}


def validator(name: str) -> Draft202012Validator:
    """Return what judges records of that name."""
    schema: dict[str, Any] = schemas.schema_of(name)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", schemas.PUBLISHED)
def test_the_written_schema_is_the_one_that_the_class_gives(name: str) -> None:
    """A change of a record without `python -m tidegate.schemas docs/schemas` turns red."""
    path = ROOT / "docs" / "schemas" / f"{name}.json"
    assert path.read_text(encoding="utf-8") == schemas.rendered(name)


def test_no_schema_lies_there_that_nobody_publishes() -> None:
    """A file left over from a record that is gone would mislead its readers."""
    written = {path.stem for path in (ROOT / "docs" / "schemas").glob("*.json")}
    assert written == set(schemas.PUBLISHED)


@pytest.mark.parametrize("name", schemas.PUBLISHED)
def test_a_schema_is_valid_and_names_no_host(name: str) -> None:
    """The identifier is a name and a version, not an address that must be served."""
    schema = schemas.schema_of(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"tidegate:{name}:1"
    assert "http" not in schemas.rendered(name).replace(schemas.DIALECT, "")


@pytest.mark.parametrize("name", schemas.PUBLISHED)
def test_what_we_write_is_what_the_schema_allows(name: str) -> None:
    """Records as they travel, encoded by our own encoder, pass the published contract."""
    assert EXAMPLES[name]
    for record in EXAMPLES[name]:
        validator(name).validate(json.loads(encode(record)))


def test_a_job_needs_nothing_but_a_url() -> None:
    """Every other field of an intake job has a default; a job without URL is no job."""
    validator("url-job").validate({"url": "https://example.org/"})
    with pytest.raises(ValidationError, match="'url' is a required property"):
        validator("url-job").validate({"id": "a"})


def test_a_reader_ignores_fields_that_it_does_not_know() -> None:
    """Version N reads what version N+1 added, as far as it concerns it."""
    validator("url-job").validate({"url": "https://example.org/", "invented_later": 1})


def test_a_closed_set_is_closed() -> None:
    """A reason or state that nobody declared is refused."""
    dead = json.loads(encode(EXAMPLES["dead-meta"][0]))
    with pytest.raises(ValidationError, match="is not one of"):
        validator("dead-meta").validate({**dead, "reason": "felt_like_it"})


def test_command_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    """The output depends on the classes alone, so a diff is a change of contract."""
    schemas.write(tmp_path / "a")
    schemas.write(tmp_path / "b")
    for name in schemas.PUBLISHED:
        first, second = (tmp_path / side / f"{name}.json" for side in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
