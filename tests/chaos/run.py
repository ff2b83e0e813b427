"""Runs one chaos campaign and says how it ended; the last line is JSON. Exit code 1 where the oracle objects.

``PYTHONPATH=tests python tests/chaos/run.py --seed 7 --minutes 1 --nodes 1``; see docs/chaos.md.
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

from support.chaos_campaign import Campaign, Result, run_campaign
from support.chaos_schedule import schedule


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what decides the schedule; random by default")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long things are broken")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3), help="nodes of Apache Kafka")
    parser.add_argument("--per-second", type=float, default=20.0, help="jobs submitted a second")
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    parser.add_argument("--print-schedule", action="store_true", help="print what would happen, and end")
    return parser.parse_args()


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run the campaign."""
    arguments = _arguments()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    campaign = Campaign(
        seed=seed, minutes=arguments.minutes, nodes=arguments.nodes, per_second=arguments.per_second
    )
    faults = schedule(seed, minutes=campaign.minutes, nodes=campaign.nodes)
    if arguments.print_schedule:
        for fault in faults:
            say(str(fault))
        return 0
    # Our own client of the broken brokers has nothing to say that the schedule does not.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-chaos-"))
    say(f"seed {seed}, {campaign.minutes:g} minutes, {campaign.nodes} nodes, {len(faults)} faults; {folder}")
    result: Result = asyncio.run(run_campaign(campaign, folder, say))
    if result.problems:
        say(f"\nThe schedule of seed {seed}:")
        for fault in faults:
            say(str(fault))
        say(f"\nWhat is wrong (logs are in {folder}):")
        for problem in result.problems:
            say(f"- {problem}")
    elif arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps(result.report))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
