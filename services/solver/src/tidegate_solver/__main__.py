"""``python -m tidegate_solver``: run the solver."""

import sys

from tidegate.process import main

from tidegate_solver.app import PLAN, build
from tidegate_solver.metrics import METRICS
from tidegate_solver.settings import Settings
from tidegate_solver.stats import STATS

if __name__ == "__main__":
    sys.exit(main("solver", Settings, PLAN, build, METRICS, stats=STATS))
