"""Services of another commit run its sources, and so do their children."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.packaging import ROOT
from support.versions import Versions

_ASK = "import tidegate; print(tidegate.__file__)"
_ASK_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_ASK!r}])"


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Return this tree's last commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("there is no commit here: this is no clone of the repository")
    return Versions(tmp_path / "versions", "HEAD")


def started(versions: Versions, code: str) -> str:
    """Return what a process of a stack prints."""
    env = {**os.environ, **versions.env}
    done = subprocess.run((sys.executable, "-c", code), env=env, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_process_runs_the_sources_that_were_chosen_when_it_started(
    versions: Versions, tmp_path: Path
) -> None:
    """This tree's, until told otherwise."""
    assert str(tmp_path) not in started(versions, _ASK)
    versions.choose(other=True)
    assert str(tmp_path) in started(versions, _ASK)
    versions.choose(other=False)
    assert str(tmp_path) not in started(versions, _ASK)


def test_its_children_are_of_its_version(versions: Versions, tmp_path: Path) -> None:
    """A storer starts a parser for every page that kills one, also after the choice has changed."""
    versions.choose(other=True)
    chosen = tmp_path / "versions" / "chosen"
    changed = f"open({str(chosen)!r}, 'w').close()"
    assert str(tmp_path) in started(versions, f"{changed}\n{_ASK_A_CHILD}")
