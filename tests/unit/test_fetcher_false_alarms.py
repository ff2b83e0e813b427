"""No false alarms: pages that carry a widget, a key or a bot manager's tag are pages."""

import pytest
from support.carriers import carriers
from support.fetcher import PAGE_URL
from tidegate_fetcher import signatures
from tidegate_fetcher.detection import Detector
from yarl import URL

DETECTOR = Detector(signatures.load())
PAGES = list(carriers())


def test_there_are_three_hundred_of_them() -> None:
    """Every carrier in every layout, no page twice."""
    assert len({html for _, html, _ in PAGES}) == len(PAGES) >= 300


@pytest.mark.parametrize("part", range(8))
def test_an_ordinary_page_with_a_widget_or_a_tag_is_a_page(part: int) -> None:
    """Login, contact and search forms, badges, sensors, keys, quoted markup: none is a challenge."""
    found = [
        name
        for name, html, status in PAGES[part::8]
        if DETECTOR.find(
            html.encode(), status=status, headers={"Content-Type": "text/html"}, url=URL(PAGE_URL)
        )
    ]
    assert not found
