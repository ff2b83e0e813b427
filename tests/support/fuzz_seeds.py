"""Valid records of every topic that services read: what malformed ones are made of."""

import json

import zstandard
from support.virtual_time import EPOCH_MS
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
    request_id,
)
from tidegate.consume.dead_letters import dead_letter
from tidegate.outcome import Dead, ErrorClass, Reason
from tidegate.records import (
    HEADER_DEAD,
    HEADER_JOB,
    HEADER_ORIGINAL,
    HEADER_PAGE,
    HEADER_REPLAY_OF,
    HEADER_TRACE,
    ChallengeKind,
    Job,
    JobState,
    Lane,
    Origin,
    PageMeta,
    SolveSummary,
    body_hash,
    encode,
)
from tidegate.topics import DELAYS, HELD, LANES, Topic

Headers = list[tuple[str, bytes | None]]
Seed = tuple[bytes, Headers]

NOW_MS = EPOCH_MS
_TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_JOB = {
    "url": "https://shop.example/a?b=1",
    "id": "job-1",
    "run": "run",
    "metadata": {"row": 1, "list": [1.5, None, "x"]},
    "method": "POST",
    "headers": {"X-One": "1", "Cookie": "a=b"},
    "body": "text",
    "priority": "high",
    "parser": "default",
    "proxy": "http://user:pass@proxy.example:3128",
    "route": "cheapest",
    "max_retries": 2,
    "max_solve_cost": 0.01,
    "deadline": 600.0,
}
_STATE = JobState(
    run="run",
    id="job-1",
    site="shop.example",
    lane=Lane.LOW,
    origin=Origin(topic="urls", partition=3, offset=17, timestamp_ms=NOW_MS - 1000),
    accepted_at_ms=NOW_MS - 1000,
    due_at_ms=NOW_MS - 500,
    attempts={"network": 1, "blocked": 2},
    hop=3,
    deferrals=4,
    solves=(SolveSummary(request_id="r", kind=ChallengeKind.HCAPTCHA, provider="capsolver", cost=0.002),),
)
_REQUEST = CaptchaRequest(
    request_id=request_id(_STATE),
    challenge=Challenge(
        kind=ChallengeKind.TURNSTILE,
        page_url="https://shop.example/a",
        params={"sitekey": "0x4AAA", "action": "login"},
        form=ChallengeForm(
            action="https://shop.example/verify",
            method="POST",
            fields=(("csrf", "1"),),
            token_fields=("cf-turnstile-response",),
        ),
    ),
    identity=Identity(
        user_agent="Mozilla/5.0", cookies=(Cookie(name="a", value="b", domain="shop.example"),)
    ),
    lifetime_s=120.0,
    max_cost=0.01,
    original=json.dumps(_JOB).encode(),
    state=_STATE,
)
_SOLUTION = CaptchaSolution(
    status=SolutionStatus.SOLVED,
    request=_REQUEST,
    token="token" * 20,
    user_agent="Mozilla/5.0",
    provider="capsolver",
    task_id="1",
    cost=0.002,
    lifetime_s=110.0,
)
_SOLVE = SolveRecord(
    request_id="r",
    run="run",
    job_id="job-1",
    site="shop.example",
    kind=ChallengeKind.RECAPTCHA_V2,
    status=SolutionStatus.FAILED,
    provider=None,
    task_id=None,
    cost=0.0,
    polls=3,
    error_code="ERROR",
    requested_at_ms=NOW_MS,
    created_at_ms=None,
    answered_at_ms=NOW_MS,
)
_VERDICT = SolutionVerdict(
    request_id="r",
    site="shop.example",
    kind=ChallengeKind.HCAPTCHA,
    provider="capsolver",
    task_id="1",
    accepted=True,
    solved_at_ms=NOW_MS,
)
_TASK = TaskRecord(
    request_id="r", state=TaskState.TASK, provider="p", task_id="1", created_at_ms=NOW_MS, max_cost=0.002
)
_BODY = b"<html lang=en><title>A title</title><a href=/x>x</a>" * 3
_PAGE = PageMeta(
    url="https://shop.example/a",
    final_url="https://shop.example/b",
    status=200,
    content_type="text/html; charset=utf-8",
    charset="utf-8",
    headers={"Server": "nginx"},
    length=len(_BODY),
    body_hash=body_hash(_BODY),
    fetched_at_ms=NOW_MS,
    elapsed_ms=12,
)
_DEAD = dead_letter(
    Job(json.dumps(_JOB).encode(), _STATE),
    Dead(
        reason=Reason.RETRIES_EXHAUSTED,
        error_class=ErrorClass.BLOCKED,
        message="It failed.",
        last_status=403,
        final_url="https://shop.example/c",
        page=encode(_PAGE),
        body_hash=body_hash(_BODY),
    ),
    service="fetcher",
    group="fetcher",
    now_ms=NOW_MS,
)


def _seeds() -> dict[str, list[Seed]]:
    job, state = json.dumps(_JOB).encode(), encode(_STATE)
    with_state: Headers = [(HEADER_JOB, state), (HEADER_TRACE, _TRACE)]
    intake: list[Seed] = [
        (b"https://shop.example/a", []),
        (b"\xef\xbb\xbf  http://user:pass@[::1]:8080/?q#f \n", []),
        (job, [(HEADER_TRACE, _TRACE)]),
        (b'{"url":"https://shop.example/a"}', with_state),
        (job, [*with_state, (HEADER_REPLAY_OF, _TRACE)]),
    ]
    seeds: dict[str, list[Seed]] = dict.fromkeys((*LANES.values(), *HELD.values()), intake)
    seeds |= {topic: [(job, with_state), (b"https://shop.example/a", with_state)] for topic in DELAYS}
    seeds[Topic.CAPTCHA_REQUESTS] = [(encode(_REQUEST), [])]
    seeds[Topic.CAPTCHA_SOLUTIONS] = [(encode(_SOLUTION), [])]
    seeds[Topic.CAPTCHA_TASKS] = [(encode(_TASK), [])]
    seeds[Topic.CAPTCHA_VERDICTS] = [(encode(_VERDICT), [])]
    seeds[Topic.SOLVES] = [(encode(_SOLVE), [])]
    page: Headers = [(HEADER_PAGE, encode(_PAGE)), *with_state, (HEADER_ORIGINAL, job)]
    seeds[Topic.PAGES] = [(zstandard.compress(_BODY), page)]
    seeds[Topic.DEAD_LETTER] = [(_DEAD.value or b"", list(_DEAD.headers)), (job, [(HEADER_DEAD, b"{}")])]
    return seeds


SEEDS = _seeds()
