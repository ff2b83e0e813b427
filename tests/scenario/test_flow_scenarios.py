"""The walls of flow control against simulated peers; every TOML file beside this one is a case."""

from pathlib import Path

import pytest
from support.flow import load, run

_FILES = sorted(Path(__file__).parent.glob("*.toml"))


@pytest.mark.parametrize("path", _FILES, ids=[path.stem for path in _FILES])
def test_the_wall_stays_within_the_accepted_ranges(path: Path) -> None:
    """Every accepted range of the scenario holds."""
    scenario = load(path)
    series = run(scenario)
    complaints = [line for accept in scenario.accept for line in accept.complaints(series)]
    assert not complaints, f"{scenario.about}\n" + "\n".join(complaints)
