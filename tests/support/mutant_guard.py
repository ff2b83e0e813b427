"""A pytest plugin for runs in a copy of the tree: says what failed, and that the copy was what was tested.

Loaded by ``-p support.mutant_guard``. Writes JSON to the file that ``MUTANT_REPORT`` names.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

_OURS = ("tidegate", "support")
# The same examples in every run, none of them judged by how long it takes, and no minutes spent on making a
# failure small.
settings.register_profile(
    "mutants",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)


class Guard:
    """Takes note of failures and of where modules come from."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._failed: list[str] = []
        self._broken: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A failed call is a test that caught something; a failed set-up is a build that does not run."""
        if report.failed:
            (self._failed if report.when == "call" else self._broken).append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Nor does one that cannot be imported."""
        if report.failed:
            self._broken.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        loaded = {
            Path(file).resolve()
            for name, module in list(sys.modules.items())
            if name.split(".")[0].startswith(_OURS) and (file := getattr(module, "__file__", None))
        }
        here = Path.cwd().resolve()
        content = {
            "failed": self._failed,
            "broken": self._broken,
            "loaded": sorted(str(file.relative_to(here)) for file in loaded if file.is_relative_to(here)),
            "strays": sorted(str(file) for file in loaded if not file.is_relative_to(here)),
        }
        self._report.write_text(json.dumps(content), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    settings.load_profile("mutants")
    config.pluginmanager.register(Guard(Path(os.environ.pop("MUTANT_REPORT"))))
