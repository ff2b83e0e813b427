"""The report: what it says, and which exit code it means."""

import json

import msgspec
import pytest
from rich.console import Console
from tidegate_cli.crawl.report import DemoChecks, Report, findings, percent
from tidegate_cli.crawl.summary import show
from tidegate_cli.exits import Exit

_GOOD = Report(
    submitted=100,
    pages=97,
    dead_letters=3,
    captchas=10,
    solved=9,
    cost=0.0123456789,
    lost=0,
    duplicates=0,
    seconds=12.34567,
    run="r",
    dead_letters_by_reason={"address_refused": 2, "not_a_url": 1},
    solved_by_kind={"turnstile": 9},
)


def _with(**changes: object) -> Report:
    return msgspec.structs.replace(_GOOD, **changes)


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (_GOOD, Exit.OK),
        (_with(lost=1), Exit.INCOMPLETE),
        (_with(duplicates=1), Exit.INCOMPLETE),
        (_with(invented=1), Exit.INCOMPLETE),
        (_with(stopped="The time-out was reached."), Exit.INCOMPLETE),
        (_with(pages=94, dead_letters=6), Exit.DEAD_LETTERS),
        (_with(pages=95, dead_letters=5), Exit.OK),
        (_with(pages=0, dead_letters=0, submitted=0), Exit.OK),
        (_with(checks=DemoChecks(bodies_checked=1, bodies_differing=0)), Exit.OK),
        (
            _with(checks=DemoChecks(bodies_checked=1, bodies_differing=1, problems=("differs",))),
            Exit.CHECK_FAILED,
        ),
        (_with(lost=1, pages=10, dead_letters=90), Exit.INCOMPLETE),
    ],
)
def test_the_gravest_finding_decides_the_exit_code(report: Report, code: Exit) -> None:
    """0 only where every job has an outcome and few enough are dead letters."""
    assert report.exit_code(0.05) is code
    assert bool(findings(report, 0.05)) is (code is not Exit.OK)


def test_the_json_report_is_one_line_with_the_promised_fields() -> None:
    """Scripts rest on these names."""
    line = _with(checks=DemoChecks(bodies_checked=97, bodies_differing=0)).to_json()
    assert "\n" not in line
    fields = json.loads(line)
    promised = [
        "submitted",
        "pages",
        "dead_letters",
        "captchas",
        "solved",
        "cost",
        "lost",
        "duplicates",
        "seconds",
    ]
    assert list(fields)[:9] == promised
    assert (fields["cost"], fields["seconds"]) == (0.012346, 12.346)
    assert (fields["bodies_checked"], fields["bodies_differing"]) == (97, 0)
    assert "stopped" not in fields


def test_the_summary_names_reasons_and_findings_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """A person needs no manual to see what happened."""
    report = _with(lost=2, lost_sample=("a1", "b2"))
    show(report, Console(width=100), max_dead_share=0.05, hints=['tidegate sql "SELECT 1"'])
    text = capsys.readouterr().out
    assert "✗ 100 of 100 jobs have an outcome" in text
    assert "3 (address refused 2, not a url 1)" in text
    assert "10 met, 9 solved (turnstile 9)" in text
    assert "2 jobs have no outcome, such as a1, b2." in text
    assert 'tidegate sql "SELECT 1"' in text


def test_a_share_just_above_a_limit_does_not_look_like_the_limit() -> None:
    """5.1 % is not shown as 5 %."""
    assert (percent(0.05), percent(0.051), percent(1.0)) == ("5 %", "5.1 %", "100 %")
