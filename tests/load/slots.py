"""Proves that a slow site holds nobody up (delivery.md T3); the last line is JSON. Exit code 1 where it does.

``PYTHONPATH=tests python tests/load/slots.py --minutes 10``: a million jobs of one site that may be asked
once a second, beside a thousand other sites, on Apache Kafka. What comes after the ten minutes is simulated
by ``tests/load/slots_model.py``.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from support.slots_campaign import Plan, run

_MOST_AGAIN = 30
_LEAST_RATIO = 0.95


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the flood is there")
    parser.add_argument("--flood", type=int, default=1_000_000, help="jobs of the slow site")
    parser.add_argument("--others", type=int, default=1000, help="other sites")
    parser.add_argument("--per-second", type=float, default=50.0, help="jobs of the others a second")
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seconds = arguments.minutes * 60
    plan = Plan(
        seconds=seconds,
        alone_s=min(120.0, seconds / 4),
        flood=arguments.flood,
        others=arguments.others,
        per_second=arguments.per_second,
    )
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-slots-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{arguments.minutes:g} minutes; data and logs are in {folder}")
    figures = asyncio.run(run(plan, folder, say))
    good = (
        figures["produced_again_most"] <= _MOST_AGAIN
        and figures["others_ratio"] >= _LEAST_RATIO
        and figures["slow_per_s"] <= plan.rate * 1.02
    )
    if good and arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps({**figures, "good": good}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
