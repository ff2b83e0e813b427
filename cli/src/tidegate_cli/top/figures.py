"""Numbers as the live page writes them, and charts in one line. Pure."""

from collections.abc import Sequence
from itertools import pairwise

NONE = "–"  # noqa: RUF001 -- as on the page
_BARS = "▁▂▃▄▅▆▇█"


def whole(value: float | None) -> str:
    """Return a count."""
    return NONE if value is None else f"{round(value):,}"


def percent(share: float | None) -> str:
    """Return a share."""
    if share is None:
        return NONE
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f} %"


def rate(value: float) -> str:
    """Return what happens a second."""
    return f"{value:,.0f}/s" if value >= 9.95 else f"{value:.1f}/s"


def money(value: float | None) -> str:
    """Return US dollars."""
    if value is None:
        return NONE
    if value >= 100:
        return f"${value:,.0f}"
    return f"${value:.2f}" if value >= 1 or value == 0 else f"${value:.4f}"


def seconds(value: float | None) -> str:
    """Return a time in the unit that fits."""
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"


def measured(value: float, unit: str) -> str:
    """Return an alert's value; nothing of one that is only there or not."""
    if unit == "state":
        return ""
    return percent(value) if unit == "ratio" else seconds(value) if unit == "s" else whole(value)


def spark(points: Sequence[float], width: int) -> str:
    """Return a chart of at most ``width`` characters; of neighbours that share one, the larger counts."""
    if not points or width < 1:
        return ""
    count = min(width, len(points))
    edges = [place * len(points) // count for place in range(count + 1)]
    tops = [max(points[first:last]) for first, last in pairwise(edges)]
    most = max(tops)
    if most <= 0:
        return _BARS[0] * count
    return "".join(_BARS[min(len(_BARS) - 1, int(max(top, 0.0) / most * len(_BARS)))] for top in tops)
