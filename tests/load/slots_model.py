"""Runs a million jobs of one site at one a second to their end in simulated time; the last line is JSON.

``PYTHONPATH=tests python tests/load/slots_model.py``: twelve days and more in a few minutes (delivery.md T3).
Exit code 1 where a job was produced again more often than promised.
"""

import argparse
import json
import math
import sys

from support.slots_model import Job, SlotsModel
from tidegate_fetcher.site_slots import SiteRule

_MOST_AGAIN = 30


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=1.0, help="requests a second")
    parser.add_argument("--deadline-s", type=float, default=math.inf, help="of each job")
    parser.add_argument(
        "--restart-after-s", type=float, default=None, help="ends the fetcher for half a minute"
    )
    arguments = parser.parse_args()
    restart = arguments.restart_after_s
    model = SlotsModel(
        SiteRule(concurrency=8, per_second=arguments.rate),
        deadline_s=arguments.deadline_s,
        restarts=() if restart is None else ((restart, restart + 30.0),),
    )
    outcome = model.run([Job(number, 0.0) for number in range(arguments.jobs)])
    figures = {
        "jobs": arguments.jobs,
        "served": len(outcome.served),
        "dead": len(outcome.dead),
        "days": round(outcome.ended / 86_400, 2),
        "produced_again_most": outcome.most,
        "produced_again_mean": round(outcome.mean, 2),
    }
    good = outcome.most <= _MOST_AGAIN and len(outcome.served) + len(outcome.dead) == arguments.jobs
    print(json.dumps({**figures, "good": good}))  # noqa: T201 -- the program's output
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
