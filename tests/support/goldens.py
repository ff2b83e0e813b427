"""Renders of the chart as files, so that a change of a template shows what it changes.

`python -m support.goldens` writes them anew. Texts that are files of the chart already, such as dashboards
and alerts, are shortened to their digests.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import yaml
from support.chart import CHART, render, values_of

FOLDER = Path(__file__).resolve().parents[1] / "chart" / "goldens"
GOLDENS = {
    "plain": (CHART / "ci/plain-values.yaml", ()),
    "everything": (CHART / "ci/everything-values.yaml", ()),
    # What these two have of their own.
    "hpa": (CHART / "ci/hpa-values.yaml", ("HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor")),
    "managed": (CHART / "examples/managed.yaml", ("Deployment", "Job", "NetworkPolicy")),
}
_LONG = 2000


def written(name: str) -> Path:
    """Return where a golden render lies."""
    return FOLDER / f"{name}.yaml"


def golden(name: str) -> str:
    """Return the render of one of the values, in the order of kinds and names."""
    path, kinds = GOLDENS[name]
    found = [each for each in render(values_of(path)) if not kinds or each["kind"] in kinds]
    found.sort(key=lambda each: (each["kind"], each["metadata"]["name"]))
    text = yaml.safe_dump_all(
        [_short(each) for each in found], default_flow_style=None, width=110, allow_unicode=True
    )
    return f"# {path.relative_to(CHART).as_posix()} as it renders; `make goldens` writes it anew.\n{text}"


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        alerts = value.get("kind") == "PrometheusRule" and "alert" in str(value)[:2000]
        return {
            key: _digest(each) if alerts and key == "spec" else _short(each) for key, each in value.items()
        }
    if isinstance(value, list):
        return [_short(each) for each in value]
    return _digest(value) if isinstance(value, str) and len(value) > _LONG else value


def _digest(value: object) -> str:
    return f"sha256 {hashlib.sha256(str(value).encode()).hexdigest()[:16]}"


def main() -> int:
    """Write all."""
    FOLDER.mkdir(exist_ok=True)
    for name in GOLDENS:
        written(name).write_text(golden(name), "utf-8")
        sys.stdout.write(f"{written(name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
