"""Runs one campaign about money and says how it ended; the last line is JSON. Exit code 1 where it is wrong.

``PYTHONPATH=tests python tests/chaos/money.py --seed 7``; see docs/budgets.md.
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from support.money_campaign import Plan, Result, run_campaign


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what decides; random by default")
    parser.add_argument("--jobs", type=int, default=1400, help="jobs, each of them behind a challenge")
    parser.add_argument("--affordable", type=int, default=1700, help="solves that the budget pays for")
    parser.add_argument("--kills", type=int, default=220, help="kills forced inside the window")
    parser.add_argument("--per-second", type=float, default=8.0, help="jobs submitted a second")
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    return parser.parse_args()


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run the campaign."""
    arguments = _arguments()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    plan = Plan(
        seed=seed,
        jobs=arguments.jobs,
        affordable=arguments.affordable,
        wanted=arguments.kills,
        per_second=arguments.per_second,
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-money-"))
    say(f"seed {seed}, {plan.jobs} jobs, a budget for {plan.affordable} solves; {folder}")
    result: Result = asyncio.run(run_campaign(plan, folder, say))
    for double in result.doubles:
        say(f"- {double}")
    if result.problems:
        say(f"\nWhat is wrong (logs are in {folder}):")
        for problem in result.problems:
            say(f"- {problem}")
    elif arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps(result.report))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
