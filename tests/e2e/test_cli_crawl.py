"""``tidegate crawl`` and its neighbours as processes, on the embedded stack."""

import hashlib
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from support.cli import descendants, run, served, sql, started, still_running

pytestmark = pytest.mark.embedded

_PAGES = {
    f"/{n}.html": f"<!DOCTYPE html><title>Page {n}</title><p>{'text ' * n}</p>".encode() for n in range(40)
}


def test_a_crawl_stores_every_page_as_it_was_served(tmp_path: Path) -> None:
    """From standard input, with comments and a page that is missing; the name of a run is used once only."""
    data = tmp_path / "data"
    with served(_PAGES) as site:
        text = "# my site\n\n" + "".join(f"{site}{path}\n" for path in _PAGES) + f"{site}/missing\n"
        options = ("--json", "--allow-private", "--run", "mine", "--data", str(data))
        ran = run(tmp_path, "crawl", "-", *options, stdin=text.encode())
        again = run(tmp_path, "crawl", f"{site}/1.html", *options)
    assert ran.code == 0, ran.err
    report = ran.report
    assert (report["submitted"], report["pages"], report["lost"], report["duplicates"]) == (41, 41, 0, 0)
    columns = "url, status, title, lower(hex(SHA256(body))) AS sha256"
    rows = sql(tmp_path, data, f"SELECT {columns} FROM pages_with_bodies WHERE run = 'mine'")
    stored = {row["url"].removeprefix(site): (row["status"], row["title"], row["sha256"]) for row in rows}
    assert stored.pop("/missing")[:2] == (404, "Nothing here")
    assert stored == {
        path: (200, f"Page {path[1:-5]}", hashlib.sha256(body).hexdigest()) for path, body in _PAGES.items()
    }
    assert again.code == 2
    assert "has outcomes already" in again.err


def test_bad_input_gets_dead_letters_with_reasons_and_loses_nothing(tmp_path: Path) -> None:
    """Text, a file: URL, private addresses, a job that is none and 10 MB of garbage: each has its row."""
    (tmp_path / "bad.txt").write_text(
        "not a url\nfile:///etc/passwd\nhttp://10.0.0.1/\nhttp://169.254.169.254/latest\n"
        '{"url": 5, "id": "mine"}\n'
    )
    (tmp_path / "garbage.bin").write_bytes(b"\xff" * 10_000_000)
    ran = run(tmp_path, "crawl", "bad.txt", "garbage.bin", "--json", "--data", "data")
    assert ran.code == 4, ran.err
    report = ran.report
    assert (report["submitted"], report["dead_letters"], report["lost"], report["bad_lines"]) == (6, 6, 0, 4)
    assert report["dead_letters_by_reason"] == {
        "address_refused": 2,
        "job_too_large": 1,
        "not_a_job": 1,
        "not_a_url": 1,
        "scheme_not_allowed": 1,
    }
    assert "bad.txt:2: file:///etc/passwd\n  URLs with the scheme 'file' are not fetched" in ran.err
    rows = sql(tmp_path, tmp_path / "data", "SELECT id, reason, message, original_length FROM dead_letters")
    by_reason = {row["reason"]: row for row in rows}
    assert by_reason["not_a_job"]["id"] == "mine"
    assert int(by_reason["job_too_large"]["original_length"]) == 10_000_000
    assert all(row["message"].endswith(".") for row in rows)


def test_a_crawl_that_is_given_up_is_reported_as_incomplete(tmp_path: Path) -> None:
    """A site that never answers: the job has no outcome yet, and the report says so."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        ran = run(tmp_path, "crawl", url, "--json", "--allow-private", "--timeout", "3")
    assert ran.code == 3, ran.err
    assert (ran.report["submitted"], ran.report["lost"]) == (1, 1)
    assert "--timeout" in ran.report["stopped"]


def test_ctrl_c_stops_everything_and_says_where_the_data_is(tmp_path: Path) -> None:
    """No process is left, and the results so far can be read."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with started(tmp_path, "crawl", url, "--allow-private", "--data", "data") as process:
            assert process.stderr is not None
            while b"Everything is up" not in process.stderr.readline():
                assert process.poll() is None
            family = descendants(process)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "interrupted. What has arrived is in data" in err.decode()
    assert len(family) >= 5
    assert still_running(family) == []


def test_a_crawl_beyond_the_embedded_broker_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """It says how to go on."""
    (tmp_path / "many.txt").write_text("https://a.example/\n" * 200_001)
    ran = run(tmp_path, "crawl", "many.txt")
    assert ran.code == 2
    assert "--broker kafka" in ran.err
    assert "Everything is up" not in ran.err


def test_a_stack_that_is_kept_answers_until_ctrl_c_and_the_result_stands(tmp_path: Path) -> None:
    """The report comes first; the exit code is the crawl's, not that of the interruption."""
    arguments = ("crawl", "--allow-private", "--json", "--keep", "--data", "data")
    with served(_PAGES) as site, started(tmp_path, *arguments, f"{site}/3.html") as process:
        assert process.stdout is not None
        report = json.loads(process.stdout.readline())
        assert (report["pages"], report["lost"]) == (1, 0)
        assert run(tmp_path, "status", "--data", "data").code == 0
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=240)
    assert process.returncode == 0


def test_solving_without_an_account_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """The setting that is missing is named."""
    ran = run(tmp_path, "crawl", "https://a.example/", "--solve", "a.example")
    assert ran.code == 2
    assert "TIDEGATE_SOLVER__API_KEY" in ran.err


def test_a_stack_that_is_up_takes_jobs_and_answers_questions(tmp_path: Path) -> None:
    """``up``, ``submit``, ``status``, ``sql`` and Ctrl-C, each from a terminal of its own."""
    with served(_PAGES) as site, started(tmp_path, "up", "--allow-private") as process:
        assert process.stderr is not None
        while b"Ctrl-C stops everything" not in process.stderr.readline():
            assert process.poll() is None
        family = descendants(process)
        one = run(tmp_path, "submit", f"{site}/1.html", "--run", "r", "--id", "one", "--priority", "high")
        assert (one.code, one.out) == (0, "Submitted 1 to the run r.\n")
        two = run(tmp_path, "submit", "--json", stdin=f"{site}/2.html\n{site}/4.html\nnonsense\n".encode())
        assert two.report == {"run": "default", "submitted": 3, "bad_lines": 1}
        data = tmp_path / ".tidegate" / "up"
        rows: list[dict[str, Any]] = []
        for _ in range(40):  # each question takes a second or so
            rows = sql(tmp_path, data, "SELECT run, id, outcome FROM jobs")
            if len(rows) == 4:
                break
        assert {"run": "r", "id": "one", "outcome": "page"} in rows
        assert sorted((row["run"], row["outcome"]) for row in rows) == [
            ("default", "dead_letter"),
            ("default", "page"),
            ("default", "page"),
            ("r", "page"),
        ]
        status = json.loads(run(tmp_path, "status", "--json").out)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=240)
    topics = {topic["name"]: topic for topic in status["topics"]}
    assert topics["urls-high"]["records"] == 1
    assert topics["urls"]["records"] == 3
    assert topics["pages"]["records"] == 3
    assert set(topics["pages"]["lags"]) == {"storer"}
    assert {run["run"]: run["pages"] for run in status["runs"]} == {"r": 1, "default": 2}
    assert process.returncode == 0
    assert still_running(family) == []
