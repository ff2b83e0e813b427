"""Lets malformed records go through every service's decoder and counts what became of each.

``PYTHONPATH=tests python tests/fuzz/run.py --seed 7 --count 1000000``; exit code 1 where one crashed a
decoder, was not accounted for, or held its partition. A crash is printed with its record; the seed gives it
again. The last line is JSON.
"""

import argparse
import json
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from support.fuzz_run import SLOWEST_S, SUBJECTS, Tally, run

_AT_ONCE = 5_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what decides the records; random by default")
    parser.add_argument("--count", type=int, default=100_000, help="records in all, shared by the services")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    return parser.parse_args()


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run, tell, judge."""
    arguments = _arguments()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    begun = time.perf_counter()
    runs: list[tuple[str, str, int]] = []
    for number, service in enumerate(SUBJECTS):
        left = arguments.count // len(SUBJECTS) + (number < arguments.count % len(SUBJECTS))
        while left:
            runs.append((f"{seed}/{service}/{len(runs)}", service, min(left, _AT_ONCE)))
            left -= runs[-1][2]
    say(f"seed {seed}: {arguments.count} records in {len(runs)} runs")
    total = Tally()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for done, tally in enumerate(pool.map(run, *zip(*runs, strict=True)), start=1):
            for crash in tally.crashes:
                say(f"{runs[done - 1][0]}: {crash}")
            total.add(tally)
            if done % 20 == 0:
                say(f"{total.counts['records']} records, {len(total.crashes)} crashes")
    good = not total.crashes and total.slowest_s < SLOWEST_S and total.counts["records"] == arguments.count
    say(
        json.dumps(
            {
                "seed": seed,
                **total.counts,
                "crashes": len(total.crashes),
                "slowest_s": round(total.slowest_s, 3),
                "seconds": round(time.perf_counter() - begun, 1),
            }
        )
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
