"""Services of another commit beside those of this tree, as in the middle of an upgrade.

Every process of a stack finds the same environment, and in it a start-up file that puts one commit's sources
before the installed ones. Which commit's is asked when a service starts; its own children take the same.
"""

import subprocess
from pathlib import Path

from support.packaging import ROOT

_SOURCES = (
    "shared/src",
    *(f"services/{name}/src" for name in ("fetcher", "solver", "storer", "monitor")),
    "cli/src",
)
_STARTUP = """
import os, sys
from pathlib import Path

chosen = os.environ.setdefault("TEST_SOURCES", Path(__file__).with_name("chosen").read_text())
sys.path[:0] = chosen.splitlines()
"""


class Versions:
    """The sources of a commit, in an empty folder. This tree's are chosen until told otherwise."""

    def __init__(self, folder: Path, commit: str) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True)
        archive = folder / "commit.tar"
        # What is no commit ends here, with git's own words.
        subprocess.run(
            ("git", "-C", ROOT, "archive", f"--output={archive}", commit, "--", *_SOURCES), check=True
        )
        subprocess.run(("tar", "-xf", archive, "-C", folder), check=True)
        (folder / "sitecustomize.py").write_text(_STARTUP)
        self.choose(other=False)

    @property
    def env(self) -> dict[str, str]:
        """Return what the processes need in their environment."""
        return {"PYTHONPATH": str(self._folder)}

    def choose(self, *, other: bool) -> None:
        """Say whose sources those run that start from now on: the commit's, or this tree's."""
        lines = [str(self._folder / each) for each in _SOURCES] if other else []
        (self._folder / "chosen").write_text("\n".join(lines))
