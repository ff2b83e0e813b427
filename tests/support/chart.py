"""Rendering the chart by Helm's own engine."""

from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "tidegate"
Values = dict[str, Any]
Manifest = dict[str, Any]


def cases() -> list[Path]:
    """Return the files of values that must render: the examples and the corner cases."""
    return sorted((*CHART.glob("ci/*-values.yaml"), *CHART.glob("examples/*.yaml")))


def values_of(path: Path) -> Values:
    """Return a file's values."""
    values: Values = yaml.safe_load(path.read_text("utf-8"))
    return values


def render(values: Values) -> list[Manifest]:
    """Return the manifests of an install, rendered without a cluster, as GitOps tools do.

    Raises HelmError with the chart's own sentence.
    """
    return [
        manifest
        for name, text in sorted(_files(values).items())
        if name.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def notes(values: Values) -> str:
    """Return what an install says at its end."""
    return _files(values)["tidegate/templates/NOTES.txt"]


def _files(values: Values) -> dict[str, str]:
    import helm_python  # noqa: PLC0415 -- there only where the chart's tests run

    with helm_python.Chart.load(str(CHART)) as chart:
        files: dict[str, str] = chart.render(
            {"checkCapabilities": False, **values}, name="demo", namespace="scraping"
        )
    return files


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of one kind by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return every pod's specification by the name of its owner."""
    return {
        each["metadata"]["name"]: each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        for each in manifests
        if each["kind"] in {"Deployment", "Job", "Pod"}
    }
