"""Changes single places of the pure state machines at random and counts what the tests notice; ends in JSON.

``PYTHONPATH=tests python tests/mutants/random_run.py --cosmic-ray PATH --seed 7 --count 40``; see
docs/mutants.md. The places are found and changed by cosmic-ray, in a copy of the tree. Annotations and what a
class is declared with (``frozen``) are left out: they decide nothing. Exit code 1 below 80 % caught.
"""

import argparse
import json
import os
import random
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec
from support.mutant_runs import run_tests
from support.mutants import copy_tree, source_folders

ENOUGH = 0.8
_OFFSETS = (
    "tests/unit/test_offsets_tracker.py",
    "tests/unit/test_runtime_holds.py",
    "tests/unit/test_runtime_isolation_rules.py",
    "tests/property/test_offsets_room.py",
    "tests/property/test_proof_done_set.py",
    "tests/property/test_offsets_model.py",
)
_FLOW = (
    "tests/unit/test_flow_walls.py",
    "tests/property/test_flow_models.py",
    "tests/scenario/test_flow_scenarios.py",
)
_LEDGER = (
    "tests/unit/test_ledger_parts.py",
    "tests/unit/test_solver_budget.py",
    "tests/property/test_ledger_model.py",
)
# Each module with the suites that state what it does, the quickest first.
TARGETS: dict[str, tuple[str, ...]] = {
    "shared/src/tidegate/consume/offsets.py": _OFFSETS,
    "shared/src/tidegate/consume/done_set.py": ("tests/property/test_done_set_packing.py", *_OFFSETS),
    "shared/src/tidegate/flow/gate.py": _FLOW,
    "shared/src/tidegate/flow/breaker.py": _FLOW,
    "shared/src/tidegate/ledger/machine.py": _LEDGER,
    "shared/src/tidegate/ledger/totals.py": _LEDGER,
    "shared/src/tidegate/ledger/snapshot.py": _LEDGER,
}
_LONGEST_S = 180.0


class Survivor(msgspec.Struct, frozen=True):
    """A change that no test noticed: where, and as a diff."""

    module: str
    line: int
    operator: str
    diff: str


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cosmic-ray", required=True, help="the program")
    parser.add_argument("--seed", type=int, default=None, help="what decides the places; random by default")
    parser.add_argument("--count", type=int, default=40, help="changes of each module, at most")
    parser.add_argument("modules", nargs="*", help="parts of modules' names; all by default")
    return parser.parse_args()


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def _chosen(session: Path, source: list[str], count: int, chance: random.Random) -> int:
    """Leave so many changes in the session; return how many there are."""
    with closing(sqlite3.connect(session)) as database:
        rows = database.execute(
            "SELECT job_id, operator_name, start_pos_row, start_pos_col, operator_args FROM mutation_specs"
        ).fetchall()
        # The ids are random: sorted by place, a seed chooses the same ones again.
        rows.sort(key=lambda row: (row[2], row[3], row[1], str(row[4])))
        kept = [row[0] for row in rows if not _declares(source[row[2] - 1], row[1])]
        chosen = set(chance.sample(kept, min(count, len(kept))))
        for table in ("work_items", "mutation_specs"):
            database.executemany(
                f"DELETE FROM {table} WHERE job_id = ?",
                [(row[0],) for row in rows if row[0] not in chosen],
            )
        database.commit()
    return len(chosen)


def _declares(line: str, operator: str) -> bool:
    return "msgspec.Struct" in line or ("BitOr" in operator and ("None" in line or "TypeAlias" in line))


def _run(
    module: str, tests: Iterable[str], arguments: argparse.Namespace, chance: random.Random
) -> tuple[int, list[Survivor]]:
    """Change a module, one place after the other; return how many were changed, and what survived."""
    with tempfile.TemporaryDirectory(prefix="tidegate-mutation-") as folder:
        tree, session, config = Path(folder) / "tree", Path(folder) / "s.sqlite", Path(folder) / "c.toml"
        tree.mkdir()
        copy_tree(tree)
        before = run_tests(tree, tests, stop_at_first=False)
        problems = [*before.failed, *before.broken, *before.strays]
        assert not problems, f"fails without any change: {problems}"
        assert module in before.loaded, "not the copy is what is tested"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "support.mutant_guard"]
        command += ["-p", "no:cacheprovider", "--timeout=60", f"--basetemp={folder}/tmp", *tests]
        config.write_text(
            "[cosmic-ray]\n"
            f"module-path = [{json.dumps(module)}]\n"
            f"timeout = {_LONGEST_S}\n"
            "excluded-modules = []\n"
            f"test-command = {json.dumps(shlex.join(command))}\n"
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(path) for path in source_folders(tree)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MUTANT_REPORT": str(Path(folder) / "report.json"),
        }

        def cosmic_ray(*words: str) -> None:
            program = [arguments.cosmic_ray, *words]
            subprocess.run(program, cwd=tree, env=environment, check=True, capture_output=True)

        cosmic_ray("init", str(config), str(session))
        source = (tree / module).read_text(encoding="utf-8").splitlines()
        tried = _chosen(session, source, arguments.count, chance)
        cosmic_ray("exec", str(config), str(session))
        with closing(sqlite3.connect(session)) as database:
            rows = database.execute(
                "SELECT s.start_pos_row, s.operator_name, r.diff, r.test_outcome FROM work_results r "
                "JOIN mutation_specs s ON s.job_id = r.job_id"
            ).fetchall()
    assert len(rows) == tried, "some changes were not tried"
    survivors = [Survivor(module, row[0], row[1], row[2]) for row in rows if row[3] == "SURVIVED"]
    return tried, survivors


def main() -> int:
    """Change, count, tell."""
    arguments = _arguments()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    begun = time.perf_counter()
    survivors: list[Survivor] = []
    tried = 0
    for module, tests in TARGETS.items():
        if arguments.modules and not any(part in module for part in arguments.modules):
            continue
        count, found = _run(module, tests, arguments, random.Random(f"{seed}/{module}"))
        tried += count
        survivors += found
        say(f"{module}: {count - len(found)} of {count} caught")
        for survivor in found:
            say(f"\nsurvived at line {survivor.line}, {survivor.operator}:\n{survivor.diff}")
    share = 1 - len(survivors) / tried if tried else 0.0
    say(
        json.dumps(
            {
                "seed": seed,
                "mutations": tried,
                "caught": tried - len(survivors),
                "share": round(share, 3),
                "seconds": round(time.perf_counter() - begun, 1),
            }
        )
    )
    return 0 if share >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
