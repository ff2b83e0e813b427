"""Builds every mutant in a copy of the tree and runs the tests that are to catch it; the last line is JSON.

``PYTHONPATH=tests python tests/mutants/run.py [NAME …]``; see docs/mutants.md. Exit code 1 where a mutant
survives, is stale, or does not even run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from support.mutant_runs import LONGEST_S, run_tests
from support.mutants import Mutant, StaleError, copy_tree, load, mutated


class Finding(msgspec.Struct, frozen=True):
    """How a mutant fared: ``caught``, ``survived``, ``stale`` or ``broken``."""

    name: str
    verdict: str
    by: str
    seconds: float


def judge(name: str, mutant: Mutant) -> Finding:
    """Build a mutant and let its tests look at it."""
    begun = time.perf_counter()

    def finding(verdict: str, by: str) -> Finding:
        return Finding(name, verdict, by, round(time.perf_counter() - begun, 1))

    with tempfile.TemporaryDirectory(prefix="tidegate-mutant-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        try:
            for file, text in mutated(mutant, tree).items():
                (tree / file).write_text(text, encoding="utf-8")
        except StaleError as error:
            return finding("stale", str(error))
        try:
            report = run_tests(tree, mutant.tests, stop_at_first=True)
        except subprocess.TimeoutExpired:
            return finding("broken", f"the tests took more than {LONGEST_S} s")
    sources = {change.file for change in mutant.change if change.file.endswith(".py")}
    if report.strays or not sources <= set(report.loaded):
        return finding("broken", f"not the copy was tested: {report.strays or sources - set(report.loaded)}")
    if report.broken:
        return finding("broken", report.broken[0])
    return finding("caught", report.failed[0]) if report.failed else finding("survived", "")


def untouched(mutants: Iterable[Mutant]) -> list[str]:
    """Run all the tests on a copy that nobody broke; what fails there catches nothing."""
    with tempfile.TemporaryDirectory(prefix="tidegate-mutant-") as folder:
        copy_tree(Path(folder))
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        whole_files = [test for test in tests if "::" not in test]
        parts = [test for test in tests if test.partition("::")[0] not in whole_files]
        report = run_tests(Path(folder), [*whole_files, *parts], stop_at_first=False)
        return [*report.failed, *report.broken, *report.strays]


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Judge all mutants, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="how many are judged at once")
    arguments = parser.parse_args()
    every = load()
    mutants = {name: every[name] for name in arguments.names or every}
    begun = time.perf_counter()
    wrong = untouched(mutants.values())
    for problem in wrong:
        say(f"fails without any mutant: {problem}")
    findings: list[Finding] = []
    if not wrong:
        say(f"{'mutant':38} {'rules':12} {'verdict':9} {'s':>6}  by")
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for found in pool.map(judge, mutants.keys(), mutants.values()):
                findings.append(found)
                rules = " ".join(mutants[found.name].rules)
                say(f"{found.name:38} {rules:12} {found.verdict:9} {found.seconds:6.1f}  {found.by}")
    counts = {
        verdict: [found.name for found in findings if found.verdict == verdict]
        for verdict in ("survived", "stale", "broken")
    }
    caught = sum(found.verdict == "caught" for found in findings)
    say(
        json.dumps(
            {
                "mutants": len(mutants),
                "caught": caught,
                **counts,
                "untouched_failures": wrong,
                "seconds": round(time.perf_counter() - begun, 1),
            }
        )
    )
    return 0 if caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
