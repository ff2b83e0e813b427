"""Runs tests in a copy of the tree, on the copy's own sources."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
from support.mutants import source_folders

LONGEST_S = 600
_LONGEST_TEST_S = 60
_NOT_HERE = "not kafka and not embedded and not containers"


class Report(msgspec.Struct):
    """What ``support.mutant_guard`` wrote."""

    failed: list[str]
    broken: list[str]
    loaded: list[str]
    strays: list[str]


def run_tests(tree: Path, tests: Iterable[str], *, stop_at_first: bool) -> Report:
    """Run tests in a copy on the copy's own sources."""
    with tempfile.TemporaryDirectory(prefix="tidegate-mutant-run-") as folder:
        report = Path(folder) / "report.json"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(path) for path in source_folders(tree)),
            "PYTHONDONTWRITEBYTECODE": "1",
            # The order of sets is part of what an example does: the same in every run.
            "PYTHONHASHSEED": "0",
            "MUTANT_REPORT": str(report),
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "support.mutant_guard",
            "-p",
            "no:cacheprovider",
        ]
        command += ["-m", _NOT_HERE, f"--timeout={_LONGEST_TEST_S}", f"--basetemp={folder}/tmp"]
        done = subprocess.run(
            [*command, *(["-x"] if stop_at_first else []), *tests],
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_S,
            check=False,
        )
        if not report.exists():
            return Report([], [done.stdout.decode(errors="replace")[-2000:]], [], [])
        found = msgspec.json.decode(report.read_bytes(), type=Report)
        if done.returncode not in (0, 1):
            found.broken.append(f"pytest ended with {done.returncode}")
        return found
