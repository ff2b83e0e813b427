"""``tidegate demo``: the whole path with one command."""

from pathlib import Path

import pytest
from support.cli import run
from tidegate.records import ChallengeKind
from tidegate_cli.demo_site.challenges import LAYOUTS

pytestmark = pytest.mark.embedded


def test_the_demo_ends_well_with_solved_pages_of_each_kind_and_bodies_as_served(tmp_path: Path) -> None:
    """Exit code 0, nothing lost, nothing twice, every body equal to what the site says it served."""
    ran = run(tmp_path, "demo", "--json", "--pages", "60", "--timeout", "80")
    assert ran.code == 0, ran.err
    report = ran.report
    assert (report["submitted"], report["pages"]) == (60, 60)
    assert (report["lost"], report["duplicates"], report["invented"], report["dead_letters"]) == (0, 0, 0, 0)
    assert set(report["solved_by_kind"]) == {*LAYOUTS, ChallengeKind.AWS_WAF}
    assert report["cost"] > 0
    assert (report["bodies_checked"], report["bodies_differing"]) == (60, 0)
    assert report["first_page_seconds"] > 0
    assert (tmp_path / ".tidegate" / "latest" / "logs" / "fetcher.log").exists()
