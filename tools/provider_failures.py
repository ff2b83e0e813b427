#!/usr/bin/env python
"""Plays every documented failure of every provider against a solver with a healthy one beside it.

Minutes pass in virtual time, the vendors are the simulated service's with its rules and bans. Prints a line
for each way of failing, and what does not hold; exits 1 if anything does not. Run as
``PYTHONPATH=tests python tools/provider_failures.py [vendor ...] [--jobs N]``; all vendors take a while.
"""

import argparse
import sys

from support.solver_failures import WAYS, codes, complaints, fail
from tidegate_cli.simulator.vendors import VENDORS


def main() -> int:
    """Play them and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vendors", nargs="*", default=list(VENDORS), help="whose failures; all by default")
    parser.add_argument("--jobs", type=int, default=200, help="jobs in each campaign")
    arguments = parser.parse_args()
    played = failed = 0
    for vendor in arguments.vendors:
        for name, behaviour in (WAYS | codes(vendor)).items():
            result = fail(vendor, behaviour, jobs=arguments.jobs)
            found = complaints(vendor, result)
            lost = result.wasted.get(vendor, 0) / 1_000_000
            sys.stdout.write(
                f"{vendor:16} {name:42} opened {result.share:7.2%}  lost {lost:.4f} USD  "
                f"in flight {result.in_flight_before} and {result.in_flight}  {'; '.join(found) or 'holds'}\n"
            )
            sys.stdout.flush()
            played, failed = played + 1, failed + bool(found)
    sys.stdout.write(f"{played - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
