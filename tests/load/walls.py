"""Proves the walls on a running stack; the last line is JSON. Exit code 1 where a promise is broken.

``PYTHONPATH=tests python tests/load/walls.py --minutes 10``: a producer of 100 challenged jobs a second, a
solver limited to 10, a million URLs of clean sites queued on Apache Kafka.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from support.walls_campaign import Plan, problems, report, run

_MOST_WARM_UP_S = 120.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long challenged jobs come")
    parser.add_argument("--queued", type=int, default=1_000_000, help="URLs of clean sites")
    parser.add_argument("--offered", type=float, default=100.0, help="challenged jobs a second")
    parser.add_argument("--solver", type=float, default=10.0, help="solves a second, at most")
    parser.add_argument("--broker", default="kafka", choices=("kafka", "embedded"))
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    return parser.parse_args()


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run it."""
    arguments = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seconds = arguments.minutes * 60
    plan = Plan(
        broker=arguments.broker,
        queued=arguments.queued,
        seconds=seconds,
        offered_per_s=arguments.offered,
        solver_per_s=arguments.solver,
    )
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-walls-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{arguments.minutes:g} minutes; data and logs are in {folder}")
    measured = asyncio.run(run(plan, folder, say))
    figures = report(measured, warm_up_s=min(_MOST_WARM_UP_S, seconds / 3))
    wrong = problems(figures)
    for problem in wrong:
        say(f"- {problem}")
    for charge in measured.late[:20]:
        say(f"  late: {charge}")
    if not wrong and arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps({**figures, "good": not wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
