"""The chaos schedule is decided by its seed alone, and the judge finds what it is there to find."""

from itertools import pairwise

import msgspec
import pytest
from support.chaos_evidence import Charge, DeadRow, Evidence, PageRow, SolveRow
from support.chaos_jobs import JobStream
from support.chaos_schedule import SERVICES, schedule, tracks
from support.chaos_verdict import Judgement, judged

MANIFEST = {
    "pages": [
        {"path": "/a", "listed": True, "status": 200, "location": None, "protected": None, "sha256": "aa"},
        {
            "path": "/p",
            "listed": True,
            "status": 200,
            "location": None,
            "protected": "hcaptcha",
            "sha256": "pp",
        },
        {"path": "/gone", "listed": True, "status": 404, "location": None, "protected": None, "sha256": "gg"},
        {
            "path": "/extra/flaky/1",
            "listed": True,
            "status": 200,
            "location": None,
            "protected": None,
            "sha256": "f",
        },
        {
            "path": "/broken",
            "listed": False,
            "status": 500,
            "location": None,
            "protected": None,
            "sha256": None,
        },
    ]
}

URL = "http://h:1/a"
PAID = SolveRow("q1", "000001", "t1", 0.1, "", "solved")
DOUBTED = SolveRow("q2", "000001", "", 0.1, "in_doubt", "failed")


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_seed_decides_the_schedule(nodes: int) -> None:
    """The same again with the same seed, another one with another."""
    first = schedule(7, minutes=2, nodes=nodes)
    assert first == schedule(7, minutes=2, nodes=nodes)
    assert first != schedule(8, minutes=2, nodes=nodes)
    assert all(0 < fault.at_s < 120 for fault in first)


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_long_schedule_has_every_fault(nodes: int) -> None:
    """Nothing that can be chosen never is."""
    found = {(fault.target, fault.kind) for fault in schedule(1, minutes=120, nodes=nodes)}
    assert found == {
        (target, choice.kind) for target, track in tracks(nodes).items() for choice in track.choices
    }
    assert {target for target, _ in found} >= set(SERVICES)


def test_faults_of_one_target_leave_it_a_pause() -> None:
    """Otherwise nothing would ever work."""
    faults = [fault for fault in schedule(3, minutes=10, nodes=1) if fault.target == "storer"]
    for fault, following in pairwise(faults):
        assert following.at_s >= fault.at_s + fault.lasts_s + 1.9


def stream(count: int) -> list[object]:
    """Return the first submissions of a seed."""
    return [each for each, _ in zip(JobStream(5, "r", MANIFEST, ["http://h:1"]), range(count), strict=False)]


def test_a_seed_decides_the_jobs() -> None:
    """The same jobs again, some of them twice, some of them no jobs."""
    assert stream(500) == stream(500)


def good() -> tuple[JobStream, Evidence]:
    """Return one submission of each way to end, and what a good run leaves of them."""
    return JobStream(5, "r", MANIFEST, ["http://h:1"]), Evidence(
        pages=[],
        dead=[],
        strays=[],
        stray_pages=0,
        strays_submitted=0,
        solves=[PAID, DOUBTED],
        tasks={"q1": {"t1"}},
        charges=[Charge("t1", URL), Charge("u1", URL)],
        log_rows={"pages_log": 0, "dead_letters_log": 0, "solves_log": 2},
        overruled=0,
    )


def judge_with(**changes: object) -> Judgement:
    """Judge a run in which one page job and one bad job were submitted."""
    jobs, evidence = good()
    page = jobs._job("http://h:1/a", jobs._page(jobs._plain[:1]).expected)  # type: ignore[arg-type]
    bad = jobs._bad()
    assert bad.expected is not None
    assert page.id is not None
    assert bad.id is not None
    reason = min(bad.expected.reasons)
    pages = [PageRow(page.id, page.url, 200, "aa")]
    dead = [DeadRow(bad.id, bad.url, reason, "")]
    left = msgspec.structs.replace(evidence, **{"pages": pages, "dead": dead} | changes)
    return judged([page, bad], left, MANIFEST)


def test_a_good_run_is_good() -> None:
    """A charge that no record names is covered by a solve in doubt."""
    assert judge_with().good


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"pages": []}, "lost"),
        ({"pages": [PageRow("000001", "http://h:1/a", 200, "zz")]}, "altered"),
        ({"pages": [PageRow("000001", "http://h:1/a", 404, "aa")]}, "unexpected"),
        ({"pages": [PageRow("000001", "http://h:1/other", 200, "aa")]}, "unexpected"),
        ({"dead": [DeadRow("000002", "", "retries_exhausted", "")]}, "unexpected"),
        ({"dead": [DeadRow("000001", "", "retries_exhausted", "")]}, "duplicates"),
        ({"dead": [DeadRow("999999", "", "not_a_url", "")]}, "invented"),
        ({"strays_submitted": 1}, "unexpected"),
        ({"stray_pages": 1}, "unexpected"),
        ({"charges": [Charge("t1", URL), Charge("u1", URL), Charge("u2", URL)]}, "money"),
        ({"charges": [Charge("u1", "http://h:1/p")]}, "money"),
        ({"charges": [Charge("t1", URL), Charge("t1", URL)]}, "money"),
        ({"tasks": {"q1": {"t1", "t2"}}}, "money"),
        ({"solves": []}, "money"),
    ],
)
def test_each_fault_is_found(changes: dict[str, object], where: str) -> None:
    """Each of them alone turns the campaign red, under its own name."""
    judgement = judge_with(**changes)
    assert not judgement.good
    assert getattr(judgement.verdict, where, None) or getattr(judgement, where, None)
