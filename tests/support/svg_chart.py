"""Line charts as SVG, drawn by hand: panels one below the other on one axis of time. Pure."""

from collections.abc import Sequence

import msgspec

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _GAP = 960, 150, 60, 24, 34, 42
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df")


class Line(msgspec.Struct, frozen=True):
    """A line; ``steps`` are drawn with corners."""

    name: str
    values: Sequence[float]
    steps: bool = False


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """Lines on one axis from zero. ``bands`` are shaded index ranges, ``band`` says what they mean."""

    title: str
    lines: tuple[Line, ...]
    bands: tuple[tuple[int, int], ...] = ()
    band: str = ""


def draw(times: Sequence[float], panels: Sequence[Panel], unit: str = "h") -> str:
    """Return the chart. All lines have as many values as there are ``times``, which go up."""
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    size = f'width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(times, panel, _TOP + number * (_HEIGHT + _GAP), unit)
    return "\n".join([*parts, "</svg>", ""])


def _panel(times: Sequence[float], panel: Panel, top: float, unit: str) -> list[str]:
    highest = _round_up(max(max(line.values) for line in panel.lines))
    first, last = times[0], times[-1]

    def across(time: float) -> float:
        return _LEFT + (time - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return top + _HEIGHT * (1 - value / highest)

    parts = [
        f'<rect x="{across(times[start]):.1f}" y="{top}" height="{_HEIGHT}" '
        f'width="{max(1.0, across(times[end]) - across(times[start])):.1f}" fill="#fff1cc"/>'
        for start, end in panel.bands
    ]
    for share in (0.0, 0.5, 1.0):
        y = down(highest * share)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#d8dee4"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(highest * share)}</text>'
        )
    step = max(1, round((last - first) / 12))
    below = top + _HEIGHT + 15
    parts += [
        f'<text x="{across(time):.1f}" y="{below}" text-anchor="middle">{time} {unit}</text>'
        for time in range(round(first), round(last) + 1, step)
    ]
    legend = f'<text x="{_LEFT}" y="{top - 8}"><tspan font-weight="bold">{panel.title}</tspan>'
    for colour, line in zip(_COLOURS, panel.lines, strict=False):
        legend += f'<tspan dx="14" fill="{colour}">{line.name}</tspan>'
        seen = zip(times, line.values, strict=True)
        points = _bends([(round(across(time), 1), round(down(value), 1)) for time, value in seen])
        parts.append(
            f'<path d="{_path(points, steps=line.steps)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    if panel.band:
        legend += f'<tspan dx="14" fill="#9a6700">shaded: {panel.band}</tspan>'
    return [*parts, legend + "</text>"]


def _bends(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points without those on a level stretch, where nothing is seen of them."""
    inner = zip(points, points[1:], points[2:], strict=False)
    return [
        points[0],
        *(here for before, here, after in inner if not before[1] == here[1] == after[1]),
        points[-1],
    ]


def _path(points: Sequence[tuple[float, float]], *, steps: bool) -> str:
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}"]
    parts += [f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}" for x, y in rest]
    return "".join(parts)


def _round_up(value: float) -> float:
    for magnitude in range(-2, 12):
        for leading in (1, 2, 5):
            if leading * 10.0**magnitude >= value:
                return leading * 10.0**magnitude
    return value


def _number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
